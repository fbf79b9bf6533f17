//! One live cluster: its connection, what it serves, its watches and its probe.

mod sights;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::future::join_all;
use kube::api::ApiResource;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::cluster::confirmation::{Confirmation, MAX_AGE};
use crate::cluster::connection::Connection;
use crate::cluster::discovery::{Discovery, DiscoveryError, ResolvedKind};
use crate::cluster::identity::Known;
use crate::cluster::pods::PodCauses;
use crate::cluster::probe::{ClusterReport, Probe, ProbeTimes};
use crate::cluster::reachability::{Cause, Reachable};
use crate::cluster::shared::SharedObjects;
use crate::cluster::wake::Wakes;
use crate::cluster::watch::Watches;
use crate::error::ClusterError;
use crate::object::prepare::{self, ManifestError, Prepared, Target};
use crate::object::{ClusterUid, Identity, InventoryEntry, definition};

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

/// An object as a cluster would get it.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The object; of an unknown kind, if that is not resolved.
    pub target: Target,
    /// Why its kind cannot be resolved: it can be neither seen nor applied.
    pub unresolved: Option<DiscoveryError>,
}

/// A cluster, how it is reached, and what it is known by.
pub(crate) struct Contact {
    pub(crate) cluster: ClusterUid,
    pub(crate) connection: Connection,
    pub(crate) known: Known,
}

/// A live cluster. Its tasks end when it is dropped.
pub struct ClusterHandle {
    connection: Connection,
    discovery: Discovery,
    watches: Watches,
    confirmation: Confirmation,
    shared: SharedObjects,
    pods: PodCauses,
    report: watch::Receiver<Option<ClusterReport>>,
    ended: CancellationToken,
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
        let ends = cancel.clone();
        tasks.spawn(async move { ends.run_until_cancelled(probe.run()).await });
        let discovery = Discovery::new(connection.clone());
        let confirmation = Confirmation::new(connection.clone());
        let shared = SharedObjects::new(connection.clone());
        let pods = PodCauses::new(connection.clone());
        let _cancel_on_drop = cancel.drop_guard();
        Self { connection, discovery, watches, confirmation, shared, pods, report, ended, _cancel_on_drop }
    }

    /// The connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What the cluster serves.
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// Why pods do not start there.
    pub(crate) fn pods(&self) -> &PodCauses {
        &self.pods
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

    /// The cluster is not looked after by this handle any more: it was declared lost, deregistered, or got another kubeconfig.
    /// What is under way on it stops, and what it answers later counts for nothing.
    pub(crate) fn end(&self) {
        self.ended.cancel();
    }

    /// Whether nothing that this handle tells may be taken for the state of its cluster: it has ended, or another cluster
    /// answers.
    pub fn is_fenced(&self) -> bool {
        let is_another = |report: &ClusterReport| {
            report.record.reachable == Reachable::No && report.record.cause == Some(Cause::WrongCluster)
        };
        self.ended.is_cancelled()
            || self.confirmation.is_another()
            || self.report.borrow().as_ref().is_some_and(is_another)
    }

    /// Waits for an answer of the cluster as long as it is looked after and not unreachable.
    ///
    /// # Errors
    /// When the cluster becomes unreachable first, or is not looked after any more.
    pub async fn while_answering<T>(&self, work: impl Future<Output = T>) -> Result<T, ClusterError> {
        let mut reports = self.report.clone();
        let silent = reports.wait_for(|report| {
            report.as_ref().is_some_and(|report| report.record.reachable == Reachable::No)
        });
        let ended = || ClusterError::Unreachable("it is not looked after any more".to_owned());
        tokio::select! {
            biased;
            () = self.ended.cancelled() => Err(ended()),
            done = work => Ok(done),
            silent = silent => Err(match silent.ok().as_deref() {
                Some(Some(report)) => ClusterError::Unreachable(report.record.message.clone()),
                _ => ended(),
            }),
        }
    }

    /// Does something on the cluster, as long as it is not unreachable, once it is confirmed that it is the registered
    /// one.
    ///
    /// # Errors
    /// When another cluster answers, or the cluster becomes unreachable first.
    pub async fn on_known<T>(&self, work: impl Future<Output = T>) -> Result<T, ClusterError> {
        let confirmed = async {
            let now = Instant::now();
            self.confirm(now.checked_sub(MAX_AGE).unwrap_or(now)).await?;
            Ok(work.await)
        };
        self.while_answering(confirmed).await?
    }

    /// Confirms that the cluster is the registered one still, at most as long ago as such a confirmation holds: what it has
    /// just answered is not that of another one.
    ///
    /// # Errors
    /// When another cluster answers, or none.
    pub async fn still_known(&self) -> Result<(), ClusterError> {
        let now = Instant::now();
        let confirmed = self.confirm(now.checked_sub(MAX_AGE).unwrap_or(now));
        self.while_answering(confirmed).await?
    }

    /// As [`ClusterHandle::still_known`], at this moment: for what cannot be taken back.
    ///
    /// # Errors
    /// When another cluster answers, or none.
    pub async fn known_now(&self) -> Result<(), ClusterError> {
        self.while_answering(self.confirm(Instant::now())).await?
    }

    async fn confirm(&self, earliest: Instant) -> Result<(), ClusterError> {
        let known = self.report.borrow().as_ref().map(|report| report.identity.clone());
        self.confirmation.confirm(&known.unwrap_or_default(), earliest).await
    }

    /// The objects of a manifest as this cluster would get them.
    ///
    /// # Errors
    /// When the manifest is wrong, or a kind cannot be resolved.
    pub async fn targets(&self, manifest: &[Value], identity: &Identity) -> Result<Vec<Target>, TargetError> {
        let resolved = self.resolve(manifest, identity, |_, _| None).await?;
        Ok(resolved.into_iter().map(|resolved| resolved.target).collect())
    }

    /// The objects of documents as this cluster would get them, in the order in which they are applied. Where a kind cannot
    /// be resolved, `is_namespaced` tells from elsewhere where its objects live, so that only they are unknown.
    ///
    /// # Errors
    /// When the documents are wrong, or a kind cannot be resolved of which nothing is known either.
    pub async fn resolve(
        &self,
        documents: &[Value],
        identity: &Identity,
        is_namespaced: impl Fn(&str, &str) -> Option<bool>,
    ) -> Result<Vec<Resolved>, TargetError> {
        let mut names = Vec::with_capacity(documents.len());
        for (index, document) in documents.iter().enumerate() {
            names.push(prepare::api_version_and_kind(index, document)?);
        }
        let answers = self.kinds(names.iter().copied()).await;
        let mut unresolved = HashMap::new();
        let mut resolved = Vec::with_capacity(documents.len());
        for (document, name) in documents.iter().zip(names) {
            let kind = match &answers[&name] {
                Ok(kind) => kind.clone(),
                Err(error) => {
                    let is_absent = matches!(
                        error,
                        DiscoveryError::Unsupported { .. }
                            | DiscoveryError::Cluster(ClusterError::NotFound(_))
                    );
                    let promised = || definition::promised(documents, name.0, name.1);
                    match is_absent.then(promised).flatten() {
                        Some(promised) => promised,
                        None => {
                            let namespaced = is_namespaced(name.0, name.1).ok_or_else(|| error.clone())?;
                            unresolved.insert(name, error.clone());
                            stand_in(name, namespaced)
                        }
                    }
                }
            };
            resolved.push((document, kind));
        }
        let targets = prepare::prepare_all(&resolved, identity, self.connection.default_namespace())?;
        let with_trouble = |target: Target| {
            let key = &target.prepared.key;
            let unresolved = unresolved.get(&(key.api_version.as_str(), key.kind.as_str())).cloned();
            Resolved { target, unresolved }
        };
        Ok(targets.into_iter().map(with_trouble).collect())
    }

    /// The objects of an inventory, by their names alone: to be looked at, and not to be applied.
    pub async fn recorded(&self, inventory: &[InventoryEntry]) -> Vec<Resolved> {
        let name = |entry: &'_ InventoryEntry| (entry.key.api_version.clone(), entry.key.kind.clone());
        let names: Vec<_> = inventory.iter().map(name).collect();
        let names = names.iter().map(|(api_version, kind)| (api_version.as_str(), kind.as_str()));
        let answers = self.kinds(names.clone()).await;
        let object = |(entry, name): (&InventoryEntry, (&str, &str))| {
            let prepared = Prepared { key: entry.key.clone(), body: Value::Null, scaled: false };
            let (kind, unresolved) = match &answers[&name] {
                Ok(kind) => (kind.clone(), None),
                Err(error) => (stand_in(name, entry.key.namespace.is_some()), Some(error.clone())),
            };
            Resolved { target: Target { prepared, kind }, unresolved }
        };
        inventory.iter().zip(names).map(object).collect()
    }

    /// The kinds by API version and name, each asked for once and all at the same time.
    async fn kinds<'a>(
        &self,
        names: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> HashMap<(&'a str, &'a str), Result<ResolvedKind, DiscoveryError>> {
        let distinct: HashSet<_> = names.collect();
        let asked = distinct
            .into_iter()
            .map(|name| async move { (name, self.discovery.resolve(name.0, name.1).await) });
        join_all(asked).await.into_iter().collect()
    }
}

/// A kind that is not known, for objects that are named and neither seen nor applied.
fn stand_in((api_version, kind): (&str, &str), namespaced: bool) -> ResolvedKind {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        plural: String::new(),
    };
    ResolvedKind { resource, namespaced, watchable: false, promised: false }
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
