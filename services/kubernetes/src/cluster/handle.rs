//! One live cluster: its connection, what it serves, its watches and its probe.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::cluster::cache::Lookup;
use crate::cluster::confirmation::Confirmation;
use crate::cluster::connection::Connection;
use crate::cluster::discovery::{Discovery, DiscoveryError};
use crate::cluster::identity::ClusterIdentity;
use crate::cluster::probe::{ClusterReport, Probe, ProbeTimes};
use crate::cluster::reachability::Reachable;
use crate::cluster::wake::Wakes;
use crate::cluster::watch::Watches;
use crate::error::ClusterError;
use crate::object::apply::AppliedObject;
use crate::object::definition;
use crate::object::observation::Sight;
use crate::object::prepare::{self, ManifestError, Prepared, Target};
use crate::object::{ApplicationUid, ClusterUid, Identity, InventoryEntry};

/// A manifest cannot be made into objects of this cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No cluster could accept it.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// This cluster does not serve a kind, or could not be asked.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
}

/// A cluster, how it is reached, and what it is known by.
pub(crate) struct Contact {
    pub(crate) cluster: ClusterUid,
    pub(crate) connection: Connection,
    pub(crate) known: ClusterIdentity,
}

/// A live cluster. Its tasks end when it is dropped.
pub struct ClusterHandle {
    connection: Connection,
    discovery: Discovery,
    watches: Watches,
    confirmation: Confirmation,
    report: watch::Receiver<Option<ClusterReport>>,
    _cancel_on_drop: DropGuard,
}

impl ClusterHandle {
    /// Starts to look after a cluster. Its tasks run on `tasks` and end with `cancel`, or with the handle.
    pub(crate) fn start(
        contact: Contact,
        installation: String,
        times: ProbeTimes,
        wakes: Arc<Wakes>,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        let Contact { cluster, connection, known } = contact;
        let (report_sender, report) = watch::channel(None);
        let (revived_sender, revived) = watch::channel(0);
        let watches = Watches::new(
            cluster.clone(),
            connection.clone(),
            installation,
            Arc::clone(&wakes),
            revived,
            tasks.clone(),
            cancel.clone(),
        );
        let probe =
            Probe::new(cluster, connection.clone(), known, times, wakes, report_sender, revived_sender);
        let ended = cancel.clone();
        tasks.spawn(async move { ended.run_until_cancelled(probe.run()).await });
        let discovery = Discovery::new(connection.clone());
        let confirmation = Confirmation::new(connection.clone());
        let _cancel_on_drop = cancel.drop_guard();
        Self { connection, discovery, watches, confirmation, report, _cancel_on_drop }
    }

    /// The connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What the cluster serves.
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// What is known of the cluster; nothing before the first look.
    pub fn report(&self) -> Option<ClusterReport> {
        self.report.borrow().clone()
    }

    /// Whether the cluster is reachable; nothing is known before its first answer.
    pub fn answers(&self) -> Option<Result<(), String>> {
        let report = self.report.borrow();
        let record = &report.as_ref()?.record;
        match record.reachable {
            Reachable::No => Some(Err(record.message.clone())),
            Reachable::Unknown => None,
            Reachable::Yes => Some(Ok(())),
        }
    }

    /// Waits for an answer of the cluster as long as it is not unreachable.
    ///
    /// # Errors
    /// When the cluster becomes unreachable first.
    pub async fn while_answering<T>(&self, work: impl Future<Output = T>) -> Result<T, ClusterError> {
        let mut reports = self.report.clone();
        let silent = reports.wait_for(|report| {
            report.as_ref().is_some_and(|report| report.record.reachable == Reachable::No)
        });
        tokio::select! {
            biased;
            done = work => Ok(done),
            silent = silent => Err(ClusterError::Unreachable(match silent.ok().as_deref() {
                Some(Some(report)) => report.record.message.clone(),
                _ => "it is not looked after any more".to_owned(),
            })),
        }
    }

    /// Does something on the cluster, as long as it is not unreachable, once it is confirmed that it is the registered
    /// one.
    ///
    /// # Errors
    /// When another cluster answers, or the cluster becomes unreachable first.
    pub async fn on_known<T>(&self, work: impl Future<Output = T>) -> Result<T, ClusterError> {
        let confirmed = async {
            let known = self.report.borrow().as_ref().map(|report| report.identity.clone());
            self.confirmation.confirm(&known.unwrap_or_default()).await?;
            Ok(work.await)
        };
        self.while_answering(confirmed).await?
    }

    /// The objects of a manifest as this cluster would get them.
    pub async fn targets(&self, manifest: &[Value], identity: &Identity) -> Result<Vec<Target>, TargetError> {
        let mut resolved = Vec::with_capacity(manifest.len());
        for (index, document) in manifest.iter().enumerate() {
            let (api_version, kind) = prepare::api_version_and_kind(index, document)?;
            let kind = match self.discovery.resolve(api_version, kind).await {
                Err(unsupported @ DiscoveryError::Unsupported { .. }) => {
                    definition::promised(manifest, api_version, kind).ok_or(unsupported)?
                }
                answer => answer?,
            };
            resolved.push((document, kind));
        }
        Ok(prepare::prepare_all(&resolved, identity, self.connection.default_namespace())?)
    }

    /// The objects of an inventory, by their names alone: to be looked at, and not to be applied.
    pub async fn recorded(&self, inventory: &[InventoryEntry]) -> Result<Vec<Target>, TargetError> {
        let mut targets = Vec::with_capacity(inventory.len());
        for InventoryEntry { key, .. } in inventory {
            let kind = self.discovery.resolve(&key.api_version, &key.kind).await?;
            targets.push(Target {
                prepared: Prepared { key: key.clone(), body: Value::Null, scaled: false },
                kind,
            });
        }
        Ok(targets)
    }

    /// What is seen of each target. Starts the watches that are needed; what is not known yet wakes the application later.
    pub fn sights(&self, targets: &[Target], application: &ApplicationUid) -> Vec<Sight> {
        let sight = |target: &Target| {
            let key = &target.prepared.key;
            if target.kind.promised {
                // There is nothing to watch before the cluster serves the kind.
                return Sight::Unknown;
            }
            if !target.kind.watchable {
                return Sight::Unwatched;
            }
            let namespace = key.namespace.as_deref();
            match self.watches.cache(&target.kind, namespace, application).get(namespace, &key.name) {
                Lookup::Unknown => Sight::Unknown,
                Lookup::Absent => Sight::Absent,
                Lookup::Present(object) => Sight::Present(object),
            }
        };
        targets.iter().map(sight).collect()
    }

    /// The application has no copy here any more: watches that only it needed end.
    pub fn release(&self, application: &ApplicationUid) {
        self.watches.release(application);
    }

    /// Why targets are not seen yet; empty if their watches met no trouble.
    pub fn unseen(&self, targets: &[Target], application: &ApplicationUid) -> String {
        let watched = targets.iter().filter(|target| target.kind.watchable && !target.kind.promised);
        let mut troubles = watched.filter_map(|target| {
            let namespace = target.prepared.key.namespace.as_deref();
            let trouble = self.watches.cache(&target.kind, namespace, application).trouble()?;
            Some(format!("{}: {trouble}", target.kind.resource.kind))
        });
        troubles.next().unwrap_or_default()
    }

    /// Takes over what was just applied, so that it is not taken for missing before the watches deliver it.
    pub fn note(&self, targets: &[Target], applied: Vec<AppliedObject>, application: &ApplicationUid) {
        for target in targets.iter().filter(|target| target.kind.promised) {
            // By now it is served: the next look asks again.
            self.discovery.forget(&target.kind.resource.api_version);
        }
        let watched = |target: &Target| target.kind.watchable && !target.kind.promised;
        for (target, applied) in targets.iter().zip(applied).filter(|(target, _)| watched(target)) {
            let namespace = target.prepared.key.namespace.as_deref();
            self.watches.cache(&target.kind, namespace, application).note(applied.object);
        }
    }
}

impl TargetError {
    /// Whether another attempt may help.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Discovery(DiscoveryError::Cluster(_)))
    }

    /// The failure to ask the cluster, if that is what it is.
    pub fn cluster_error(&self) -> Option<&ClusterError> {
        match self {
            Self::Discovery(DiscoveryError::Cluster(error)) => Some(error),
            _ => None,
        }
    }
}
