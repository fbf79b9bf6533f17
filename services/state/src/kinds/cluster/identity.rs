//! AcceptClusterIdentity: a person says that another cluster than the registered one answers, and that this is right.

use bytes::Bytes;
use krake_proto::Resource;
use krake_proto::finalizer::CLUSTER_COPIES;
use krake_proto::krake::kubernetes::v1::{
    AcceptClusterIdentityRequest, Cluster, ClusterStatus, ReplacedCluster,
};
use prost::Message;

use super::lost::declaration;
use crate::cache::Stored;
use crate::derive;
use crate::object::key;
use crate::object::metadata::Edit;
use crate::object::sections::Sections;
use crate::registry::{Call, Effect, Error, Registry, Write, new_uid, what};
use crate::store::Txn;

impl Registry {
    /// Serves `AcceptClusterIdentity`.
    pub(super) async fn accept_identity(&self, call: &Call, encoded: Bytes) -> Result<Bytes, Error> {
        let request = AcceptClusterIdentityRequest::decode(encoded)?;
        if request.uid.is_empty() {
            return Err(Error::invalid("uid", "is empty; give the uid of the registration that ends"));
        }
        let (namespace, name) = (&request.namespace, &request.name);
        let after = self
            .transact(call, Cluster::KIND, namespace, name, 0, |stored| {
                self.decide_identity(call, stored, &request)
            })
            .await?;
        tracing::warn!(
            cluster = %what(Cluster::KIND, namespace, name), user = call.user, ended = request.uid,
            begun = after.metadata.uid, "another cluster was accepted under this name; the former one is lost"
        );
        Ok(after.encode())
    }

    /// The same name, labels and spec under a new uid, with the declaration that the old one is lost; the tombstone of the
    /// old one says that it is gone, and with it all that refers to it.
    fn decide_identity(
        &self,
        call: &Call,
        stored: &Stored,
        request: &AcceptClusterIdentityRequest,
    ) -> Result<Write, Error> {
        let metadata = &stored.metadata;
        let cluster = || what(stored.kind, &metadata.namespace, &metadata.name);
        if request.uid != metadata.uid {
            let message = format!("{} has the uid {:?}, not {:?}", cluster(), metadata.uid, request.uid);
            return Err(Error::Conflict { message, resource_version: stored.revision.0 });
        }
        if metadata.deleted.is_some() {
            return Err(Error::BeingDeleted(cluster()));
        }
        let now = (self.clock())();
        // Copies hold the registration that ends, and are gone with it.
        let others = metadata.finalizers.iter().filter(|finalizer| *finalizer != CLUSTER_COPIES);
        let edited = Edit::new(&stored.sections.metadata)
            .clear_output()?
            .finalizers(others.cloned().collect())?
            .born(new_uid(now), now)?
            .trace_parent(&call.trace_parent)?;
        let former = ClusterStatus::decode(stored.sections.status.clone().unwrap_or_default())?;
        let replaced = ReplacedCluster {
            uid: metadata.uid.clone(),
            // The first declaration is the one that was acted on.
            lost: Some(former.lost.unwrap_or_else(|| declaration(call, now))),
        };
        let status = ClusterStatus { replaced: Some(replaced), ..ClusterStatus::default() };
        let status = Some(status.encode_to_vec().into());
        let mut sections = Sections { metadata: edited.finish(), status, ..stored.sections.clone() };
        sections.status = derive::status(stored.kind, &sections)?;
        let also = Txn::new().put(key::tombstone(&metadata.uid), self.tombstone());
        Ok(Write { effect: Effect::Put(sections), also })
    }
}
