//! The controllers end to end: a fake Krake API on one side, simulated API servers on the other, and the whole adapter
//! between.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use krake_kubernetes::cluster::ProbeTimes;
use krake_kubernetes::cluster::address::AddressPolicy;
use krake_kubernetes::cluster::clusters::Opener;
use krake_kubernetes::cluster::reachability::Thresholds;
use krake_kubernetes::object::EPOCH_ANNOTATION;
use krake_kubernetes::{Args, SlowRetries, SweepTimes};
use krake_proto::condition::{find, reasons, types};
use krake_proto::krake::kubernetes::v1::{Application, Cluster, Phase};
use krake_proto::krake::meta::v1::ConditionStatus;
use krake_runtime::shutdown::Shutdown;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::api_server::{ApiServer, Journal, Mood};
use crate::apply::{config_map, deployment};
use crate::fake_krake::FakeKrake;
use crate::fake_store::Store;

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
    pub(crate) removal_deadline: Duration,
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
        Self {
            krake,
            servers,
            journal,
            rollout_deadline,
            slow_retries,
            removal_deadline,
            probe_interval,
            adapter: None,
        }
    }

    pub(crate) fn start_adapter(&mut self) {
        self.start_candidate("false");
    }

    fn start_candidate(&mut self, election: &str) {
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
        config.removal_deadline = self.removal_deadline;
        config.observation_interval = Duration::from_millis(50);
        config.probe = ProbeTimes {
            interval: self.probe_interval,
            second_look: Duration::from_millis(10),
            // No test here waits for it, and a cluster must not be lost on a busy machine.
            deadline: Duration::from_secs(10),
            thresholds: Thresholds { failing_for: Duration::from_millis(100), ..Thresholds::default() },
        };
        config.sweep = SweepTimes { interval: Duration::from_millis(100), pause: Duration::from_millis(20) };
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

#[tokio::test]
async fn the_intent_is_recorded_before_the_first_write_and_forgotten_after_the_last() {
    let world = World::start().await;
    world.krake.change(|store| store.create("app", &[config_map("a"), config_map("b")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.krake.change(|store| store.delete::<Application>("app"));
    world.krake.until("erased", |store| store.applications.is_empty().then_some(())).await;
    let journal = world.journal();
    let expected = [
        "report Intended app/one",
        "one POST configmaps/a",
        "one POST configmaps/b",
        "report Applying app/one",
        "report Running app/one",
        "report Removing app/one",
        "one DELETE configmaps/b",
        "one DELETE configmaps/a",
        "forget app/one",
    ];
    assert_eq!(journal, expected);
    world.stop().await;
}

#[tokio::test]
async fn a_refused_report_touches_nothing_and_is_planned_anew() {
    let mut world = World::prepare().await;
    world.krake.outdate_next_report(|store| store.bind("app", &["two"]));
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    world.start_adapter();
    world.until_phases("app", &[("two", Phase::Running)]).await;
    assert!(world.journal().contains(&"refused".to_owned()));
    assert_eq!(world.server("one").writes(), [""; 0]);
    world.stop().await;
}

#[tokio::test]
async fn a_deletion_waits_for_our_turn() {
    let world = World::start().await;
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.krake.change(|store| {
        let mut application = store.applications["app"].clone();
        let metadata = application.metadata.as_mut().unwrap();
        metadata.finalizers.push("cascade_deletion".into());
        store.put(application);
        store.delete::<Application>("app");
        store.create("other", &[config_map("b")], "one");
    });
    // What came later is done, so the deletion was looked at.
    world.until_phases("other", &[("one", Phase::Running)]).await;
    world.until_phases("app", &[("one", Phase::Running)]).await;
    assert!(world.server("one").get("configmaps", "demo", "a").is_some());
    world.krake.change(|store| {
        let mut application = store.applications["app"].clone();
        application.metadata.as_mut().unwrap().finalizers.pop();
        store.put(application);
    });
    world.krake.until("erased", |store| (!store.applications.contains_key("app")).then_some(())).await;
    assert_eq!(world.server("one").names("configmaps"), ["b"]);
    world.stop().await;
}

#[tokio::test]
async fn a_handover_that_fails_is_taken_back_and_an_update_tries_again() {
    let mut world = World::prepare().await;
    // Short enough to be waited for, and long enough for a copy that can run on a busy machine.
    world.rollout_deadline = Duration::from_secs(4);
    world.start_adapter();
    world.server("one").run_workloads();
    world.krake.change(|store| store.create("app", &[deployment("web")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    // Nothing becomes available on the other cluster.
    world.krake.change(|store| store.bind("app", &["two"]));
    world.until_phases("app", &[("one", Phase::Running), ("two", Phase::Failed)]).await;
    world.until("withdrawn", || world.server("two").names("deployments").is_empty()).await;
    let (why, _) = reason(&world, "app", "two", types::AVAILABLE).unwrap();
    assert_eq!(why, reasons::DEADLINE_EXCEEDED);
    assert_eq!(world.server("one").names("deployments"), ["web"], "the old copy stays");

    world.server("two").run_workloads();
    world.krake.change(|store| {
        store.update("app", &[deployment("web"), config_map("more")]);
        store.bind("app", &["two"]);
    });
    world.until_phases("app", &[("two", Phase::Running)]).await;
    assert_eq!(world.server("one").names("deployments"), [""; 0], "the old copy went after the new one ran");
    world.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let mut world = World::start().await;
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    let before = world.server("one").get("configmaps", "demo", "a").unwrap();
    world.kill_adapter().await;
    world.server("one").erase("configmaps", "demo", "a");
    world.start_adapter();
    world.until("repaired", || world.server("one").get("configmaps", "demo", "a").is_some()).await;
    let after = world.server("one").get("configmaps", "demo", "a").unwrap();
    assert_eq!(after["metadata"]["labels"], before["metadata"]["labels"]);
    assert!(!world.journal().iter().any(|entry| entry.contains("DELETE") || entry.contains("forget")));
    world.stop().await;
}

#[tokio::test]
async fn a_handover_of_a_former_generation_ends_under_a_new_adapter() {
    let mut world = World::start().await;
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.kill_adapter().await;
    // What was killed had just applied it on the other cluster; and then the spec changed, and nobody decides on it.
    let mut applied = crate::apply::labelled(config_map("a"), "inst", "uid-app");
    applied["metadata"]["annotations"] = json!({EPOCH_ANNOTATION: "e1"});
    world.server("two").put("configmaps", applied);
    world.krake.change(|store| {
        store.bind("app", &["two"]);
        let mut application = store.applications["app"].clone();
        let status = application.status.as_mut().unwrap();
        let mut copy = status.copies[0].clone();
        copy.cluster.clone_from(&status.bindings[0].cluster);
        copy.phase = Phase::Applying.into();
        copy.inventory[0].uid.clear();
        status.copies.push(copy);
        store.put(application);
        store.update("app", &[config_map("b")]);
    });
    world.start_adapter();
    world.until_phases("app", &[("two", Phase::Running)]).await;
    assert_eq!(world.server("one").names("configmaps"), [""; 0]);
    assert_eq!(world.server("two").names("configmaps"), ["a"], "the new spec waits for a decision");
    world.stop().await;
}

#[tokio::test]
async fn a_deleted_cluster_is_drained_and_waits_while_it_is_silent() {
    let world = World::start().await;
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.server("one").set_mood(Mood::Down);
    let unreachable = |store: &Store| {
        let status = store.clusters["one"].status.clone()?;
        let reachable = find(&status.conditions, types::REACHABLE)?.status();
        (reachable == ConditionStatus::False && status.unreachable_since.is_some()).then_some(())
    };
    world.krake.until("unreachable", unreachable).await;
    world.krake.change(|store| {
        store.delete::<Cluster>("one");
        store.bind("app", &["two"]);
    });
    world.until_phases("app", &[("one", Phase::Running), ("two", Phase::Running)]).await;
    assert!(!world.journal().iter().any(|entry| entry.starts_with("let go")));
    world.server("one").set_mood(Mood::Well);
    world.krake.until("let go", |store| (!store.clusters.contains_key("one")).then_some(())).await;
    world.until_phases("app", &[("two", Phase::Running)]).await;
    assert_eq!(world.server("one").names("configmaps"), [""; 0]);
    world.stop().await;
}

#[tokio::test]
async fn a_cluster_that_hangs_holds_nobody_else_back() {
    let mut world = World::prepare().await;
    world.start_adapter();
    world.krake.change(|store| store.create("first", &[config_map("first")], "one"));
    world.until_phases("first", &[("one", Phase::Running)]).await;
    // Its probe still believes that it answers: more applications than there are workers run into it.
    world.server("one").hang_writes(true);
    world.krake.change(|store| {
        for index in 0..12 {
            store.create(&format!("stuck-{index}"), &[config_map(&format!("stuck-{index}"))], "one");
        }
    });
    let tried = |request: &&String| request.starts_with("PATCH");
    world.until("stuck", || world.server("one").requests().iter().filter(tried).count() > 1).await;
    world.krake.change(|store| store.create("free", &[config_map("free")], "two"));
    world.until_phases("free", &[("two", Phase::Running)]).await;
    world.server("one").hang_writes(false);
    for index in 0..12 {
        world.until_phases(&format!("stuck-{index}"), &[("one", Phase::Running)]).await;
    }
    world.stop().await;
}

#[tokio::test]
async fn trouble_is_told_in_the_copy_and_tried_again() {
    let world = World::start().await;
    world.server("one").break_writes("configmaps");
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    let told = |world: &World| reason(world, "app", "one", types::APPLIED);
    world.until("told", || told(&world).is_some_and(|(_, message)| message.contains("broken"))).await;
    assert_eq!(told(&world).unwrap().0, reasons::KUBERNETES_ERROR);
    world
        .until("tried again", || {
            world.server("one").requests().iter().filter(|request| request.starts_with("PATCH")).count() > 2
        })
        .await;
    let reports = world.journal().iter().filter(|entry| entry.contains("report")).count();
    assert_eq!(reports, 2, "one intent, one trouble: {:?}", world.journal());
    world.server("one").heal();
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.stop().await;
}

pub(crate) fn definition() -> Value {
    crate::api_server::definition("baths.example", "Tub", "tubs")
}

pub(crate) fn tub() -> Value {
    json!({"apiVersion": "baths.example/v1", "kind": "Tub", "metadata": {"name": "t", "namespace": "demo"}})
}

#[tokio::test]
async fn a_custom_resource_comes_with_its_definition() {
    let world = World::start().await;
    world.krake.change(|store| store.create("app", &[tub(), definition()], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    let writes: Vec<_> = world.journal().into_iter().filter(|entry| entry.contains("POST")).collect();
    assert_eq!(writes, ["one POST customresourcedefinitions/tubs.baths.example", "one POST tubs/t"]);
    // It is watched like anything else.
    world.server("one").erase("tubs", "demo", "t");
    world.until("repaired", || world.server("one").get("tubs", "demo", "t").is_some()).await;

    world.krake.change(|store| store.create("alone", &[tub()], "two"));
    world.until_phases("alone", &[("two", Phase::Failed)]).await;
    let (why, _) = reason(&world, "alone", "two", types::APPLIED).unwrap();
    assert_eq!(why, reasons::UNSUPPORTED_RESOURCE, "nothing promises the kind there");
    world.stop().await;
}

#[tokio::test]
async fn who_does_not_lead_looks_and_touches_nothing() {
    let mut world = World::prepare().await;
    world.krake.change(|store| {
        store.create("app", &[config_map("a")], "one");
        store.tombstones.insert("uid-gone".into());
    });
    let mut orphan = crate::apply::labelled(config_map("orphan"), "inst", "uid-gone");
    orphan["metadata"]["annotations"] = json!({EPOCH_ANNOTATION: "e1"});
    world.server("one").put("configmaps", orphan);
    // Nobody is elected: the fake holds no elections.
    world.start_candidate("true");
    let looks = |world: &World| {
        world.server("one").requests().iter().filter(|request| request.ends_with("/kube-system")).count()
    };
    world.until("looked at often", || looks(&world) > 5).await;
    assert_eq!(world.journal(), [""; 0]);
    assert_eq!(world.krake.change(|store| store.clusters["one"].status.clone()), None);
    world.kill_adapter().await;
    world.start_adapter();
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.until("swept", || world.server("one").names("configmaps") == ["a"]).await;
    world.stop().await;
}
