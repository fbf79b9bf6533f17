//! DeclareClusterLost: a person says that a cluster, and all that ran on it, is gone.

use std::time::SystemTime;

use bytes::Bytes;
use krake_proto::Resource;
use krake_proto::krake::kubernetes::v1::{Cluster, ClusterLoss, ClusterStatus, DeclareClusterLostRequest};
use krake_proto::numbers::kubernetes::v1::cluster_status as field;
use prost::Message;

use crate::cache::Stored;
use crate::derive;
use crate::object::metadata::{Edit, timestamp};
use crate::object::sections::Sections;
use crate::object::wire;
use crate::registry::{Call, Effect, Error, Registry, Write, check_growth, what};

/// The declaration that a call makes.
pub(super) fn declaration(call: &Call, now: SystemTime) -> ClusterLoss {
    ClusterLoss { declared: Some(timestamp(now)), declared_by: call.user.clone() }
}

impl Registry {
    /// Serves `DeclareClusterLost`.
    pub(super) async fn declare_lost(&self, call: &Call, encoded: Bytes) -> Result<Bytes, Error> {
        let request = DeclareClusterLostRequest::decode(encoded)?;
        let (namespace, name) = (&request.namespace, &request.name);
        let after = self
            .transact(call, Cluster::KIND, namespace, name, 0, |stored| {
                self.decide_lost(call, stored, &request)
            })
            .await?;
        Ok(after.encode())
    }

    fn decide_lost(
        &self,
        call: &Call,
        stored: &Stored,
        request: &DeclareClusterLostRequest,
    ) -> Result<Write, Error> {
        let metadata = &stored.metadata;
        if !request.uid.is_empty() && request.uid != metadata.uid {
            let cluster = what(stored.kind, &metadata.namespace, &metadata.name);
            let message = format!("{cluster} has the uid {:?}, not {:?}", metadata.uid, request.uid);
            return Err(Error::Conflict { message, resource_version: stored.revision.0 });
        }
        let old = stored.sections.status.clone().unwrap_or_default();
        if ClusterStatus::decode(old.clone())?.lost.is_some() {
            // The first declaration is the one that was acted on.
            return Ok(Effect::Keep.into());
        }
        let lost = Some(declaration(call, (self.clock())()));
        let written = ClusterStatus { lost, ..Default::default() }.encode_to_vec();
        let status = wire::overwrite(&old, &[field::LOST], &written)?;
        let edit = Edit::new(&stored.sections.metadata).trace_parent(&call.trace_parent)?;
        let mut sections =
            Sections { metadata: edit.finish(), status: Some(status.into()), ..stored.sections.clone() };
        sections.status = derive::status(stored.kind, &sections)?;
        check_growth(stored, &sections)?;
        Ok(Effect::Put(sections).into())
    }
}
