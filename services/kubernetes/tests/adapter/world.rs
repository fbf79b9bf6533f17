//! The world of an end-to-end test: a fake Krake API on one side, simulated API servers on the other, and the whole adapter
//! between.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use krake_kubernetes::cluster::ProbeTimes;
use krake_kubernetes::cluster::address::AddressPolicy;
use krake_kubernetes::cluster::clusters::Opener;
use krake_kubernetes::cluster::reachability::Thresholds;
use krake_kubernetes::{Args, SlowRetries, SweepTimes};
use krake_proto::condition::find;
use krake_proto::krake::kubernetes::v1::Phase;
use krake_runtime::shutdown::Shutdown;
use tokio::task::JoinHandle;

use crate::api_server::{ApiServer, Journal};
use crate::fake_krake::FakeKrake;

/// Longest time that a test waits for something that must come. A machine that is busy with other work may be many times
/// slower than an idle one, so only a hang takes as long.
pub(crate) const HANG_GUARD: Duration = Duration::from_secs(120);

/// Two clusters, `one` and `two`, a Krake that knows them, and an adapter.
pub(crate) struct World {
    pub(crate) krake: FakeKrake,
    pub(crate) servers: HashMap<&'static str, Arc<ApiServer>>,
    pub(crate) journal: Journal,
    pub(crate) rollout_deadline: Duration,
    pub(crate) slow_retries: SlowRetries,
    /// How long objects of one copy are written at a time.
    pub(crate) longest_part: Duration,
    pub(crate) removal_deadline: Duration,
    /// When clusters are surveyed for orphans.
    pub(crate) sweep: SweepTimes,
    /// From one probe of a cluster to the next.
    pub(crate) probe_interval: Duration,
    adapter: Option<(Shutdown, JoinHandle<anyhow::Result<()>>)>,
}

impl World {
    pub(crate) async fn start() -> Self {
        let mut world = Self::prepare().await;
        world.start_adapter();
        world
    }

    /// Everything but the adapter.
    pub(crate) async fn prepare() -> Self {
        let journal = Journal::default();
        let krake = FakeKrake::start(journal.clone()).await;
        let servers: HashMap<_, _> = ["one", "two"].map(|name| (name, ApiServer::start())).into();
        for (name, server) in &servers {
            server.keep_journal(name, &journal);
            krake.change(|store| {
                store.kubeconfigs.insert((*name).to_owned(), server.kubeconfig().clone());
                store.register(name, name);
            });
        }
        let slow_retries = SlowRetries::default();
        let (rollout_deadline, removal_deadline) = (HANG_GUARD, HANG_GUARD);
        let probe_interval = Duration::from_millis(50);
        let sweep = SweepTimes { interval: Duration::from_millis(100), pause: Duration::from_millis(20) };
        Self {
            krake,
            servers,
            journal,
            rollout_deadline,
            slow_retries,
            longest_part: HANG_GUARD,
            removal_deadline,
            sweep,
            probe_interval,
            adapter: None,
        }
    }

    pub(crate) fn start_adapter(&mut self) {
        self.start_candidate("false");
    }

    pub(crate) fn start_candidate(&mut self, election: &str) {
        let url = &self.krake.options.url;
        let flags = [
            "x",
            "--api-url",
            url,
            "--admin-listen",
            "127.0.0.1:0",
            "--workers",
            "4",
            "--election",
            election,
        ];
        let mut config = Args::try_parse_from(flags).unwrap().resolve().unwrap();
        config.opener = Opener::over_network(AddressPolicy { loopback: true, allowed: Vec::new() });
        config.rollout_deadline = self.rollout_deadline;
        config.slow_retries = self.slow_retries;
        config.longest_part = self.longest_part;
        config.removal_deadline = self.removal_deadline;
        config.observation_interval = Duration::from_millis(50);
        config.probe = ProbeTimes {
            interval: self.probe_interval,
            second_look: Duration::from_millis(10),
            // No test here waits for it, and a cluster must not be lost on a busy machine.
            deadline: Duration::from_secs(10),
            thresholds: Thresholds { failing_for: Duration::from_millis(100), ..Thresholds::default() },
        };
        config.sweep = self.sweep;
        let shutdown = Shutdown::new();
        let running = tokio::spawn(krake_kubernetes::run(config, shutdown.clone()));
        self.adapter = Some((shutdown, running));
    }

    /// As by `kill -9`.
    pub(crate) async fn kill_adapter(&mut self) {
        let (_, running) = self.adapter.take().unwrap();
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
    }

    pub(crate) async fn stop(mut self) {
        let (shutdown, running) = self.adapter.take().unwrap();
        shutdown.request();
        tokio::time::timeout(HANG_GUARD, running).await.expect("ends").unwrap().unwrap();
    }

    pub(crate) fn server(&self, name: &str) -> &Arc<ApiServer> {
        &self.servers[name]
    }

    pub(crate) async fn until_phases(&self, application: &str, expected: &[(&str, Phase)]) {
        let expected = expected.iter().map(|(name, phase)| ((*name).to_owned(), *phase)).collect();
        let what = format!("{application} as {expected:?}");
        self.krake.until(&what, |store| (store.phases(application) == expected).then_some(())).await;
    }

    /// Waits until something is so on clusters, of which nobody tells.
    pub(crate) async fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let waiting = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(HANG_GUARD, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    pub(crate) fn journal(&self) -> Vec<String> {
        self.journal.lock().unwrap().clone()
    }
}

/// The condition of the copy on a cluster.
pub(crate) fn reason(
    world: &World,
    application: &str,
    cluster: &str,
    r#type: &str,
) -> Option<(String, String)> {
    world.krake.change(|store| {
        let copies = store.copies(application);
        let copy = copies.iter().find(|copy| copy.cluster.as_ref().is_some_and(|c| c.name == cluster))?;
        let condition = find(&copy.conditions, r#type)?;
        Some((condition.reason.clone(), condition.message.clone()))
    })
}
