//! Carries plans out, one object at a time, over the API.

use std::time::{Duration, SystemTime};

use anyhow::Context;
use futures::StreamExt;
use krake_client::{Client, Error, Mirror, ObjectKey};
use krake_proto::error::ErrorReason;
use krake_proto::finalizer::CASCADE_DELETION;
use krake_proto::krake::meta::v1::{Deletion, Object};
use krake_runtime::controller::{Next, OWN_WRITE_PATIENCE, OwnWrites, Priority, Queue, Reconciler};

use crate::decide::{Includes, Plan, Target, decide, shortened};
use crate::graph::{Graph, SharedGraph};
use crate::member::Member;

/// Maximum number of dependents of one object that are deleted concurrently.
const CONCURRENT_DELETES: usize = 16;
/// A wait that takes longer is recorded on the object. Most are over in moments.
const REPORT_AFTER: Duration = Duration::from_secs(10);
/// Pause before another attempt at an object that is held by one which cannot be read. No watch reports when that is over,
/// and it takes a person.
const HELD_RETRY_DELAY: Duration = Duration::from_secs(30);

/// The reconciler.
pub(crate) struct Collector {
    client: Client,
    graph: SharedGraph,
    mirror: Mirror<Member, ObjectKey>,
    queue: Queue<ObjectKey>,
    own_writes: OwnWrites<ObjectKey>,
}

impl Collector {
    pub(crate) fn new(
        client: Client,
        graph: SharedGraph,
        mirror: Mirror<Member, ObjectKey>,
        queue: Queue<ObjectKey>,
    ) -> Self {
        Collector { client, graph, mirror, queue, own_writes: OwnWrites::default() }
    }

    async fn delete(
        &self,
        owner: &ObjectKey,
        targets: Vec<Target>,
        includes: Includes,
    ) -> anyhow::Result<Next> {
        let (targets, mut unseen) = self.seen(targets);
        let deletions = targets.into_iter().map(|target| async move {
            let result = self.delete_one(&target, includes).await;
            (target.key, result)
        });
        // All are tried before one failure counts.
        let results: Vec<_> =
            futures::stream::iter(deletions).buffer_unordered(CONCURRENT_DELETES).collect().await;
        let (mut held, mut failure) = (Vec::new(), None);
        for (key, result) in results {
            match result {
                Ok(written) => unseen |= self.wrote(&key, written),
                Err(error) if holds(&error) => {
                    held.push((key.to_string(), said(&error)));
                }
                // What the others wrote is remembered first.
                Err(error) => {
                    let error =
                        anyhow::Error::new(error).context(format!("cannot delete the dependent {key}"));
                    failure.get_or_insert(error);
                }
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        // What the mirror shows next wakes the owner.
        let next = if unseen { Next::After(OWN_WRITE_PATIENCE) } else { Next::Done };
        match hindrance(&held) {
            Some(reason) => self.wait(owner, &reason, Next::After(HELD_RETRY_DELAY)).await,
            None => Ok(next),
        }
    }

    async fn delete_one(&self, target: &Target, includes: Includes) -> Result<Written, Error> {
        let Includes { cascade, force } = includes;
        let deletion = Deletion { cascade, force, ..Deletion::default() };
        let written = written(self.client.delete_object(&target.key, &target.uid, &deletion).await)?;
        if let Written::At(_) = written {
            tracing::info!(
                dependent = %target.key, cascade, force,
                "deleted, because its owner is being deleted"
            );
        }
        Ok(written)
    }

    async fn release(&self, target: Target) -> anyhow::Result<Next> {
        let answer = self
            .client
            .remove_finalizer_at(&target.key, &target.uid, target.resource_version, CASCADE_DELETION)
            .await;
        match written(answer) {
            Ok(written) => {
                if let Written::At(_) = written {
                    tracing::info!("released: nothing depends on it");
                }
                self.wrote(&target.key, written);
                Ok(Next::After(OWN_WRITE_PATIENCE))
            }
            Err(error) if holds(&error) => {
                self.wait(&target.key, &shortened(said(&error)), Next::After(HELD_RETRY_DELAY)).await
            }
            Err(error) => Err(error).context("cannot remove the finalizer cascade_deletion"),
        }
    }

    /// Leaves the object to its dependents, and says when to look again: `next`. A wait that takes long is recorded on the
    /// object, for people to see: not at once, since most waits are over in moments.
    async fn wait(&self, key: &ObjectKey, reason: &str, next: Next) -> anyhow::Result<Next> {
        let Some(object) = self.graph.read(|graph| graph.get(key).cloned()) else { return Ok(Next::Done) };
        let age = age_of(&object, SystemTime::now());
        if age < REPORT_AFTER {
            return Ok(Next::After(REPORT_AFTER - age));
        }
        if object.deletion.waits_for != reason {
            tracing::info!(reason, "the deletion waits for dependents");
            let answer = self.client.report_deletion(key, &object.uid, reason).await;
            let written = written(answer).context("cannot record what the deletion waits for")?;
            self.wrote(key, written);
        }
        Ok(next)
    }

    /// Remembers what the mirror is to show before anything is decided on the object again. Returns false if the
    /// object is gone: the mirror may never have shown it.
    fn wrote(&self, key: &ObjectKey, written: Written) -> bool {
        match written {
            Written::At(version) | Written::Changed(version) => {
                self.own_writes.wrote(key, version);
                true
            }
            Written::Gone => false,
        }
    }

    /// The objects that the mirror shows as our last writes left them, so that nothing is done twice; and whether there are
    /// others.
    fn seen(&self, mut targets: Vec<Target>) -> (Vec<Target>, bool) {
        let all = targets.len();
        targets.retain(|target| self.own_writes.unseen_for(&target.key, target.resource_version).is_none());
        let unseen = targets.len() < all;
        (targets, unseen)
    }
}

/// Time since the deletion began; zero where clocks disagree.
fn age_of(object: &Member, now: SystemTime) -> Duration {
    now.duration_since(object.deleted).unwrap_or_default()
}

fn version(object: &Object) -> i64 {
    object.metadata.as_ref().map_or(0, |metadata| metadata.resource_version)
}

/// Whether the API refuses a write that a person has to look at: it cannot read an object, the one to be deleted or one that
/// may belong to it, or a finalizer stands above the cascade's. Any other internal error is retried as slowly.
fn holds(error: &Error) -> bool {
    matches!(error.reason(), Some(ErrorReason::FinalizersInUse | ErrorReason::Internal))
}

/// The reason of a wait for objects that cannot be deleted, each with what the API says; `None` if there are none. The same
/// for the same objects, in whatever order the answers came: each other reason would be written to the owner.
fn hindrance(held: &[(String, String)]) -> Option<String> {
    let (first, said) = held.iter().min()?;
    let more = match held.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some(shortened(format!("{first} cannot be deleted{more}: {said}")))
}

/// What the API says of a refusal.
fn said(error: &Error) -> String {
    error.status().map_or_else(|| error.to_string(), |status| status.message().to_owned())
}

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// The object is at this revision now.
    At(i64),
    /// There is no such object any more, which is what was wanted.
    Gone,
    /// A precondition failed: the object of this name, which may be another one, is at this revision.
    Changed(i64),
}

/// What an answer means.
///
/// # Errors
/// For all other failures. A conflict that names no revision is one of them: nothing that the mirror will show has
/// changed, so only a retry helps.
fn written(answer: Result<Object, Error>) -> Result<Written, Error> {
    match answer {
        Ok(object) => Ok(Written::At(version(&object))),
        Err(error) if error.is_not_found() => Ok(Written::Gone),
        Err(error) if error.is_conflict() => match error.current_resource_version() {
            Some(version) if version > 0 => Ok(Written::Changed(version)),
            _ => Err(error),
        },
        Err(error) => Err(error),
    }
}

impl Reconciler for Collector {
    type Key = ObjectKey;

    fn trace_parent(&self, key: &ObjectKey) -> Option<String> {
        self.graph.read(|graph| graph.get(key).map(|member| member.trace_parent.clone()))
    }

    async fn reconcile(&self, key: &ObjectKey) -> anyhow::Result<Next> {
        let present = |graph: &Graph| graph.get(key).map(|member| member.resource_version);
        let Some(version) = self.graph.read(present) else {
            self.own_writes.forget(key);
            return Ok(Next::Done);
        };
        // Dependents count as absent only when everything up to the owner's deletion has been seen: the revision may
        // be half delivered, and while the watch starts over the owner may arrive before its dependents.
        self.mirror.wait_for(version).await?;
        if let Some(left) = self.own_writes.unseen_for(key, version) {
            return Ok(Next::After(left));
        }
        let plan = self.graph.read(|graph| (present(graph) == Some(version)).then(|| decide(graph, key)));
        match plan.unwrap_or(Plan::Nothing) {
            // Also when it changed meanwhile: that change has queued it again.
            Plan::Nothing => {}
            Plan::Wait(reason) => return self.wait(key, &reason, Next::Done).await,
            Plan::Delete(targets, includes) => return self.delete(key, targets, includes).await,
            Plan::Release(target) => return self.release(target).await,
            Plan::LeaveTo(first) => self.queue.add(first, Priority::Change),
        }
        Ok(Next::Done)
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.graph.read(|graph| graph.waiting())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_for_several_objects_has_one_reason_in_whatever_order_they_are_found() {
        let held = |name: &str| (name.to_owned(), format!("cannot read {name}"));
        assert_eq!(hindrance(&[]), None);
        let one = hindrance(&[held("a")]).unwrap();
        assert_eq!(one, "a cannot be deleted: cannot read a");
        let several = hindrance(&[held("b"), held("a"), held("c")]).unwrap();
        assert_eq!(several, "a cannot be deleted (and 2 more): cannot read a");
        assert_eq!(hindrance(&[held("c"), held("b"), held("a")]).unwrap(), several);
    }
}
