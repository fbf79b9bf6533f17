//! Delete: mark the object, leave it to its finalizers' owners, erase it with the last one.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use krake_proto::Kind;
use krake_proto::Resource;
use krake_proto::envelope::DeleteRequest;
use krake_proto::finalizer::{CASCADE_DELETION, CLUSTER_COPIES, KUBERNETES_RESOURCES};
use krake_proto::krake::kubernetes::v1::{Application, ApplicationStatus, Cluster};
use krake_proto::krake::meta::v1::{OnDelete, OwnerReference};
use prost::Message;

use super::transact::{Outcome, Write, check_version};
use super::{Call, Error, Registry, what};
use crate::cache::Stored;
use crate::derive;
use crate::object::key;
use crate::object::metadata::Edit;
use crate::object::sections::Sections;

/// How many tombstones are looked up at the same time.
const QUESTIONS: usize = 32;

impl Registry {
    /// Serves `Delete<Kind>`.
    pub(crate) async fn delete(
        &self,
        call: &Call,
        kind: &'static Kind,
        request: DeleteRequest,
    ) -> Result<Bytes, Error> {
        if request.cascade {
            self.own_dependents(call, kind, &request).await?;
        }
        let DeleteRequest { namespace, name, resource_version, force, .. } = request;
        let stored = self.mark_deleted(call, kind, &namespace, &name, resource_version, "", force).await?;
        Ok(stored.encode())
    }

    /// Marks an object as deleted, or erases it with `force`. An object that is marked already stays as it is.
    #[allow(clippy::too_many_arguments)]
    pub(super) async fn mark_deleted(
        &self,
        call: &Call,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        resource_version: i64,
        uid: &str,
        force: bool,
    ) -> Result<Arc<Stored>, Error> {
        self.transact(call, kind, namespace, name, resource_version, |stored| {
            check_uid(stored, uid)?;
            if stored.metadata.deleted.is_some() && !force {
                return Ok(Outcome::Keep.into());
            }
            let mut edit = Edit::new(&stored.sections.metadata).trace_parent(&call.trace_parent)?;
            if stored.metadata.deleted.is_none() {
                let mut finalizers = stored.metadata.finalizers.clone();
                if stored.kind == Application::KIND && held_by_copies(stored)?.is_none() {
                    // Given by a caller, or left over: no copy means that nobody would ever remove it.
                    finalizers.retain(|finalizer| finalizer != KUBERNETES_RESOURCES);
                }
                finalizers.push(CASCADE_DELETION.to_owned());
                edit = edit.deleted((self.clock)())?.finalizers(finalizers)?;
            }
            let sections = self.with_metadata(stored, edit)?;
            Ok(if force { Outcome::Erase(sections) } else { Outcome::Put(sections) }.into())
        })
        .await
    }

    /// Removes one finalizer of a deleted object and erases the object with the last one.
    pub(crate) async fn remove_finalizer(
        &self,
        call: &Call,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        uid: &str,
        finalizer: &str,
    ) -> Result<Arc<Stored>, Error> {
        if kind == Cluster::KIND && finalizer == CLUSTER_COPIES {
            self.check_no_copies(kind, namespace, name).await?;
        }
        self.transact(call, kind, namespace, name, 0, |stored| {
            check_uid(stored, uid)?;
            if stored.metadata.deleted.is_none() {
                return Err(not_deleted(finalizer));
            }
            if kind == Application::KIND && held_by_copies(stored)? == Some(finalizer) {
                return Err(Error::FinalizersInUse(format!(
                    "{finalizer:?} stays until the last copy is gone"
                )));
            }
            let mut finalizers = stored.metadata.finalizers.clone();
            // The last one: finalizers are a stack.
            let Some(place) = finalizers.iter().rposition(|entry| entry == finalizer) else {
                return Ok(Outcome::Keep.into());
            };
            finalizers.remove(place);
            let last = finalizers.is_empty();
            let edit = Edit::new(&stored.sections.metadata)
                .finalizers(finalizers)?
                .modified((self.clock)())?
                .trace_parent(&call.trace_parent)?;
            let sections = self.with_metadata(stored, edit)?;
            Ok(if last { Outcome::Erase(sections) } else { Outcome::Put(sections) }.into())
        })
        .await
    }

    /// Refuses to let a cluster go while applications have copies on it. No new ones can come: copies on a cluster
    /// that is being deleted are refused.
    async fn check_no_copies(&self, kind: &'static Kind, namespace: &str, name: &str) -> Result<(), Error> {
        self.refresh(0).await?;
        let Some(cluster) = self.cache.get(&super::checked_key(kind, namespace, name)?) else {
            return Ok(());
        };
        if cluster.metadata.deleted.is_none() {
            return Err(not_deleted(CLUSTER_COPIES));
        }
        let (applications, _) = self.cache.list(&key::all(Application::KIND), None);
        for (_, application) in applications {
            let status = application.sections.status.clone().unwrap_or_default();
            let status = ApplicationStatus::decode(status)?;
            let clusters = status.copies.iter().filter_map(|copy| copy.cluster.as_ref());
            if clusters.into_iter().any(|copy| copy.uid == cluster.metadata.uid) {
                let metadata = &application.metadata;
                let application = what(application.kind, &metadata.namespace, &metadata.name);
                return Err(Error::FinalizersInUse(format!("{application} still has a copy on the cluster")));
            }
        }
        Ok(())
    }

    /// Which of `uids` belong to objects that were erased here.
    pub(crate) async fn erased(&self, uids: Vec<String>) -> Result<Vec<String>, Error> {
        // What is no UUID was never the uid of an object.
        let uids = uids.into_iter().filter(|uid| uuid::Uuid::try_parse(uid).is_ok());
        let asked = uids.map(|uid| async move {
            let found = self.store.get(&key::tombstone(&uid)).await?.is_some();
            Ok::<_, Error>(found.then_some(uid))
        });
        let answers = futures::stream::iter(asked).buffered(QUESTIONS).try_collect::<Vec<_>>().await?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// Deletes an object by its uid, for callers that know only metadata.
    pub(crate) async fn delete_object(
        &self,
        call: &Call,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<Arc<Stored>, Error> {
        self.mark_deleted(call, kind, namespace, name, 0, uid, false).await
    }

    /// Turns the owner references of everything that belongs to an object into ones that delete.
    async fn own_dependents(
        &self,
        call: &Call,
        kind: &'static Kind,
        request: &DeleteRequest,
    ) -> Result<(), Error> {
        let key = super::checked_key(kind, &request.namespace, &request.name)?;
        self.refresh(0).await?;
        // The deletion that follows tells that there is no such object.
        let Some(owner) = self.cache.get(&key) else { return Ok(()) };
        check_version(&owner, request.resource_version)?;
        let names_owner = |reference: &OwnerReference| refers_to(reference, &owner);
        let (objects, _) = self.cache.list(&key::ROOT, None);
        for (_, dependent) in
            objects.iter().filter(|(_, object)| object.metadata.owners.iter().any(names_owner))
        {
            let metadata = &dependent.metadata;
            let written = self
                .transact(call, dependent.kind, &metadata.namespace, &metadata.name, 0, |stored| {
                    let mut owners = stored.metadata.owners.clone();
                    for reference in owners.iter_mut().filter(|reference| names_owner(reference)) {
                        reference.on_delete = OnDelete::Delete.into();
                    }
                    if owners == stored.metadata.owners {
                        return Ok(Outcome::Keep.into());
                    }
                    let edit = Edit::new(&stored.sections.metadata)
                        .owners(owners)?
                        .trace_parent(&call.trace_parent)?;
                    Ok(Write::from(Outcome::Put(self.with_metadata(stored, edit)?)))
                })
                .await;
            match written {
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// `stored` with edited metadata and what follows from it.
    fn with_metadata(&self, stored: &Stored, edit: Edit) -> Result<Sections, Error> {
        let mut sections = Sections { metadata: edit.finish(), ..stored.sections.clone() };
        sections.status = derive::status(stored.kind, &sections)?;
        Ok(sections)
    }
}

/// The finalizer that stays as long as copies exist: of a cluster always, for only the applications tell whether there
/// are any; of an application while its status lists some.
pub(super) fn held_by_copies(stored: &Stored) -> Result<Option<&'static str>, Error> {
    if stored.kind == Cluster::KIND {
        return Ok(Some(CLUSTER_COPIES));
    }
    if stored.kind != Application::KIND {
        return Ok(None);
    }
    let status = ApplicationStatus::decode(stored.sections.status.clone().unwrap_or_default())?;
    Ok((!status.copies.is_empty()).then_some(KUBERNETES_RESOURCES))
}

fn not_deleted(finalizer: &str) -> Error {
    Error::FinalizersInUse(format!("{finalizer:?} can only be removed while a deletion is in progress"))
}

/// Refuses to touch a successor of the object that the caller means.
fn check_uid(stored: &Stored, uid: &str) -> Result<(), Error> {
    if uid.is_empty() || stored.metadata.uid == uid {
        return Ok(());
    }
    Err(Error::Conflict {
        message: format!("metadata.uid: is {:?}, the request is for {uid:?}", stored.metadata.uid),
        resource_version: stored.revision.0,
    })
}

fn refers_to(reference: &OwnerReference, owner: &Stored) -> bool {
    let metadata = &owner.metadata;
    krake_proto::kind(&reference.api, &reference.kind) == Some(owner.kind)
        && reference.namespace == metadata.namespace
        && reference.name == metadata.name
        && (reference.uid.is_empty() || reference.uid == metadata.uid)
}
