//! Reads objects that applications use and that are not theirs, which no watch of Krake's shows: each at most once in a while.
//! Of each only the little is kept that applications have to know.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::connection::Connection;
use crate::error::shortened;
use crate::object::ObjectKey;
use crate::object::order::Rank;
use crate::object::prepare::{Prepared, Target};
use crate::object::shared::SharedObject;

/// Maximum age of what was read: many applications look at one namespace, and each many times.
const MAX_AGE: Duration = Duration::from_secs(10);
/// The same for a failure to read it: a cluster in trouble is not asked for the same by each application.
const MAX_FAILURE_AGE: Duration = Duration::from_secs(5);
/// Maximum number of objects that are remembered, each in some hundred bytes. Others are read each time.
const MAX_OBJECTS: usize = 1024;

/// An object, and a digest of what an application wants it to say.
type Asked = (ObjectKey, u64);
/// What was read, or why it could not be.
type Answer = Result<Arc<SharedObject>, String>;

/// What was read of one cluster.
pub(crate) struct SharedObjects {
    connection: Connection,
    digests: RandomState,
    read: Mutex<Answers>,
}

/// The last answers, each as long as it holds. That an object is not there is not remembered: it is made then.
#[derive(Debug, Default)]
struct Answers(HashMap<Asked, (Instant, Answer)>);

impl Answers {
    fn get(&self, asked: &Asked) -> Option<Answer> {
        self.0.get(asked).filter(|answered| holds(answered)).map(|(_, answer)| answer.clone())
    }

    /// Takes in an answer. Those that do not hold any more go.
    fn insert(&mut self, asked: Asked, answer: Option<Answer>) {
        self.0.retain(|_, answered| holds(answered));
        match answer {
            Some(answer) if self.0.len() < MAX_OBJECTS || self.0.contains_key(&asked) => {
                self.0.insert(asked, (Instant::now(), answer));
            }
            _ => drop(self.0.remove(&asked)),
        }
    }
}

fn holds((at, answer): &(Instant, Answer)) -> bool {
    at.elapsed() < if answer.is_ok() { MAX_AGE } else { MAX_FAILURE_AGE }
}

impl SharedObjects {
    /// Nothing read yet.
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, digests: RandomState::new(), read: Mutex::default() }
    }

    /// The object of this name, as it was at most 10 s ago.
    ///
    /// # Errors
    /// When the cluster does not answer, or does not allow it, or did so a moment ago.
    pub(crate) async fn find(&self, target: &Target) -> Result<Option<Arc<SharedObject>>, String> {
        let key = &target.prepared.key;
        let asked = (key.clone(), self.digest(&target.prepared));
        let known = self.lock().get(&asked);
        if let Some(answer) = known {
            return answer.map(Some);
        }
        let objects = self.connection.objects(&target.kind, key.namespace.as_deref());
        let found = self.connection.find(&objects, &key.name).await;
        let found = found.map_err(|error| shortened(&error.to_string()));
        let found = found.map(|live| live.map(|live| Arc::new(SharedObject::of(&target.prepared, &live))));
        self.lock().insert(asked, found.clone().transpose());
        found
    }

    /// What the answer depends on beside the object itself: every Namespace may be used, whatever is wanted of it.
    fn digest(&self, wanted: &Prepared) -> u64 {
        match Rank::of(&wanted.key) {
            Rank::Namespace => 0,
            _ => self.digests.hash_one(wanted.body.get("spec")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
