//! What must hold on the two clusters of a case: always, and in the end.

use std::time::Duration;

use krake_cluster_sim::Cluster;
use krake_proto::krake::kubernetes::v1::{Application, ApplicationState, Phase};
use serde_json::Value;
use tokio::time::Instant;

use crate::case::{Case, Situation, Strategy};
use crate::shop::{COLLECTIONS, OBJECTS, WORKLOAD, foreign, manifest};

/// Time between two looks at the number of copies.
const LOOK: Duration = Duration::from_millis(20);
/// Longest time until the workloads of others are ready.
const READY: Duration = Duration::from_secs(60);

/// A cluster of a case, and what others have there.
pub(crate) struct Place {
    /// Its name in Krake: `one` or `two`.
    pub(crate) site: &'static str,
    pub(crate) cluster: Cluster,
    /// Number of objects before anything was applied.
    empty: usize,
    foreign: Vec<(&'static str, Option<Value>)>,
}

impl Place {
    /// Puts the objects of others there.
    pub(crate) async fn prepare(site: &'static str, cluster: Cluster) -> Self {
        for (path, object) in foreign() {
            cluster.apply(path, &object).unwrap_or_else(|| panic!("cannot make {path}"));
        }
        let ready = |path: &str| {
            !path.contains("/deployments/") || cluster.read(path).unwrap()["status"]["readyReplicas"] == 1
        };
        let end = Instant::now() + READY;
        while !foreign().iter().all(|(path, _)| ready(path)) {
            assert!(Instant::now() < end, "the workloads of others do not become ready");
            tokio::time::sleep(LOOK).await;
        }
        let foreign = foreign().into_iter().map(|(path, _)| (path, cluster.read(path))).collect();
        Place { site, empty: cluster.objects(), cluster, foreign }
    }

    /// Whether objects of the application are there.
    pub(crate) fn holds(&self) -> bool {
        self.cluster.objects() > self.empty
    }

    /// Whether the whole application is there and serves: each object as its manifest says, and all replicas available.
    pub(crate) fn is_whole(&self) -> bool {
        let available =
            |workload: Value| workload["status"]["availableReplicas"] == workload["spec"]["replicas"];
        self.wrong().is_empty() && self.cluster.read(WORKLOAD).is_some_and(available)
    }

    /// What of others is not as it was.
    pub(crate) fn touched(&self) -> Vec<String> {
        let was = self.foreign.iter();
        let touched = was.filter(|(path, object)| self.cluster.read(path) != *object);
        touched.map(|(path, _)| format!("{path} on {} was touched", self.site)).collect()
    }

    /// What is not as the manifest says.
    fn wrong(&self) -> Vec<String> {
        let paths = OBJECTS.into_iter().zip(manifest());
        let wrong = paths.filter_map(|(path, wanted)| match self.cluster.read(path) {
            None => Some(format!("{path} on {} is missing", self.site)),
            Some(found) if !includes(&found, &wanted) => Some(format!("{path} on {} differs", self.site)),
            Some(_) => None,
        });
        wrong.collect()
    }

    /// What is there and should not be.
    fn left(&self) -> Vec<String> {
        let count = |path: &str| {
            let list = self.cluster.read(path).unwrap_or_default();
            list["items"].as_array().map_or(0, Vec::len)
        };
        let others =
            |path: &str| foreign().iter().filter(|(other, _)| other.starts_with(&format!("{path}/"))).count();
        let left = COLLECTIONS.into_iter().filter(|path| count(path) != others(path));
        let mut left: Vec<String> =
            left.map(|path| format!("something is left in {path} on {}", self.site)).collect();
        if left.is_empty() && self.holds() {
            left.push(format!("something is left on {}", self.site));
        }
        left
    }
}

/// Whether an object has what a manifest says, and lists of the same length.
fn includes(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| found.get(name).is_some_and(|found| includes(found, wanted)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found.iter().zip(wanted).all(|(found, wanted)| includes(found, wanted))
        }
        _ => found == wanted,
    }
}

/// Bounds of the number of clusters that have the application at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// Maximum number of clusters with objects of it.
    most: usize,
    /// Whether one cluster always has all of it, once one had.
    never_without: bool,
}

impl Allowed {
    /// Two only where a new copy may come before the old one goes: in a handover, and where an attempt that failed gives way
    /// to one on the next cluster and succeeds after all meanwhile. In that handover nobody else changes what serves, so it
    /// serves until the new copy does.
    pub(crate) fn of(case: Case) -> Self {
        let is_create_first = case.strategy == Strategy::CreateFirst;
        let is_handover = case.situation == Situation::Handover;
        let may_be_two = is_create_first && (is_handover || case.situation == Situation::Placement);
        Allowed { most: if may_be_two { 2 } else { 1 }, never_without: is_create_first && is_handover }
    }
}

/// Looks at the places until the number of copies is not allowed; returns what is wrong.
///
/// The places are looked at one after another, in the order of a handover: an old copy that is not whole any more was given
/// up before the look at the new one, which was whole by then.
pub(crate) async fn not_allowed(places: &[Place], allowed: Allowed) -> String {
    let mut was_whole = None;
    loop {
        let on: Vec<&str> = places.iter().filter(|place| place.holds()).map(|place| place.site).collect();
        if on.len() > allowed.most {
            return format!("it is on {} at the same time, with {} allowed", on.join(" and "), allowed.most);
        }
        if allowed.never_without {
            match (places.iter().find(|place| place.is_whole()), was_whole) {
                (Some(whole), _) => was_whole = Some(whole.site),
                (None, Some(site)) => return format!("it is whole nowhere, and was on {site}"),
                (None, None) => {}
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What is not as it must be where an application runs. `site`: the only cluster that it may be on, if there is one.
pub(crate) fn not_running(
    application: Option<&Application>,
    places: &[Place],
    site: Option<&str>,
) -> Vec<String> {
    let Some(application) = application else { return vec!["the application is gone".to_owned()] };
    let (status, metadata) = (application.status.clone().unwrap_or_default(), application.metadata.clone());
    let mut open = Vec::new();
    if status.state() != ApplicationState::Running {
        let reason = status.reason.clone().unwrap_or_default().message;
        open.push(format!("its state is {:?}: {reason}", status.state()));
    }
    let copies = status.copies.iter().map(|copy| (copy.cluster.clone().unwrap_or_default().name, copy));
    let copies: Vec<_> = copies.collect();
    let shown = copies.iter().map(|(name, copy)| format!("{:?} on {name}", copy.phase()));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match copies.as_slice() {
        [(name, copy)]
            if copy.phase() == Phase::Running
                && copy.observed_generation == metadata.unwrap_or_default().generation
                && site.is_none_or(|site| site == name) =>
        {
            for place in places {
                open.extend(if place.site == name { place.wrong() } else { place.left() });
            }
        }
        _ => open.push(format!("its copies are [{shown}]")),
    }
    open
}

/// What is left of an application that was deleted.
pub(crate) fn not_gone(application: Option<&Application>, places: &[Place]) -> Vec<String> {
    let mut open: Vec<String> = places.iter().flat_map(Place::left).collect();
    if let Some(application) = application {
        let copies = application.status.clone().unwrap_or_default().copies;
        let phases: Vec<Phase> = copies.iter().map(|copy| copy.phase()).collect();
        open.push(format!("the application is not erased, its copies are {phases:?}"));
    }
    open
}

mod tests;
