//! The controller that says on clusters whether their metrics can be read.

use std::sync::Arc;

use anyhow::Context;
use krake_client::{Client, Mask, NamespacedName};
use krake_proto::krake::kubernetes::v1::{Cluster, ClusterStatus};
use krake_proto::krake::meta::v1::Metadata;
use krake_runtime::controller::{Next, OwnWrites, Priority, Queue, Reconciler};

use crate::availability::report;
use crate::controller::CONFLICT_AGAIN;
use crate::inputs::Inputs;
use crate::project::Registered;
use crate::world::World;

/// Writes the condition MetricsAvailable and `metrics_reasons`.
pub(crate) struct Reporter {
    client: Client,
    inputs: Arc<Inputs>,
    queue: Queue<NamespacedName>,
    own_writes: OwnWrites<NamespacedName>,
}

impl Reconciler for Reporter {
    type Key = NamespacedName;

    async fn reconcile(&self, key: &NamespacedName) -> anyhow::Result<Next> {
        let Some(registered) = self.inputs.clusters.get(key) else {
            self.own_writes.forget(key);
            return Ok(Next::Done);
        };
        if let Some(left) = self.own_writes.unseen_for(key, registered.resource_version) {
            return Ok(Next::After(left));
        }
        let status = due(&registered, self.inputs.snapshot().world());
        match status {
            Some(status) => self.write(&registered, status).await,
            None => Ok(Next::Done),
        }
    }
}

/// What is to be written for one cluster; nothing if the world shows another version of it: the next one is near.
fn due(registered: &Registered, world: &World) -> Option<ClusterStatus> {
    let entry = &world.ranked()[world.rank_of(&registered.cluster.uid)?];
    (entry.cluster.metrics == registered.cluster.metrics)
        .then(|| report(registered, &entry.assessment))
        .flatten()
}

impl Reporter {
    pub(crate) fn new(client: Client, inputs: Arc<Inputs>, queue: Queue<NamespacedName>) -> Self {
        Reporter { client, inputs, queue, own_writes: OwnWrites::default() }
    }

    /// Wakes the clusters of which something else is to be said.
    pub(crate) fn reconsider(&self) {
        let snapshot = self.inputs.snapshot();
        for (key, registered) in self.inputs.clusters.snapshot() {
            if due(&registered, snapshot.world()).is_some() {
                self.queue.add(key, Priority::Change);
            }
        }
    }

    async fn write(&self, registered: &Registered, status: ClusterStatus) -> anyhow::Result<Next> {
        let key = &registered.cluster.key;
        let metadata = Metadata {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            uid: registered.cluster.uid.to_string(),
            resource_version: registered.resource_version,
            ..Default::default()
        };
        let failing: Vec<_> = status.metrics_reasons.keys().cloned().collect();
        let object = Cluster { metadata: Some(metadata), spec: None, status: Some(status) };
        let mask = Mask::fields(["status.conditions", "status.metrics_reasons"]);
        match self.client.api::<Cluster>().update_status(&object, mask).await {
            Ok(after) => {
                self.own_writes.wrote(key, after.metadata.unwrap_or_default().resource_version);
                tracing::info!(cluster = %key, ?failing, "said whether the metrics can be read");
                // The mirror brings the write, and the world with it.
                Ok(Next::Done)
            }
            Err(error) if error.is_outdated() => Ok(Next::After(CONFLICT_AGAIN)),
            Err(error) => Err(error).context("cannot write the condition MetricsAvailable"),
        }
    }
}
