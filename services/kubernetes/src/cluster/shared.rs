//! Reads objects that applications use and that are not theirs, which no watch of Krake's shows: each at most once in a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::api::DynamicObject;
use tokio::time::Instant;

use crate::cluster::connection::Connection;
use crate::error::ClusterError;
use crate::object::ObjectKey;
use crate::object::prepare::Target;

/// Maximum age of what was read: many applications look at one namespace, and each many times.
const MAX_AGE: Duration = Duration::from_secs(10);
/// Maximum number of objects that are remembered. Others are read each time.
const MAX_OBJECTS: usize = 1024;

/// What was read of one cluster.
pub(crate) struct SharedObjects {
    connection: Connection,
    read: Mutex<HashMap<ObjectKey, (Instant, Arc<DynamicObject>)>>,
}

impl SharedObjects {
    /// Nothing read yet.
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, read: Mutex::default() }
    }

    /// The object of this name, as it was at most 10 s ago.
    ///
    /// # Errors
    /// When the cluster does not answer, or does not allow it.
    pub(crate) async fn find(&self, target: &Target) -> Result<Option<Arc<DynamicObject>>, ClusterError> {
        let key = &target.prepared.key;
        if let Some((_, object)) = self.lock().get(key).filter(|(at, _)| at.elapsed() < MAX_AGE) {
            return Ok(Some(Arc::clone(object)));
        }
        let objects = self.connection.objects(&target.kind, key.namespace.as_deref());
        let found = self.connection.find(&objects, &key.name).await?.map(Arc::new);
        let mut read = self.lock();
        match &found {
            Some(object) => {
                if read.len() >= MAX_OBJECTS {
                    read.retain(|_, (at, _)| at.elapsed() < MAX_AGE);
                }
                if read.len() < MAX_OBJECTS {
                    read.insert(key.clone(), (Instant::now(), Arc::clone(object)));
                }
            }
            None => drop(read.remove(key)),
        }
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectKey, (Instant, Arc<DynamicObject>)>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
