//! Looking after one cluster: does it answer, and how are its nodes?

use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use tokio::sync::watch::Sender;
use tokio::time::Instant;
use tracing::info;

use crate::cluster::connection::Connection;
use crate::cluster::identity::{ClusterIdentity, Known};
use crate::cluster::node_watch::NodeWatch;
use crate::cluster::nodes::{self, Fitness, Look, NodeCounts, NodeFacts};
use crate::cluster::reachability::{
    Cause, Failure, Outcome, Reachability, Reachable, Record, Thresholds, classify, classify_discovery,
};
use crate::cluster::wake::{Wake, Wakes};
use crate::object::ClusterUid;

/// Maximum length of a version or uid in bytes; uids have 36.
const MAX_WORD: usize = 64;

/// Failures in a row to connect after which watches may hang over connections that are dead.
const RESTART_AFTER: u32 = 2;
/// Time after which a namespace `kube-system` that might not be read is asked for again.
const HIDDEN_FOR: Duration = Duration::from_secs(60);
/// Longest pause between two looks at a cluster that throttles.
const THROTTLED_INTERVAL: Duration = Duration::from_secs(60);

/// How often a cluster is looked at, and what a look means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeTimes {
    /// From the beginning of one look to that of the next. Doubles, up to a minute, with each look that is answered
    /// with 429.
    pub interval: Duration,
    /// Until the look after the first answer of a cluster that was offline.
    pub second_look: Duration,
    /// A look that takes longer has failed.
    pub deadline: Duration,
    /// How many failures and answers change whether the cluster is reachable.
    pub thresholds: Thresholds,
}

impl Default for ProbeTimes {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            second_look: Duration::from_secs(1),
            deadline: Duration::from_secs(5),
            thresholds: Thresholds::default(),
        }
    }
}

/// What is known of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterReport {
    /// Its state and why.
    pub fitness: Fitness,
    /// Whether it is reachable. Its times are since [`ClusterReport::origin`].
    pub record: Record,
    /// When the first look began.
    pub origin: Instant,
    /// The worst of its nodes, by name.
    pub nodes: Vec<NodeFacts>,
    /// Numbers of its nodes; `None` if they are not known.
    pub counts: Option<NodeCounts>,
    /// What it is known by, as far as it was seen.
    pub identity: ClusterIdentity,
    /// Whether the uid in `identity` was seen, and not only remembered.
    pub is_identity_seen: bool,
    /// Version that its API server tells, for example `v1.34.1`.
    pub version: Option<String>,
}

/// The probe of one cluster.
pub(crate) struct Probe {
    cluster: ClusterUid,
    connection: Connection,
    times: ProbeTimes,
    wakes: Arc<Wakes>,
    report: Sender<Option<ClusterReport>>,
    revived: Sender<u64>,
    nodes: NodeWatch,
    version: Option<String>,
    /// When the first look began.
    origin: Instant,
    reachability: Reachability,
    known: Known,
    /// When it was found that its namespace `kube-system` may not be read, or is not there.
    identity_hidden: Option<Instant>,
    /// The version was read since the cluster was unreachable.
    version_read: bool,
}

impl Probe {
    pub(crate) fn new(
        cluster: ClusterUid,
        connection: Connection,
        known: Known,
        times: ProbeTimes,
        wakes: Arc<Wakes>,
        report: Sender<Option<ClusterReport>>,
        revived: Sender<u64>,
    ) -> Self {
        Self {
            nodes: NodeWatch::new(cluster.clone(), connection.clone()),
            cluster,
            connection,
            times,
            wakes,
            report,
            revived,
            version: None,
            origin: Instant::now(),
            reachability: Reachability::new(times.thresholds),
            known,
            identity_hidden: None,
            version_read: false,
        }
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(mut self) {
        let mut next = Instant::now();
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(next) => {
                    let begin = Instant::now();
                    let (was, silent) = (self.reachability.record().reachable, self.reachability.silent_failures());
                    let outcome = self.look().await;
                    self.reachability.observe(self.origin.elapsed(), outcome.clone());
                    let pause = pause(self.times.interval, self.reachability.throttled_answers());
                    next = (begin + pause).max(Instant::now());
                    let is = self.reachability.record().reachable;
                    let is_back = was == Reachable::No && is == Reachable::Yes;
                    let was_silent = was == Reachable::Yes && silent >= RESTART_AFTER;
                    if is_back || (was_silent && outcome == Outcome::Answer) {
                        // Watches over a connection that broke may hang until their deadline: all start over.
                        self.revived.send_modify(|times| *times += 1);
                        self.nodes.begin();
                    }
                    if is == Reachable::No && self.reachability.answers() > 0 {
                        next = Instant::now() + self.times.second_look;
                    }
                    self.publish();
                }
                changed = self.nodes.next() => {
                    // What changes no state waits for the next look: a large cluster starts thousands of nodes at
                    // once.
                    if changed && !self.awaits_look() && self.changes_state() {
                        self.publish();
                    }
                }
            }
        }
    }

    /// Asks the cluster for its identity, or else for one node.
    async fn look(&mut self) -> Outcome {
        let was_unreachable = self.reachability.record().reachable == Reachable::No;
        let holds = |since: &Instant| !was_unreachable && since.elapsed() < HIDDEN_FOR;
        self.identity_hidden = self.identity_hidden.filter(holds);
        self.version_read &= !was_unreachable;
        let outcome = match self.look_at_identity().await {
            Some(outcome) => outcome,
            None => self.look_at_one_node().await,
        };
        if outcome == Outcome::Answer && !self.version_read {
            let version = self.within_deadline(self.connection.client().apiserver_version()).await;
            self.version_read = version.is_ok();
            let version = version.ok().map(|version| version.git_version).filter(|word| is_word(word));
            self.version = version.or(self.version.take());
        }
        outcome
    }

    /// Reads the namespace `kube-system`: shows that the server answers, reads its store and accepts our credentials,
    /// and which cluster it is. `None` if the namespace may not be read.
    async fn look_at_identity(&mut self) -> Option<Outcome> {
        let ca_sha256 = self.connection.ca_sha256().to_owned();
        let mut kube_system_uid = String::new();
        if self.identity_hidden.is_none() {
            let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Namespace"));
            let namespaces: Api<DynamicObject> = Api::all_with(self.connection.client().clone(), &kind);
            match self.within_deadline(namespaces.get_metadata_opt("kube-system")).await {
                Ok(namespace) => {
                    kube_system_uid = namespace
                        .and_then(|namespace| namespace.metadata.uid)
                        .filter(|word| is_word(word))
                        .unwrap_or_default();
                }
                Err(Failure::Forbidden | Failure::NotFound) => {}
                Err(Failure::Outcome(outcome)) => return Some(outcome),
            }
            self.identity_hidden = kube_system_uid.is_empty().then(Instant::now);
        }
        let is_seen = self.identity_hidden.is_none();
        let Known { identity, by_another_kubeconfig } = &self.known;
        match identity.verify(&ClusterIdentity { kube_system_uid, ca_sha256 }, *by_another_kubeconfig) {
            Ok(identity) => self.known = Known { identity, by_another_kubeconfig: false },
            Err(message) => return Some(Outcome::Failure(Cause::WrongCluster, message)),
        }
        is_seen.then_some(Outcome::Answer)
    }

    /// Asks for one node or, where nodes may not be read, for the API groups.
    async fn look_at_one_node(&mut self) -> Outcome {
        let nodes = self.nodes.api();
        let one = ListParams::default().limit(1);
        match self.within_deadline(nodes.list(&one)).await {
            Ok(_) => Outcome::Answer,
            Err(Failure::Outcome(outcome)) => outcome,
            Err(Failure::NotFound) => {
                Outcome::Failure(Cause::Broken, "its server is no Kubernetes API server".to_owned())
            }
            Err(Failure::Forbidden) => {
                let groups = self.connection.client().list_api_groups();
                match tokio::time::timeout(self.times.deadline, groups).await {
                    Ok(Ok(_)) => Outcome::Answer,
                    Ok(Err(error)) => classify_discovery(error),
                    Err(_) => self.too_late(),
                }
            }
        }
    }

    async fn within_deadline<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
        match tokio::time::timeout(self.times.deadline, call).await {
            Ok(answer) => answer.map_err(classify),
            Err(_) => Err(Failure::Outcome(self.too_late())),
        }
    }

    fn too_late(&self) -> Outcome {
        let message = format!("no answer within {} s", self.times.deadline.as_secs_f32());
        Outcome::Failure(Cause::Silent, message)
    }

    /// Only a look tells whether a cluster answers, at first and after it was offline.
    fn awaits_look(&self) -> bool {
        let report = self.report.borrow();
        report.as_ref().is_none_or(|report| report.record.reachable != Reachable::Yes)
    }

    fn changes_state(&self) -> bool {
        let fitness = nodes::judge(self.reachability.record(), &self.nodes.look());
        self.report.borrow().as_ref().is_none_or(|report| report.fitness.state != fitness.state)
    }

    fn publish(&self) {
        let look = self.nodes.look();
        let (nodes, counts) = match &look {
            Look::Nodes(nodes) => (nodes.shown(), Some(nodes.counts())),
            Look::Listing | Look::NodesHidden | Look::TooMany(_) => (Vec::new(), None),
        };
        let record = self.reachability.record().clone();
        let before = self.report.borrow().as_ref().map(|report| report.fitness.clone());
        let fitness = nodes::judge(&record, &look);
        if before.as_ref().map(|before| before.state) != Some(fitness.state) {
            info!(cluster = %self.cluster, state = ?fitness.state, message = fitness.message, "cluster state");
        }
        let (origin, identity, version) = (self.origin, self.known.identity.clone(), self.version.clone());
        let is_identity_seen = self.identity_hidden.is_none();
        let report =
            ClusterReport { fitness, record, origin, nodes, counts, identity, is_identity_seen, version };
        let report = Some(report);
        let changed = self.report.send_if_modified(|present| {
            let changed = *present != report;
            *present = report;
            changed
        });
        if changed {
            self.wakes.push(Wake::Cluster(self.cluster.clone()));
        }
    }
}

/// Whether a text looks like a version or a uid, so that nothing else that a server says is shown as one.
fn is_word(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+' | b'_');
    text.len() <= MAX_WORD && text.bytes().all(fits)
}

/// From the beginning of a look at a cluster to that of the next, after so many answers in a row that it has too many requests.
fn pause(interval: Duration, throttled_answers: u32) -> Duration {
    interval.saturating_mul(2u32.saturating_pow(throttled_answers)).min(THROTTLED_INTERVAL.max(interval))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_that_throttles_is_asked_less_and_less() {
        let seconds = |interval, answers| pause(Duration::from_secs(interval), answers).as_secs();
        let asked: Vec<u64> = (0..5).map(|answers| seconds(5, answers)).collect();
        assert_eq!(asked[..3], [5, 10, 20]);
        assert!(asked.is_sorted() && seconds(5, u32::MAX) == THROTTLED_INTERVAL.as_secs());
        assert_eq!(seconds(600, 3), 600, "nor more often than usual");
    }
}
