//! ReportCopy: what was begun on one cluster and what is seen there, one copy at a time, by compare-and-set.

use std::sync::Arc;

use bytes::Bytes;
use krake_proto::Resource;
use krake_proto::condition::types;
use krake_proto::finalizer::{CLUSTER_COPIES, KUBERNETES_RESOURCES};
use krake_proto::krake::kubernetes::v1::{
    Application, ApplicationStatus, Cluster, Copy, Phase, ReportCopyRequest,
};
use krake_proto::krake::meta::v1::{Metadata, ResourceRef};
use krake_proto::numbers::kubernetes::v1::application_status::{COMPLETED_JOBS, COPIES};
use krake_proto::numbers::kubernetes::v1::{copy as field, report_copy_request as requested};
use prost::Message;

use super::completed;
use super::owners::owners;
use super::works::{self, Named};
use crate::cache::Stored;
use crate::derive;
use crate::kinds::OwnCondition;
use crate::kinds::cluster::is_lost;
use crate::object::metadata::{Edit, timestamp};
use crate::object::sections::Sections;
use crate::object::{key, wire};
use crate::registry::{
    Call, Effect, Error, Registry, Write, check_growth, checked_key, merge_conditions, what,
};
use crate::store::{Guard, Txn};

/// Krake's own condition types of a copy.
const CONDITIONS: &[OwnCondition] = &[
    OwnCondition { r#type: types::APPLIED, writer: "krake-kubernetes" },
    OwnCondition { r#type: types::AVAILABLE, writer: "krake-kubernetes" },
    OwnCondition { r#type: types::VALIDATED, writer: "krake-kubernetes" },
];

/// A report, as read and as it came.
struct Report<'a> {
    request: &'a ReportCopyRequest,
    /// The copy's cluster, as the reporter names it.
    cluster: &'a ResourceRef,
    copy: &'a Bytes,
    /// The sets of documents that the copy names.
    named: &'a [Named],
}

impl Registry {
    /// Serves `ReportCopy`. The copy goes on as it came, so that a newer adapter's fields are kept.
    pub(super) async fn report_copy(&self, call: &Call, encoded: Bytes) -> Result<Bytes, Error> {
        let copy = Bytes::from(wire::singular(&encoded, requested::COPY)?.unwrap_or_default());
        let request = ReportCopyRequest::decode(encoded)?;
        let cluster = request.copy.as_ref().and_then(|copy| copy.cluster.clone()).unwrap_or_default();
        if cluster.uid.is_empty() {
            return Err(Error::invalid("copy.cluster.uid", "is missing"));
        }
        let phase = request.copy.as_ref().map_or(Phase::Unspecified, Copy::phase);
        if phase == Phase::Unspecified && !request.forget {
            return Err(Error::invalid("copy.phase", "is missing or unknown"));
        }
        let (namespace, name) = (request.namespace.clone(), request.name.clone());
        let named = match &request.copy {
            Some(copy) if !request.forget => works::named(copy)?,
            _ => Vec::new(),
        };
        if !named.is_empty() {
            let present = self.cache().get(&checked_key(Application::KIND, &namespace, &name)?);
            self.check_stored(&request.uid, &named, present.as_deref()).await?;
        }
        if request.expected_version == 0 && !request.forget {
            // A first report looks at the cluster too, which the cache must show as it is.
            self.refresh().await?;
        }
        let after = self
            .transact(call, Application::KIND, &namespace, &name, 0, |stored| {
                let report = Report { request: &request, cluster: &cluster, copy: &copy, named: &named };
                self.decide_copy(call, stored, &report)
            })
            .await?;
        Ok(after.encode())
    }

    fn decide_copy(&self, call: &Call, stored: &Stored, report: &Report<'_>) -> Result<Write, Error> {
        let Report { request, cluster, copy, named } = *report;
        let application = what(stored.kind, &stored.metadata.namespace, &stored.metadata.name);
        if request.uid != stored.metadata.uid {
            return Err(Error::Conflict {
                message: format!("uid: {application} is {:?} now", stored.metadata.uid),
                resource_version: stored.revision.0,
            });
        }
        let old = stored.sections.status.clone().unwrap_or_default();
        let status = ApplicationStatus::decode(old.clone())?;
        let mut copies = wire::elements(&old, COPIES)?;
        let place = status.copies.iter().position(|copy| uid(copy) == cluster.uid);
        let present = place.map(|place| &status.copies[place]);
        let version = present.map_or(0, |copy| copy.version);
        if version != request.expected_version {
            return Err(Error::Conflict {
                message: format!(
                    "expected_version: the copy of {application} on {} is at {version}, the report is for {}",
                    cluster.name, request.expected_version
                ),
                resource_version: stored.revision.0,
            });
        }
        let bound = status.bindings.iter().filter_map(|binding| binding.cluster.as_ref());
        let bound = bound.into_iter().find(|bound| bound.uid == cluster.uid);
        let mut also = Txn::new();
        let completed =
            completed::after(stored, request, place.map(|place| &copies[place]), bound.is_some())?;
        match (place, request.forget) {
            (None, true) => return Ok(Effect::Keep.into()),
            (Some(place), true) => {
                copies.remove(place);
                // What was seen of it goes with it.
                also = also.delete(key::observation(&stored.metadata.uid, &cluster.uid));
            }
            (Some(place), false) => {
                if let (Some(present), Some(bound)) = (present, bound) {
                    self.check_removal(stored, request, present, bound)?;
                }
                let cluster = present.and_then(|present| present.cluster.as_ref()).unwrap_or(cluster);
                copies[place] = self.filled(copy, cluster, version + 1, present.zip(Some(&copies[place])))?;
            }
            (None, false) => {
                also = self.first_report(stored, request, bound)?;
                // Later reports raise it by one, as each raises the revision by one or more. So no copy, and none that
                // was forgotten, ever had a version as high as the application's revision, which is guarded.
                let version = stored.revision.0;
                copies.push(self.filled(copy, bound.unwrap_or(cluster), version, None)?);
            }
        }
        for named in named.iter().filter(|named| !named.is_in(&status)) {
            also = also.guard(named.guard(&stored.metadata.uid));
        }
        let copies = copies.iter().flat_map(|copy| wire::delimited(COPIES, copy));
        let encoded: Vec<u8> = copies.chain(completed).collect();
        let new = wire::overwrite(&old, &[COPIES, COMPLETED_JOBS], &encoded)?;
        let metadata = self.copy_metadata(call, stored, &new)?;
        let erase =
            stored.metadata.deleted.is_some() && Metadata::decode(metadata.as_ref())?.finalizers.is_empty();
        let mut sections = Sections { metadata, status: Some(new.into()), ..stored.sections.clone() };
        sections.status = derive::status(stored.kind, &sections)?;
        check_growth(stored, &sections)?;
        Ok(Write { effect: if erase { Effect::Erase(sections) } else { Effect::Put(sections) }, also })
    }

    /// A copy that is not recorded yet: allowed only as an intent, on the `bound` cluster, while both live. The
    /// cluster is held by a finalizer from the first one on; the guard makes sure that its deletion has not begun.
    fn first_report(
        &self,
        stored: &Stored,
        request: &ReportCopyRequest,
        bound: Option<&ResourceRef>,
    ) -> Result<Txn, Error> {
        if stored.metadata.deleted.is_some() {
            return Err(Error::BeingDeleted(what(
                stored.kind,
                &stored.metadata.namespace,
                &stored.metadata.name,
            )));
        }
        if request.copy.as_ref().map(Copy::phase) != Some(Phase::Intended) {
            return Err(Error::invalid("copy.phase", "a new copy is recorded as INTENDED first"));
        }
        let Some(cluster) = bound else {
            return Err(Error::Conflict {
                message: "copy.cluster: the application is not bound to it".to_owned(),
                resource_version: stored.revision.0,
            });
        };
        let kind = Cluster::KIND;
        let key = key::resource(kind, &cluster.namespace, &cluster.name);
        let Some(target) =
            self.cache().get_readable(&key)?.filter(|target| target.metadata.uid == cluster.uid)
        else {
            return Err(Error::NotFound { what: what(kind, &cluster.namespace, &cluster.name) });
        };
        if target.metadata.deleted.is_some() {
            return Err(Error::BeingDeleted(what(kind, &cluster.namespace, &cluster.name)));
        }
        if is_lost(&target)? {
            let text = format!("{} was declared lost", what(kind, &cluster.namespace, &cluster.name));
            return Err(Error::invalid("copy.cluster", text));
        }
        let mut txn = Txn::new().guard(Guard::At(key.clone(), target.revision));
        if !target.metadata.finalizers.iter().any(|finalizer| finalizer == CLUSTER_COPIES) {
            let mut finalizers = target.metadata.finalizers.clone();
            finalizers.push(CLUSTER_COPIES.to_owned());
            let metadata = Edit::new(&target.sections.metadata).finalizers(finalizers)?.finish();
            let sections = Sections { metadata, ..target.sections.clone() };
            let value = self.sealed(kind, &key, &sections)?;
            txn = txn.put(key, value);
        }
        Ok(txn)
    }

    /// A copy on a cluster that the application is bound to, perhaps again and unknown to the reporter, stays: it begins
    /// to go only if the application or the cluster does. One whose removal was recorded before may be reported on.
    fn check_removal(
        &self,
        stored: &Stored,
        request: &ReportCopyRequest,
        present: &Copy,
        bound: &ResourceRef,
    ) -> Result<(), Error> {
        let begins = present.phase() != Phase::Removing
            && request.copy.as_ref().map(Copy::phase) == Some(Phase::Removing);
        let key = key::resource(Cluster::KIND, &bound.namespace, &bound.name);
        let is_leaving =
            |cluster: Arc<Stored>| cluster.metadata.uid == bound.uid && cluster.metadata.deleted.is_some();
        if !begins || stored.metadata.deleted.is_some() || self.cache().get(&key).is_some_and(is_leaving) {
            return Ok(());
        }
        Err(Error::Conflict {
            message: format!("copy.phase: the application is bound to {}; its copy there stays", bound.name),
            resource_version: stored.revision.0,
        })
    }

    /// The reported copy on `cluster` with what the state service fills in. Only the uid of the reporter's reference
    /// counts: what else it says about the cluster is not taken over. `present` is what is recorded, as read and as it
    /// is stored.
    fn filled(
        &self,
        copy: &Bytes,
        cluster: &ResourceRef,
        version: i64,
        present: Option<(&Copy, &Bytes)>,
    ) -> Result<Bytes, Error> {
        let reported = Copy::decode(copy.as_ref())?;
        let now = (self.clock())();
        let since = present.map(|(present, _)| present).filter(|present| present.phase == reported.phase);
        let before = present.map(|(_, encoded)| wire::elements(encoded, field::CONDITIONS)).transpose()?;
        let conditions = merge_conditions(
            "copy.conditions",
            CONDITIONS,
            before.unwrap_or_default(),
            wire::elements(copy, field::CONDITIONS)?,
            now,
        )?;
        let mut with = Copy {
            cluster: Some(cluster.clone()),
            version,
            last_transition_time: since.and_then(|since| since.last_transition_time).or(Some(timestamp(now))),
            ..Default::default()
        }
        .encode_to_vec();
        with.extend(conditions.iter().flat_map(|condition| wire::delimited(field::CONDITIONS, condition)));
        let numbers = [field::CLUSTER, field::CONDITIONS, field::VERSION, field::LAST_TRANSITION_TIME];
        Ok(wire::overwrite(copy, &numbers, &with)?.into())
    }

    /// Metadata after the copies changed: the finalizer is there exactly as long as copies are, and the owners are the
    /// clusters that matter.
    fn copy_metadata(&self, call: &Call, stored: &Stored, status: &[u8]) -> Result<Bytes, Error> {
        let status = ApplicationStatus::decode(status)?;
        let mut finalizers = stored.metadata.finalizers.clone();
        let held = finalizers.iter().position(|finalizer| finalizer == KUBERNETES_RESOURCES);
        match (held, status.copies.is_empty()) {
            (None, false) => finalizers.push(KUBERNETES_RESOURCES.to_owned()),
            (Some(place), true) => {
                finalizers.remove(place);
            }
            _ => {}
        }
        let clusters = status
            .bindings
            .iter()
            .filter_map(|binding| binding.cluster.as_ref())
            .chain(status.copies.iter().filter_map(|copy| copy.cluster.as_ref()));
        let owners = owners(&stored.metadata.owners, clusters);
        let edit = Edit::new(&stored.sections.metadata)
            .finalizers(finalizers)?
            .owners(owners)?
            .trace_parent(&call.trace_parent)?;
        Ok(edit.finish())
    }
}

fn uid(copy: &Copy) -> &str {
    copy.cluster.as_ref().map_or("", |cluster| cluster.uid.as_str())
}
