//! Kill anything, lose nothing: the main job goes on while each part in turn is killed, paused, stopped or frozen.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use krake_client::{Client, ConnectOptions, WatchEvent, WatchOptions};
use krake_integration::krake::{Krake, Ready};
use krake_integration::kubernetes_api::KubernetesApi;
use krake_integration::ports;
use krake_integration::wait::{HANG_GUARD, ROK_HANG_GUARD};
use krake_proto::krake::kubernetes::v1::Application;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::world::{DEPLOYMENT, Ground, SETTINGS, World, bystander, deployments, ground};

/// Duration of an outage of etcd: longer than its clients' time-outs.
const AWAY: Duration = Duration::from_secs(10);
/// Duration of a pause of a leader: longer than its lease (15 s), so that the other one takes over.
const PAUSED: Duration = Duration::from_secs(25);

/// A further instance of a controller.
async fn second(world: &World, name: &str, rules: &[&str]) -> Krake {
    let start = async || {
        let [admin] = ports::free::<1>()?;
        let admin_listen = format!("127.0.0.1:{admin}");
        let base = ["--api-url", world.stack.url(), "--admin-listen", &admin_listen];
        let ready = Ready::Http(format!("http://127.0.0.1:{admin}/readyz"));
        Krake::spawn(name, &[&base, rules].concat(), ready).await
    };
    ports::retry_on_clash(start).await.unwrap()
}

/// What a task found that should not be.
struct Observer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<String>>,
}

impl Observer {
    async fn finish(self) -> Vec<String> {
        self.stop.store(true, Ordering::Release);
        self.task.await.unwrap()
    }
}

/// The clusters on which Krake has recorded a copy of the application; `None` while the API does not answer.
async fn recorded(client: &Client) -> Option<BTreeSet<String>> {
    let application = client.api::<Application>().get_opt("demo", "echo-demo").await.ok()?;
    let copies = application.and_then(|application| application.status).map(|status| status.copies);
    Some(copies.into_iter().flatten().filter_map(|copy| Some(copy.cluster?.name)).collect())
}

/// Looks at both clusters all the time: where the application has objects, it has a record, so that it is on two clusters
/// only while both are recorded, which is a handover.
fn watch_clusters(client: Client, clusters: [(&'static str, KubernetesApi); 2]) -> Observer {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        let mut wrong = Vec::new();
        while !stopped.load(Ordering::Acquire) {
            let before = recorded(&client).await;
            let mut present = BTreeSet::new();
            for (name, api) in &clusters {
                if matches!(api.get(DEPLOYMENT).await, Ok(Some(_))) {
                    present.insert((*name).to_owned());
                }
            }
            // A record may have gone, or come, while we looked: either look may vouch for an object.
            if let (Some(before), Some(after)) = (before, recorded(&client).await) {
                let known: BTreeSet<String> = before.union(&after).cloned().collect();
                if !present.is_subset(&known) {
                    wrong.push(format!("objects on {present:?}, recorded on {known:?}"));
                }
            }
            tokio::task::yield_now().await;
        }
        wrong
    });
    Observer { stop, task }
}

/// Follows the application as any client would until it is deleted, and remembers the versions that it is told.
fn witness(client: Client) -> JoinHandle<Vec<i64>> {
    tokio::spawn(async move {
        let mut watch = client.api::<Application>().watch(WatchOptions::namespace("demo"));
        let mut versions = Vec::new();
        loop {
            match watch.next().await.expect("a watch goes on").unwrap() {
                WatchEvent::Applied { object, .. } => {
                    versions.push(object.metadata.unwrap().resource_version);
                }
                WatchEvent::Deleted(_) => return versions,
                _ => {}
            }
        }
    })
}

/// Every version that the store had of the application, by the store's own log.
async fn log_of(ground: &Ground, endpoint: &str) -> Vec<i64> {
    let mut etcdctl = Command::new(ground.binaries.path("etcdctl").unwrap())
        .env("ETCDCTL_API", "3")
        .args([
            "--endpoints",
            endpoint,
            "watch",
            "--prefix",
            "/krake/kubernetes/applications/demo/",
            "--rev",
            "1",
        ])
        .args(["-w", "json"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(etcdctl.stdout.take().unwrap()).lines();
    let mut versions = Vec::new();
    // The log ends with the deletion of the application.
    loop {
        let line = timeout(HANG_GUARD, lines.next_line()).await.expect("the log has an end");
        let message: Value = serde_json::from_str(&line.unwrap().expect("etcdctl goes on")).unwrap();
        for event in message["Events"].as_array().into_iter().flatten() {
            if event["type"] == 1 {
                return versions;
            }
            versions.push(event["kv"]["mod_revision"].as_i64().unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_job_goes_on_whatever_is_killed_paused_stopped_or_frozen() {
    let Some((ground, _turn)) = ground().await else { return };
    let mut world = World::start(ground).await;
    let (reschedule, interval) =
        (SETTINGS.reschedule_after.as_secs().to_string(), SETTINGS.metrics_interval.as_secs().to_string());
    let rules = ["--reschedule-after", &reschedule, "--metrics-interval", &interval];
    let mut scheduler = second(&world, "krake-scheduler", &rules).await;
    let mut kubernetes = second(&world, "krake-kubernetes", &[]).await;
    let bystanders = [
        ("bystander".to_owned(), bystander(ground.one.api(), "bystander").await),
        ("bystander".to_owned(), bystander(ground.two.api(), "bystander").await),
    ];
    let client = Client::new(&ConnectOptions::new(world.stack.url())).unwrap();
    let told = witness(client.clone());
    world.create_echo_demo().await;
    let clusters = [("one", ground.one.api().clone()), ("two", ground.two.api().clone())];
    let checker = watch_clusters(client, clusters);

    // Each fault strikes while the application is on its way to the other cluster.
    let mut target = "one";
    for fault in 0..10 {
        target = if target == "one" { "two" } else { "one" };
        let ranks = if target == "one" { (0.9, 0.1) } else { (0.1, 0.9) };
        ground.rank(ranks.0, ranks.1).await;
        match fault {
            0 => restart(&mut world.stack.state).await,
            1 => restart(&mut world.stack.scheduler).await,
            2 => restart(&mut scheduler).await,
            3 => restart(&mut world.stack.gc).await,
            4 => restart(&mut world.stack.kubernetes).await,
            5 => restart(&mut kubernetes).await,
            6 => pause(&mut world.stack.scheduler).await,
            7 => pause(&mut world.stack.kubernetes).await,
            8 => {
                world.etcd.process.kill().unwrap();
                tokio::time::sleep(AWAY).await;
                world.etcd.process.restart().unwrap();
            }
            _ => {
                world.etcd.process.pause().unwrap();
                tokio::time::sleep(AWAY).await;
                world.etcd.process.resume().unwrap();
            }
        }
        world.runs_on(target).await;
        println!("right again after fault {fault}");
    }
    world
        .stack
        .rok_ok(&["kube", "app", "delete", "echo-demo", "--wait", "--timeout", ROK_HANG_GUARD])
        .await
        .unwrap();
    assert_eq!(checker.finish().await, Vec::<String>::new(), "no copy without a record");
    for (cluster, bystander) in [&ground.one, &ground.two].into_iter().zip(bystanders) {
        assert_eq!(deployments(cluster.api()).await, [bystander], "only the bystander, and the same");
        cluster.api().delete("/apis/apps/v1/namespaces/default/deployments/bystander").await.unwrap();
    }

    let told = timeout(HANG_GUARD, told).await.expect("the watcher is told of the deletion").unwrap();
    let log = log_of(ground, world.etcd.endpoint()).await;
    assert!(log.len() > 20, "the log is there: {log:?}");
    let missed: Vec<&i64> = log.iter().filter(|version| !told.contains(version)).collect();
    assert!(missed.is_empty(), "versions that the watcher was not told: {missed:?} of {log:?}");
    assert!(told.windows(2).all(|pair| pair[0] <= pair[1]), "told out of order: {told:?}");
}

async fn restart(krake: &mut Krake) {
    krake.process.kill().unwrap();
    krake.process.restart().unwrap();
    krake.ready().await.unwrap();
}

async fn pause(krake: &mut Krake) {
    krake.process.pause().unwrap();
    tokio::time::sleep(PAUSED).await;
    krake.process.resume().unwrap();
}
