//! Delete: mark the object and record what its deletion includes, leave it to the owners of its finalizers, erase it
//! with the last one. No other object is written: dependents are the garbage collector's work.

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use krake_proto::Kind;
use krake_proto::envelope::DeleteRequest;
use krake_proto::finalizer::CASCADE_DELETION;
use krake_proto::krake::meta::v1;

use super::transact::{Effect, check_uid, check_version};
use super::{Call, Error, Registry, finalizers, what};
use crate::cache::Stored;
use crate::derive;
use crate::kinds::{Need, Relation, rules};
use crate::object::key;
use crate::object::metadata::Edit;
use crate::object::sections::Sections;

/// Maximum concurrent look-ups of tombstones of one call, so that a thousand uids do not fill the queue to the store.
const TOMBSTONE_CONCURRENCY: usize = 32;
/// Maximum number of other objects that an error names: a message of a status has 512 bytes.
pub(super) const MAX_NAMED_OBJECTS: usize = 5;
/// Maximum length of what a deletion waits for, in characters, by the contract.
const MAX_WAITS_FOR_CHARS: usize = 1_000;
/// Objects of which a relation is looked up without a pause, each by decoding its spec or status; then other calls have
/// their turn.
const RELATED_PER_TURN: usize = 100;

/// The object that a deletion is for, and what it includes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deletion {
    /// Namespace; empty for global objects.
    pub(crate) namespace: String,
    /// Name.
    pub(crate) name: String,
    /// Precondition; empty = whatever has the name.
    pub(crate) uid: String,
    /// Precondition; 0 = any.
    pub(crate) resource_version: i64,
    /// What is placed on it goes first.
    pub(crate) cascade: bool,
    /// Without the work of finalizers.
    pub(crate) force: bool,
}

impl Registry {
    /// Serves `Delete<Kind>`.
    pub(crate) async fn delete(
        &self,
        call: &Call,
        kind: &'static Kind,
        request: DeleteRequest,
    ) -> Result<Bytes, Error> {
        let DeleteRequest { namespace, name, resource_version, cascade, force, uid } = request;
        let deletion = Deletion { namespace, name, uid, resource_version, cascade, force };
        if !force {
            self.check_users(kind, &deletion).await?;
        }
        let after = self.mark_deleted(call, kind, deletion).await?;
        Ok(self.cache.shown(&after).encode())
    }

    /// Marks an object as deleted and records what the deletion includes, or erases it. A deletion that is recorded
    /// already is only added to.
    pub(crate) async fn mark_deleted(
        &self,
        call: &Call,
        kind: &'static Kind,
        deletion: Deletion,
    ) -> Result<Arc<Stored>, Error> {
        let Deletion { namespace, name, uid, resource_version, cascade, force } = deletion;
        self.transact(call, kind, &namespace, &name, resource_version, |stored| {
            check_uid(stored, &uid)?;
            let recorded = stored.metadata.deletion.clone().unwrap_or_default();
            let intent = v1::Deletion {
                cascade: recorded.cascade || cascade,
                force: recorded.force || force,
                ..recorded.clone()
            };
            let begins = stored.metadata.deleted.is_none();
            let erase = intent.force && !intent.cascade;
            if !begins && intent == recorded && !erase {
                return Ok(Effect::Keep.into());
            }
            let mut finalizers = finalizers::needed(stored)?;
            // Also when something is added to a deletion that is past its dependents: the garbage collector acts on it.
            if begins || (intent.cascade, intent.force) != (recorded.cascade, recorded.force) {
                finalizers.retain(|finalizer| finalizer != CASCADE_DELETION);
                finalizers.push(CASCADE_DELETION.to_owned());
            }
            let mut edit = Edit::new(&stored.sections.metadata)
                .trace_parent(&call.trace_parent)?
                .finalizers(finalizers)?
                .deletion(intent)?;
            if begins {
                edit = edit.deleted((self.clock)())?;
            }
            let sections = self.with_metadata(stored, edit)?;
            Ok(if erase { Effect::Erase(sections) } else { Effect::Put(sections) }.into())
        })
        .await
    }

    /// Removes one finalizer of a deleted object and erases the object with the last one.
    pub(crate) async fn remove_finalizer(
        &self,
        call: &Call,
        kind: &'static Kind,
        (namespace, name, uid): (&str, &str, &str),
        resource_version: i64,
        finalizer: &str,
    ) -> Result<Arc<Stored>, Error> {
        let managed = rules(kind).and_then(|rules| rules.managed(finalizer));
        if let Some(Need::Others(relation)) = managed.map(|managed| &managed.needed) {
            self.check_gone(kind, namespace, name, finalizer, relation).await?;
        }
        if finalizer == CASCADE_DELETION {
            // So that the cache shows which objects cannot be read.
            self.refresh().await?;
        }
        self.transact(call, kind, namespace, name, resource_version, |stored| {
            check_uid(stored, uid)?;
            if stored.metadata.deleted.is_none() {
                return Err(not_deleted(finalizer));
            }
            if let Some(Need::Status(needs)) = managed.map(|managed| &managed.needed)
                && needs(stored.sections.status.as_deref().unwrap_or_default())?
            {
                let text =
                    format!("{finalizer:?} cannot be removed while the status shows that it is needed");
                return Err(Error::FinalizersInUse(text));
            }
            let Some(left) = finalizers::without(stored, finalizer)? else {
                return Ok(Effect::Keep.into());
            };
            if finalizer == CASCADE_DELETION {
                self.check_dependents(stored)?;
            }
            // Dependents are gone, and a forced deletion does not wait for other finalizers.
            let forced = finalizer == CASCADE_DELETION
                && stored.metadata.deletion.as_ref().is_some_and(|deletion| deletion.force);
            let last = left.is_empty() || forced;
            let edit =
                Edit::new(&stored.sections.metadata).finalizers(left)?.trace_parent(&call.trace_parent)?;
            let sections = self.with_metadata(stored, edit)?;
            Ok(if last { Effect::Erase(sections) } else { Effect::Put(sections) }.into())
        })
        .await
    }

    /// Records what the deletion of an object waits for.
    pub(crate) async fn report_deletion(
        &self,
        call: &Call,
        kind: &'static Kind,
        (namespace, name, uid): (&str, &str, &str),
        waits_for: &str,
    ) -> Result<Arc<Stored>, Error> {
        if uid.is_empty() {
            return Err(Error::invalid("uid", "is missing"));
        }
        let waits_for: String = waits_for.chars().take(MAX_WAITS_FOR_CHARS).collect();
        self.transact(call, kind, namespace, name, 0, |stored| {
            check_uid(stored, uid)?;
            if stored.metadata.deleted.is_none() {
                let text = "metadata.deletion: can only be reported while a deletion is in progress";
                return Err(Error::FinalizersInUse(text.to_owned()));
            }
            let recorded = stored.metadata.deletion.clone().unwrap_or_default();
            if recorded.waits_for == waits_for {
                return Ok(Effect::Keep.into());
            }
            let reported = v1::Deletion { waits_for: waits_for.clone(), ..recorded };
            let edit = Edit::new(&stored.sections.metadata).deletion(reported)?;
            Ok(Effect::Put(self.with_metadata(stored, edit)?).into())
        })
        .await
    }

    /// Refuses to delete what other objects name. One that is being deleted already is past that.
    async fn check_users(&self, kind: &'static Kind, deletion: &Deletion) -> Result<(), Error> {
        let relations = rules(kind).map_or(&[][..], |rules| rules.users);
        if relations.is_empty() {
            return Ok(());
        }
        let key = super::checked_key(kind, &deletion.namespace, &deletion.name)?;
        self.refresh().await?;
        // The deletion that follows reports an object that does not exist.
        let Some(used) = self.cache.get(&key).filter(|used| used.metadata.deleted.is_none()) else {
            return Ok(());
        };
        check_uid(&used, &deletion.uid)?;
        check_version(&used, deletion.resource_version)?;
        let mut users = Vec::new();
        for relation in relations {
            users.extend(self.related(&used, relation).await);
        }
        if users.is_empty() {
            return Ok(());
        }
        Err(Error::InUse { what: what(kind, &deletion.namespace, &deletion.name), users: named(&users) })
    }

    /// Refuses to let an object go while others stand in `relation` to it.
    async fn check_gone(
        &self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        finalizer: &str,
        relation: &Relation,
    ) -> Result<(), Error> {
        self.refresh().await?;
        let Some(object) = self.cache.get(&super::checked_key(kind, namespace, name)?) else {
            return Ok(());
        };
        if object.metadata.deleted.is_none() {
            return Err(not_deleted(finalizer));
        }
        match self.related(&object, relation).await {
            others if others.is_empty() => Ok(()),
            others => Err(Error::FinalizersInUse(named(&others))),
        }
    }

    /// The objects that stand in `relation` to `object`, with what they have of it. One that cannot be read is among
    /// them: nothing may be deleted because a relation is not seen.
    async fn related(&self, object: &Stored, relation: &Relation) -> Vec<String> {
        let counts = |shown: &dyn Display, reason: &dyn Display| {
            format!("{shown} cannot be read ({reason}) and counts as one that {}", relation.has)
        };
        let unreadable = self.cache.unreadable_below(&key::all(relation.of));
        let unknown = "this version does not know its form";
        let mut related: Vec<String> = unreadable.iter().map(|key| counts(key, &unknown)).collect();
        for (number, (key, other)) in self.cache.below(key::all(relation.of)).enumerate() {
            if number % RELATED_PER_TURN == RELATED_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
            if unreadable.contains(&key) {
                continue;
            }
            let shown = || what(other.kind, &other.metadata.namespace, &other.metadata.name);
            match (relation.holds)(&other, object) {
                Ok(false) => {}
                Ok(true) => related.push(format!("{} {}", shown(), relation.has)),
                Err(error) => related.push(counts(&shown(), &error)),
            }
        }
        related
    }

    /// Which of `uids` belong to objects that this installation erased. Its caller may list objects: uids say nothing
    /// else about them.
    pub(crate) async fn erased(&self, _call: &Call, uids: Vec<String>) -> Result<Vec<String>, Error> {
        // What is no UUID was never the uid of an object.
        let uids = uids.into_iter().filter(|uid| uuid::Uuid::try_parse(uid).is_ok());
        let asked = uids.map(|uid| async move {
            let found = self.store.get(&key::tombstone(&uid)).await?.is_some();
            Ok::<_, Error>(found.then_some(uid))
        });
        let answers =
            futures::stream::iter(asked).buffered(TOMBSTONE_CONCURRENCY).try_collect::<Vec<_>>().await?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// `stored` with edited metadata and what follows from it.
    fn with_metadata(&self, stored: &Stored, edit: Edit) -> Result<Sections, Error> {
        let mut sections = Sections { metadata: edit.finish(), ..stored.sections.clone() };
        sections.status = derive::status(stored.kind, &sections)?;
        Ok(sections)
    }
}

/// The first few of `objects`, and how many more there are.
fn named(objects: &[String]) -> String {
    let mut text = objects.iter().take(MAX_NAMED_OBJECTS).cloned().collect::<Vec<_>>().join("; ");
    if objects.len() > MAX_NAMED_OBJECTS {
        text.push_str(&format!("; and {} more", objects.len() - MAX_NAMED_OBJECTS));
    }
    text
}

fn not_deleted(finalizer: &str) -> Error {
    Error::FinalizersInUse(format!("{finalizer:?} can only be removed while a deletion is in progress"))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use futures::FutureExt;
    use krake_proto::KINDS;

    use super::*;
    use crate::cache::Cache;
    use crate::object::value;
    use crate::store::{MemoryStore, Revision, Store, Txn};

    #[tokio::test]
    async fn a_walk_over_all_objects_of_a_kind_lets_others_have_their_turn() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let kind =
            KINDS.iter().find(|kind| rules(kind).is_some_and(|rules| !rules.users.is_empty())).unwrap();
        let relation = &rules(kind).unwrap().users[0];
        let value = |kind: &Kind| value::encode(kind.message, &Sections::default().encode());
        let used = key::resource(kind, "", "used");
        store.commit(Txn::new().put(used.clone(), value(kind))).await.unwrap().unwrap();
        for number in 0..RELATED_PER_TURN {
            let key = key::resource(relation.of, "", &number.to_string());
            store.commit(Txn::new().put(key, value(relation.of))).await.unwrap().unwrap();
        }
        let cache = Arc::new(Cache::default());
        let feeding = tokio::spawn({
            let (cache, store) = (cache.clone(), store.clone());
            async move { cache.feed(store).await }
        });
        assert!(cache.reach(Revision(1), Duration::from_secs(60)).await);
        let registry = Registry::new(store, cache.clone(), Arc::new(SystemTime::now));
        let used = cache.get(&used).unwrap();
        assert!(registry.related(&used, relation).now_or_never().is_none());
        assert_eq!(registry.related(&used, relation).await, Vec::<String>::new());
        feeding.abort();
    }
}
