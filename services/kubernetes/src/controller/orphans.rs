//! The orphan controller: looks through every cluster, rarely, for objects of this installation that belong to no copy;
//! sweeps what may go, and reports the rest.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use krake_client::{Client, Mask, Mirror, NamespacedName};
use krake_proto::krake::kubernetes::v1 as api;
use krake_proto::krake::meta::v1::{Installation, Metadata};
use krake_runtime::controller::{Next, Priority, Queue, Reconciler};
use krake_runtime::leadership::Leadership;

use super::index::Index;
use super::neighbours::Neighbours;
use super::project::{self, Application, Cluster};
use super::record::object_to_api;
use super::stake::{erased, same_store, stake};
use super::strays::{Stray, Strays};
use super::surveys::Surveys;
use crate::cluster::ClusterHandle;
use crate::cluster::clusters::Clusters;
use crate::cluster::survey::Survey;
use crate::error::ClusterError;
use crate::object::orphan::{Fate, Marked, Owner, Registration, judge};
use crate::object::sweep::{Swept, sweep};
use crate::object::{ApplicationUid, ClusterUid, InventoryEntry};

/// Maximum number of orphans in the status of one cluster: a person reads the list, and the status stays small.
const MAX_REPORTED: usize = 100;
/// How long a survey goes on before those of other clusters get their turn: a slow cluster takes minutes in all.
const SURVEY_TURN: Duration = Duration::from_secs(10);
/// Attempts of a report, each after a write conflict.
const REPORT_ATTEMPTS: usize = 5;

/// How far what a survey found was dealt with.
enum Settled {
    Complete,
    /// This process leads no more, or the store is another one.
    Interrupted,
}

/// The controller; its keys are clusters.
pub(crate) struct Orphans {
    pub(crate) client: Client,
    pub(crate) mirror: Mirror<Cluster>,
    pub(crate) applications: Mirror<Application>,
    pub(crate) clusters: Arc<Clusters>,
    pub(crate) index: Arc<Index>,
    pub(crate) strays: Arc<Strays>,
    pub(crate) queue: Queue<NamespacedName>,
    pub(crate) installation: Installation,
    pub(crate) leadership: Leadership,
    pub(crate) surveys: Surveys,
}

impl Reconciler for Orphans {
    type Key = NamespacedName;

    async fn reconcile(&self, key: &NamespacedName) -> anyhow::Result<Next> {
        let Some(cluster) = self.mirror.get(key) else { return Ok(Next::Done) };
        let Some(Ok(handle)) = self.clusters.get(&cluster.uid) else { return Ok(Next::Done) };
        match handle.answers() {
            // The cluster's state wakes us.
            None => return Ok(Next::Done),
            Some(Err(_)) => {
                self.surveys.sooner(&cluster.uid);
                return Ok(Next::Done);
            }
            Some(Ok(())) => {}
        }
        if let Some(rest) = self.surveys.rest(&cluster.uid) {
            return Ok(Next::After(rest));
        }
        // Absence from a mirror that is being filled proves nothing, and only the leader sweeps.
        if !(self.applications.is_synced() && self.mirror.is_synced() && self.leadership.leading()) {
            return Ok(Next::After(self.surveys.pause()));
        }
        let mut found = self.surveys.take_up(&cluster.uid);
        let turn = found.go_on(handle.connection(), &self.installation.installation, SURVEY_TURN);
        match handle.while_answering(turn).await.and_then(|complete| complete) {
            Ok(true) => {}
            Ok(false) => {
                self.surveys.put_by(&cluster.uid, found);
                return Ok(Next::After(Duration::ZERO));
            }
            Err(error) => {
                tracing::debug!(cluster = %key, %error, "not looked through for orphans");
                return Ok(Next::After(self.surveys.pause()));
            }
        }
        match self.settle(&cluster, &handle, found).await? {
            Settled::Complete => Ok(Next::After(self.surveys.complete(&cluster.uid))),
            // A successor begins anew.
            Settled::Interrupted => Ok(Next::After(self.surveys.pause())),
        }
    }

    fn keys(&self) -> Vec<NamespacedName> {
        self.mirror.snapshot().into_iter().map(|(key, _)| key).collect()
    }
}

impl Orphans {
    /// Sweeps what may go and reports the rest.
    async fn settle(
        &self,
        cluster: &Cluster,
        handle: &ClusterHandle,
        found: Survey,
    ) -> anyhow::Result<Settled> {
        let registrations = self.registrations(cluster, &found.objects).await?;
        let owners = self.owners(cluster, &found.objects, &registrations).await?;
        let recorded = self.recorded(&cluster.uid);
        let is_relabelled =
            |object: &Marked| object.may_be_relabelled(&cluster.uid, &self.installation.epoch);
        if !same_store(&self.client, &self.installation).await? {
            return Ok(Settled::Interrupted);
        }
        let (mut told, mut swept, mut deferred) = (Vec::new(), false, false);
        let mut strays: BTreeMap<ApplicationUid, Vec<Stray>> = BTreeMap::new();
        for (object, registration) in found.objects.into_iter().zip(registrations) {
            let labelled = object.application.as_ref();
            let owner = match recorded.get(&object.uid) {
                Some(by) if labelled != Some(by) && is_relabelled(&object) => &Owner::Relabelled,
                _ => labelled.and_then(|uid| owners.get(uid)).unwrap_or(&Owner::Unknown),
            };
            match (judge(&object, owner, registration, &self.installation.epoch), owner) {
                (Fate::Keep, _) => {}
                (Fate::Report, _) => told.push(orphan(&object)),
                (Fate::Sweep, Owner::Exists(_)) => {
                    if let Some(uid) = object.application.clone() {
                        let stray = Stray { cluster: cluster.uid.clone(), registration, object };
                        strays.entry(uid).or_default().push(stray);
                    }
                }
                (Fate::Sweep, _) => match self.sweep(cluster, handle, &object).await {
                    None => return Ok(Settled::Interrupted),
                    Some(Ok(Swept::Gone)) => swept = true,
                    Some(Ok(Swept::Deferred)) => deferred = true,
                    Some(Err(_)) => told.push(orphan(&object)),
                },
            }
        }
        for (application, strays) in strays {
            if let Some(key) = self.index.application_key(&application) {
                self.strays.put(&application, &cluster.uid, strays);
                self.queue.add(key, Priority::Resync);
            }
        }
        let group = |orphan: &api::Orphan| {
            let version = orphan.object.as_ref().map_or("", |object| object.api_version.as_str());
            version.rsplit_once('/').map_or(String::new(), |(group, _)| group.to_owned())
        };
        if swept && deferred {
            // What went first kept the rest.
            self.surveys.sooner(&cluster.uid);
        }
        // What could not be listed may still be there.
        let shown = cluster.orphans.iter().filter(|shown| found.incomplete.contains(&group(shown)));
        told.extend(shown.cloned());
        // Copies may have taken over some of them since they were listed.
        let recorded = self.recorded(&cluster.uid);
        told.retain(|orphan| {
            orphan.object.as_ref().is_none_or(|object| !is_taken(&recorded, orphan, object))
        });
        told.sort_by_key(sort_key);
        told.dedup_by_key(|orphan| sort_key(orphan));
        if told.len() > MAX_REPORTED {
            tracing::warn!(cluster = %cluster.reference.name, orphans = told.len(), "not all orphans are shown");
            told.truncate(MAX_REPORTED);
        }
        self.report(cluster, told).await?;
        Ok(Settled::Complete)
    }

    /// Sweeps an object. `None`: the lease has ended.
    async fn sweep(
        &self,
        cluster: &Cluster,
        handle: &ClusterHandle,
        object: &Marked,
    ) -> Option<Result<Swept, ClusterError>> {
        let installation = &self.installation.installation;
        let neighbours = Neighbours { mirror: &self.applications, index: &self.index };
        let other_user = neighbours.others(&cluster.uid, None);
        let sweep = sweep(handle.connection(), object, installation, &other_user);
        let sweep = Box::pin(handle.on_known(sweep));
        let name = &cluster.reference.name;
        let swept = self.leadership.within_lease(sweep).await?.and_then(|swept| swept);
        match &swept {
            Ok(Swept::Gone) => tracing::info!(cluster = %name, object = %object.key, "orphan swept"),
            Ok(Swept::Deferred) => {}
            Err(error) => tracing::debug!(cluster = %name, object = %object.key, %error, "not swept"),
        }
        Some(swept)
    }

    /// The uids of the objects that copies on a cluster record as their own, and whose copies those are. Where two record the
    /// same one, which may be while it is handed over, one of them.
    fn recorded(&self, cluster: &ClusterUid) -> HashMap<String, ApplicationUid> {
        let mut recorded = HashMap::new();
        for application in self.index.concerned(cluster).iter().filter_map(|key| self.applications.get(key)) {
            let inventory = application.copy(cluster).map(|copy| copy.inventory.as_slice());
            let uids = inventory.unwrap_or_default().iter().filter_map(|entry| entry.uid.clone());
            recorded.extend(uids.map(|uid| (uid, application.uid.clone())));
        }
        recorded
    }

    /// What the cluster of each object's annotation is.
    async fn registrations(
        &self,
        cluster: &Cluster,
        objects: &[Marked],
    ) -> anyhow::Result<Vec<Registration>> {
        let others: HashSet<&ClusterUid> = objects
            .iter()
            .filter_map(|object| object.cluster.as_ref())
            .filter(|uid| **uid != cluster.uid && self.index.cluster_key(uid).is_none())
            .collect();
        let erased = erased(&self.client, others.into_iter().map(ToString::to_string)).await?;
        let registration = |object: &Marked| match &object.cluster {
            None => Registration::Unnamed,
            Some(uid) if *uid == cluster.uid => Registration::This,
            Some(uid) if erased.contains(uid.as_str()) => Registration::Erased,
            Some(_) => Registration::Other,
        };
        Ok(objects.iter().map(registration).collect())
    }

    /// What Krake knows of the application on each object's label. Whenever anything but keeping follows from the mirror,
    /// the API itself is asked: the mirror may be behind.
    async fn owners(
        &self,
        cluster: &Cluster,
        objects: &[Marked],
        registrations: &[Registration],
    ) -> anyhow::Result<HashMap<ApplicationUid, Owner>> {
        let mut objects_of: HashMap<&ApplicationUid, Vec<(&Marked, Registration)>> = HashMap::new();
        for (object, registration) in objects.iter().zip(registrations) {
            if let Some(uid) = &object.application {
                objects_of.entry(uid).or_default().push((object, *registration));
            }
        }
        let mut owners = HashMap::new();
        let mut unknown = Vec::new();
        for (uid, objects) in objects_of {
            let key = self.index.application_key(uid);
            let mirrored = key.as_ref().and_then(|key| self.applications.get(key));
            let Some(application) = mirrored.filter(|application| application.uid == *uid) else {
                unknown.push(uid.clone());
                continue;
            };
            let owner = Owner::Exists(stake(&application, &cluster.uid, &self.clusters));
            let kept = |(object, registration): &(&Marked, Registration)| {
                judge(object, &owner, *registration, &self.installation.epoch) == Fate::Keep
            };
            if objects.iter().all(kept) {
                owners.insert(uid.clone(), owner);
                continue;
            }
            let key = &application.key;
            let fresh: Option<api::Application> =
                self.client.api().get_opt(&key.namespace, &key.name).await?;
            let fresh = fresh.as_ref().and_then(project::application).filter(|fresh| fresh.uid == *uid);
            match fresh {
                Some(fresh) => drop(
                    owners.insert(uid.clone(), Owner::Exists(stake(&fresh, &cluster.uid, &self.clusters))),
                ),
                None => unknown.push(uid.clone()),
            }
        }
        let erased = erased(&self.client, unknown.iter().map(ToString::to_string)).await?;
        let tombstone = |uid: &ApplicationUid| erased.contains(uid.as_str());
        owners.extend(unknown.into_iter().map(|uid| {
            let owner = if tombstone(&uid) { Owner::Erased } else { Owner::Unknown };
            (uid, owner)
        }));
        Ok(owners)
    }

    /// Reports orphans, if they are not shown already.
    async fn report(&self, cluster: &Cluster, orphans: Vec<api::Orphan>) -> anyhow::Result<()> {
        let reference = &cluster.reference;
        for _ in 0..REPORT_ATTEMPTS {
            let shown: Option<api::Cluster> =
                self.client.api().get_opt(&reference.namespace, &reference.name).await?;
            let Some(shown) = shown else { return Ok(()) };
            let metadata = shown.metadata.unwrap_or_default();
            let status = shown.status.unwrap_or_default();
            if metadata.uid != reference.uid || status.orphans == orphans || !self.leadership.leading() {
                return Ok(());
            }
            let metadata = Metadata {
                namespace: metadata.namespace,
                name: metadata.name,
                uid: metadata.uid,
                resource_version: metadata.resource_version,
                ..Default::default()
            };
            let status = api::ClusterStatus { orphans: orphans.clone(), ..Default::default() };
            let object = api::Cluster { metadata: Some(metadata), spec: None, status: Some(status) };
            match self.client.api().update_status(&object, Mask::fields(["status.orphans"])).await {
                Ok(_) => {
                    tracing::info!(cluster = %reference.name, orphans = orphans.len(), "orphans reported");
                    return Ok(());
                }
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error).context("cannot report orphans"),
            }
        }
        anyhow::bail!("orphans could not be reported: the cluster changed each time")
    }
}

/// Whether an orphan is recorded by a copy of the application on its label.
fn is_taken(
    recorded: &HashMap<String, ApplicationUid>,
    orphan: &api::Orphan,
    object: &api::ObjectRef,
) -> bool {
    recorded.get(&object.uid).is_some_and(|by| by.as_str() == orphan.application_uid)
}

fn orphan(object: &Marked) -> api::Orphan {
    let entry = InventoryEntry { key: object.key.clone(), uid: Some(object.uid.clone()) };
    api::Orphan {
        object: Some(object_to_api(&entry)),
        application_uid: object.application.as_ref().map(ToString::to_string).unwrap_or_default(),
        epoch: object.epoch.clone().unwrap_or_default(),
    }
}

fn sort_key(orphan: &api::Orphan) -> (String, String, String, String, String) {
    let object = orphan.object.clone().unwrap_or_default();
    (object.kind, object.namespace, object.name, object.api_version, object.uid)
}
