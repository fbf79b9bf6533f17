//! Two of each controller run, and one acts: whatever happens to it, the other takes over, and a leader that was away
//! writes nothing.

use std::time::Duration;

use krake_client::{Client, ConnectOptions, DeleteOptions, Error, Fence, Ticket};
use krake_integration::krake::{Krake, Ready};
use krake_integration::stack::state_server;
use krake_integration::wait::{self, HANG_GUARD};
use krake_integration::{http, ports};
use krake_proto::condition::{find, types};
use krake_proto::error::ErrorReason;
use krake_proto::krake::core::v1::{Metric, MetricSource, MetricSpec};
use krake_proto::krake::kubernetes::v1::{Application, ApplicationSpec, Cluster, ClusterSpec, Manifest};
use krake_proto::krake::meta::v1::document::Content;
use krake_proto::krake::meta::v1::{Document, Metadata, OwnerReference};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

/// Lease length. Longer than a busy machine keeps a leader from renewing it; and longer than a standby takes to lead once
/// the place is free, which shows that a leader that ends gives its place back.
const TTL: Duration = Duration::from_secs(15);

/// One of two replicas of a controller.
struct Replica {
    krake: Krake,
    metrics: String,
    election: &'static str,
}

impl Replica {
    async fn start(name: &'static str, election: &'static str, api: &str) -> Self {
        let start = async || {
            let [admin] = ports::free::<1>()?;
            let (listen, ttl) = (format!("127.0.0.1:{admin}"), TTL.as_secs().to_string());
            let args = ["--api-url", api, "--admin-listen", &listen, "--election-ttl-seconds", &ttl];
            let ready = Ready::Http(format!("http://{listen}/readyz"));
            let krake = Krake::spawn(name, &args, ready).await?;
            Ok(Replica { krake, metrics: format!("http://{listen}/metrics"), election })
        };
        ports::retry_on_clash(start).await.unwrap()
    }

    /// Whether it says that it leads; a process that does not answer does not lead for all one can see.
    async fn leads(&self) -> bool {
        let client = http::client().unwrap();
        let asked = async { client.get(&self.metrics).send().await?.text().await };
        let Ok(Ok(text)) = timeout(Duration::from_secs(1), asked).await else { return false };
        text.contains(&format!("krake_leader{{election=\"{}\"}} 1", self.election))
    }

    /// The fence of its last term, by its log.
    fn fence(&self) -> i64 {
        let log = self.krake.process.log();
        let (_, last) = log.rsplit_once("fence=").or_else(|| log.rsplit_once("\"fence\":")).unwrap();
        let digits: String = last.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    }
}

struct World {
    _state: Krake,
    client: Client,
    replicas: [Replica; 2],
}

impl World {
    async fn start(name: &'static str, election: &'static str) -> Self {
        let start = async || {
            let [api, admin] = ports::free::<2>()?;
            Ok((format!("http://127.0.0.1:{api}"), state_server(&["--store", "memory"], api, admin).await?))
        };
        let (url, state) = ports::retry_on_clash(start).await.unwrap();
        let client = Client::new(&ConnectOptions::new(&url)).unwrap();
        let replicas =
            [Replica::start(name, election, &url).await, Replica::start(name, election, &url).await];
        World { _state: state, client, replicas }
    }

    /// Waits until one leads, and tells which and how long it took.
    async fn leader(&self) -> (usize, Duration) {
        let start = Instant::now();
        let leader = wait::until("a leader", HANG_GUARD, async || {
            let [one, two] = &self.replicas;
            let seen = [one.leads().await, two.leads().await, one.leads().await];
            assert!(!(seen[0] && seen[1] && seen[2]), "two lead at once");
            match seen {
                [_, true, false] => Some(1),
                [true, false, true] => Some(0),
                _ => None,
            }
        });
        (leader.await.unwrap(), start.elapsed())
    }

    /// Writes as a replica would in its last term, but for the ticket, which no other process has.
    async fn write_as(&self, replica: usize, name: &str) -> Result<Metric, Error> {
        let replica = &self.replicas[replica];
        let fence = Fence::new(replica.election);
        fence.raise(replica.fence(), Ticket::default());
        self.client.fenced(fence).api::<Metric>().create(&metric(name)).await
    }
}

/// Something that only the controller can bring about.
trait Work {
    const NAME: &'static str;
    const ELECTION: &'static str;

    /// Asks for it and waits until it is done; `turn` makes it another one each time.
    async fn done(world: &World, turn: usize);
}

fn named(namespace: &str, name: String) -> Option<Metadata> {
    Some(Metadata { namespace: namespace.into(), name, ..Default::default() })
}

/// A metric that nobody else writes.
fn metric(name: &str) -> Metric {
    let provider = Some(MetricSource { name: "p".into(), metric: "m".into() });
    let spec = MetricSpec { min: Some(0.0), max: Some(1.0), provider, ..Default::default() };
    Metric { metadata: named("", name.into()), spec: Some(spec) }
}

fn document(value: Value) -> Option<Document> {
    Some(Document { content: Some(Content::Json(value.to_string())) })
}

struct Collecting;

impl Work for Collecting {
    const NAME: &'static str = "krake-gc";
    const ELECTION: &'static str = "gc";

    async fn done(world: &World, turn: usize) {
        let metrics = world.client.api::<Metric>();
        let (owner, dependent) = (format!("owner-{turn}"), format!("dependent-{turn}"));
        metrics.create(&metric(&owner)).await.unwrap();
        let reference = OwnerReference {
            api: "core".into(),
            kind: "Metric".into(),
            name: owner.clone(),
            ..Default::default()
        };
        let mut owned = metric(&dependent);
        owned.metadata.get_or_insert_default().owners.push(reference);
        metrics.create(&owned).await.unwrap();
        metrics.delete("", &owner, &DeleteOptions::default()).await.unwrap();
        let gone = async || {
            let left = (metrics.get_opt("", &owner).await, metrics.get_opt("", &dependent).await);
            matches!(left, (Ok(None), Ok(None))).then_some(())
        };
        wait::until("owner and dependent to go", HANG_GUARD, gone).await.unwrap();
    }
}

struct Scheduling;

impl Work for Scheduling {
    const NAME: &'static str = "krake-scheduler";
    const ELECTION: &'static str = "scheduler";

    async fn done(world: &World, turn: usize) {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}});
        let manifest = vec![Manifest { document: document(pod), ..Default::default() }];
        let spec = Some(ApplicationSpec { manifest, ..Default::default() });
        let name = format!("app-{turn}");
        let application = Application { metadata: named("demo", name.clone()), spec, status: None };
        let applications = world.client.api::<Application>();
        applications.create(&application).await.unwrap();
        // There is no cluster, and it says so.
        let decided = async || {
            let status = applications.get("demo", &name).await.ok()?.status?;
            find(&status.conditions, types::SCHEDULED).map(|_| ())
        };
        wait::until("a decision", HANG_GUARD, decided).await.unwrap();
    }
}

struct Adapting;

impl Work for Adapting {
    const NAME: &'static str = "krake-kubernetes";
    const ELECTION: &'static str = "kubernetes/0";

    async fn done(world: &World, turn: usize) {
        let config = json!({
            "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        });
        let spec = Some(ClusterSpec { kubeconfig: document(config), ..Default::default() });
        let name = format!("cluster-{turn}");
        let cluster = Cluster { metadata: named("demo", name.clone()), spec, status: None };
        let clusters = world.client.api::<Cluster>();
        clusters.create(&cluster).await.unwrap();
        // Nobody answers there, and it says so.
        let probed = async || {
            let status = clusters.get("demo", &name).await.ok()?.status?;
            find(&status.conditions, types::REACHABLE).map(|_| ())
        };
        wait::until("a report on the cluster", HANG_GUARD, probed).await.unwrap();
    }
}

/// The story, for one controller.
async fn one_acts_whatever_happens<W: Work>() {
    let mut world = World::start(W::NAME, W::ELECTION).await;
    let (first, _) = world.leader().await;
    let second = 1 - first;
    W::done(&world, 0).await;
    assert!(!world.replicas[second].krake.process.log().contains("leading"), "the other one stands by");
    let refused = world.write_as(first, "early").await.unwrap_err();
    assert_eq!(refused.reason(), Some(ErrorReason::Forbidden), "the fence alone proves nothing: {refused}");

    eprintln!("{}: the leader is killed", W::NAME);
    world.replicas[first].krake.process.kill().unwrap();
    let (leader, took) = world.leader().await;
    assert_eq!(leader, second);
    eprintln!("the standby took over after {took:.1?}, its ttl is {TTL:?}");
    W::done(&world, 1).await;
    let late = world.write_as(first, "late").await.unwrap_err();
    assert!(late.is_fenced(), "a write of the killed leader that arrives late: {late}");

    eprintln!("{}: the leader is paused for longer than its ttl", W::NAME);
    world.replicas[first].krake.process.restart().unwrap();
    world.replicas[first].krake.ready().await.unwrap();
    W::done(&world, 2).await;
    world.replicas[second].krake.process.pause().unwrap();
    let (leader, took) = world.leader().await;
    assert_eq!(leader, first);
    eprintln!("the standby took over after {took:.1?}, its ttl is {TTL:?}");
    W::done(&world, 3).await;
    let late = world.write_as(second, "late").await.unwrap_err();
    assert!(late.is_fenced(), "a write of the paused leader: {late}");
    world.replicas[second].krake.process.resume().unwrap();
    let stepped_back = wait::until("the former leader to step back", HANG_GUARD, async || {
        assert!(!world.replicas[second].leads().await, "it knows by itself that its lease is over");
        world.replicas[second].krake.process.log().contains("stepping down").then_some(())
    });
    stepped_back.await.unwrap();
    assert_eq!(world.leader().await.0, first, "who came back stands by");
    W::done(&world, 4).await;

    eprintln!("{}: the leader is asked to end", W::NAME);
    world.replicas[first].krake.process.terminate().unwrap();
    assert!(world.replicas[first].krake.process.ended(HANG_GUARD).await.unwrap().success());
    let (leader, took) = world.leader().await;
    assert_eq!(leader, second);
    assert!(took < TTL, "its place was free at once, but the standby took {took:?}");
    W::done(&world, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_collectors_collects() {
    one_acts_whatever_happens::<Collecting>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_schedulers_schedules() {
    one_acts_whatever_happens::<Scheduling>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_adapters_adapts() {
    one_acts_whatever_happens::<Adapting>().await;
}
