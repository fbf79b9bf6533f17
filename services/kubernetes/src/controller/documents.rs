//! Stored sets of documents: the last ones used are kept, others are read from the Krake API.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use krake_client::Client;
use krake_proto::krake::kubernetes::v1::{GetApplicationDocumentsRequest, PutDocumentsRequest};
use tokio::time::Instant;
use tonic::Code;

use super::project::Application;
use crate::object::rendering::{DocumentHash, DocumentSet, Rendering};
use crate::plan::Work;

/// Maximum bytes of documents that are kept: some hundred sets of the size of a large application.
const KEPT_BYTES: usize = 64 << 20;
/// A set that could not be read is not asked for again before this: what is lost stays lost until a restore.
const UNREADABLE_FOR: Duration = Duration::from_secs(60);
/// Maximum number of sets that are remembered as unreadable.
const UNREADABLE_SETS: usize = 1024;

/// The sets that are kept.
#[derive(Debug, Default)]
pub(crate) struct Documents(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    sets: HashMap<DocumentHash, (Rendering, u64)>,
    /// By when each was used last.
    order: BTreeMap<u64, DocumentHash>,
    uses: u64,
    bytes: usize,
    unreadable: HashMap<DocumentHash, (Instant, String)>,
}

impl Kept {
    fn get(&mut self, hash: DocumentHash) -> Option<Rendering> {
        let (rendering, used) = self.sets.get_mut(&hash)?;
        self.uses += 1;
        self.order.remove(used);
        *used = self.uses;
        self.order.insert(self.uses, hash);
        Some(rendering.clone())
    }

    fn keep(&mut self, rendering: &Rendering, most: usize) {
        let hash = rendering.set().hash;
        self.unreadable.remove(&hash);
        if self.get(hash).is_some() {
            return;
        }
        self.uses += 1;
        self.bytes += rendering.canonical().len();
        self.sets.insert(hash, (rendering.clone(), self.uses));
        self.order.insert(self.uses, hash);
        while self.bytes > most
            && let Some((_, oldest)) = self.order.pop_first()
        {
            let gone = self.sets.remove(&oldest);
            self.bytes -= gone.map_or(0, |(rendering, _)| rendering.canonical().len());
        }
    }
}

impl Documents {
    /// Keeps a set.
    pub(super) fn keep(&self, rendering: &Rendering) {
        self.lock().keep(rendering, KEPT_BYTES);
    }

    /// The documents of a set; `Err` says why they cannot be read.
    ///
    /// # Errors
    /// When the Krake API cannot be asked at present.
    pub(super) async fn read(
        &self,
        client: &Client,
        application: &Application,
        set: &DocumentSet,
    ) -> anyhow::Result<Result<Rendering, String>> {
        if let Some(known) = self.known(set.hash) {
            return Ok(known);
        }
        let request = GetApplicationDocumentsRequest {
            namespace: application.key.namespace.clone(),
            name: application.key.name.clone(),
            uid: application.uid.as_str().to_owned(),
            sha256: set.hash.as_bytes().to_vec().into(),
        };
        let read = match client.applications().get_application_documents(request).await {
            Ok(answer) => verified(answer.into_inner().documents, set),
            Err(status) => match status.code() {
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::ResourceExhausted => {
                    return Err(krake_client::Error::from(status)).context("cannot read documents");
                }
                _ => Err(status.message().to_owned()),
            },
        };
        let mut kept = self.lock();
        match &read {
            Ok(rendering) => kept.keep(rendering, KEPT_BYTES),
            Err(why) => {
                tracing::warn!(application = %application.key, set = %set.hash, why, "documents cannot be read");
                if kept.unreadable.len() >= UNREADABLE_SETS {
                    kept.unreadable.clear();
                }
                kept.unreadable.insert(set.hash, (Instant::now(), why.clone()));
            }
        }
        Ok(read)
    }

    /// What is known of a set without asking.
    fn known(&self, hash: DocumentHash) -> Option<Result<Rendering, String>> {
        let mut kept = self.lock();
        if let Some(rendering) = kept.get(hash) {
            return Some(Ok(rendering));
        }
        let (since, why) = kept.unreadable.get(&hash)?;
        (since.elapsed() < UNREADABLE_FOR).then(|| Err(why.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stores the documents of a Work. `None`: the application is not the one that they were made for any more.
///
/// # Errors
/// When they cannot be stored.
pub(super) async fn store(
    client: &Client,
    application: &Application,
    work: Work,
    rendering: &Rendering,
) -> anyhow::Result<Option<Work>> {
    let request = PutDocumentsRequest {
        namespace: application.key.namespace.clone(),
        name: application.key.name.clone(),
        uid: application.uid.as_str().to_owned(),
        documents: rendering.canonical().clone(),
    };
    let answer = match client.applications().put_documents(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) if matches!(status.code(), Code::NotFound | Code::Aborted) => return Ok(None),
        Err(status) => {
            return Err(krake_client::Error::from(status)).context("cannot store the documents");
        }
    };
    anyhow::ensure!(
        answer.sha256 == work.set.hash.as_bytes(),
        "the state service hashes the documents {} in another way",
        work.set.hash
    );
    Ok(Some(Work { pieces: answer.pieces, ..work }))
}

/// The documents of a set as they were read; `Err` if they are others.
fn verified(documents: Bytes, set: &DocumentSet) -> Result<Rendering, String> {
    let rendering = Rendering::of_canonical(documents, set.hash_version);
    match rendering.set().hash == set.hash && rendering.documents().is_ok() {
        true => Ok(rendering),
        false => Err("what is stored is not what was applied".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendering(text: &str) -> Rendering {
        Rendering::of_canonical(format!("[\"{text}\"]").into(), 1)
    }

    #[test]
    fn the_last_used_sets_are_kept_and_the_others_go() {
        let mut kept = Kept::default();
        let sets = ["aaaaaa", "bbbbbb", "cccccc"].map(rendering);
        let has = |kept: &mut Kept, index: usize| kept.get(sets[index].set().hash).is_some();
        kept.keep(&sets[0], 25);
        kept.keep(&sets[1], 25);
        assert!(has(&mut kept, 0), "now it was used last");
        kept.keep(&sets[2], 25);
        assert_eq!([0, 1, 2].map(|index| has(&mut kept, index)), [true, false, true]);
        kept.keep(&sets[2], 25);
        assert_eq!(kept.bytes, 20, "a set counts once");
        kept.keep(&rendering(&"x".repeat(100)), 25);
        assert_eq!((kept.bytes, kept.sets.len(), kept.order.len()), (0, 0, 0));
    }

    #[test]
    fn other_documents_than_those_of_the_set_are_refused() {
        let (ours, other) = (rendering("a"), rendering("b"));
        assert_eq!(verified(ours.canonical().clone(), &ours.set()), Ok(ours.clone()));
        assert!(verified(other.canonical().clone(), &ours.set()).is_err());
    }
}
