//! Owners that a write adds. One that is being deleted, or was, takes no new dependents: the garbage collector may have looked
//! for them already, and they would stay for ever.

use krake_proto::krake::meta::v1::{OnDelete, OwnerReference};
use uuid::Uuid;

use super::{Call, Error, Registry};
use crate::object::key;
use crate::store::{Conflict, Guard};

/// Maximum number of such owners that one write may add: each takes up to two guards of its transaction.
const MAX_ADDED: usize = 32;

impl Registry {
    /// Guards that hold as long as the owners that are among `after` and not among `before` are as they are now. Only
    /// references by uid that ask for deletion are looked at: the others promise nothing about one owner.
    ///
    /// # Errors
    /// [`Error::Invalid`] for too many of them, and where the cache shows that one is being deleted.
    pub(super) fn guard_owners(
        &self,
        before: &[OwnerReference],
        after: &[OwnerReference],
    ) -> Result<Vec<Guard>, Error> {
        let mut guards = Vec::new();
        let count = added(before, after).count();
        if count > MAX_ADDED {
            let text = format!("{count} with a uid are new; one write may add {MAX_ADDED}");
            return Err(Error::invalid("metadata.owners", text));
        }
        for owner in added(before, after) {
            guards.push(Guard::Absent(key::tombstone(&owner.uid)));
            let Some(kind) = krake_proto::kind(&owner.api, &owner.kind) else { continue };
            let name = key::resource(kind, &owner.namespace, &owner.name);
            guards.push(match self.cache.get(&name) {
                None => Guard::Absent(name),
                Some(present) if present.metadata.uid == owner.uid && present.metadata.deleted.is_some() => {
                    let owner = super::what(kind, &owner.namespace, &owner.name);
                    let text = format!("{owner} is being deleted; name another owner, or none");
                    return Err(Error::invalid("metadata.owners", text));
                }
                Some(present) => Guard::At(name, present.revision),
            });
        }
        Ok(guards)
    }

    /// Refuses owners that were erased: what the guards do at a commit, for a request that only asks.
    pub(super) async fn check_owners(
        &self,
        call: &Call,
        before: &[OwnerReference],
        after: &[OwnerReference],
    ) -> Result<(), Error> {
        let uids = added(before, after).map(|owner| owner.uid.clone()).collect();
        match self.erased(call, uids).await?.first() {
            Some(uid) => Err(gone(uid)),
            None => Ok(()),
        }
    }
}

/// The error if a conflict means that an owner was erased.
pub(super) fn erased_owner(conflict: &Conflict) -> Option<Error> {
    key::parse_tombstone(&conflict.key).map(gone)
}

fn added<'a>(
    before: &'a [OwnerReference],
    after: &'a [OwnerReference],
) -> impl Iterator<Item = &'a OwnerReference> {
    let was_given = |uid: &str| Uuid::try_parse(uid).is_ok();
    let bound = move |owner: &OwnerReference| was_given(&owner.uid) && owner.on_delete() != OnDelete::Release;
    after.iter().filter(move |owner| bound(owner) && !before.contains(owner))
}

fn gone(uid: &str) -> Error {
    let text = format!("{uid} is the uid of an object that was deleted; name another owner, or none");
    Error::invalid("metadata.owners", text)
}
