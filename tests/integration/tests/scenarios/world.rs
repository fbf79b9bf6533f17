//! What the scenarios stand on: two real clusters and a real Prometheus, started once; and for each scenario a Krake of its
//! own, with both clusters registered and ranked by a metric that the test sets.

use std::path::{Path, PathBuf};
use std::time::Duration;

use krake_integration::binaries::{Binaries, Component, require};
use krake_integration::etcd::Etcd;
use krake_integration::exporter::Exporter;
use krake_integration::kubernetes::Kubernetes;
use krake_integration::kubernetes_api::KubernetesApi;
use krake_integration::prometheus::Prometheus;
use krake_integration::stack::{Settings, Stack};
use krake_integration::wait::{self, HANG_GUARD, ROK_HANG_GUARD};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// Quick enough to see several migrations in a test.
pub(crate) const SETTINGS: Settings = Settings {
    reschedule_after: Duration::from_secs(5),
    metrics_interval: Duration::from_secs(1),
    offline_grace: Duration::from_secs(60),
};

pub(crate) const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
pub(crate) const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/echo-demo";
pub(crate) const SERVICE: &str = "/api/v1/namespaces/default/services/echo-demo";

/// The clusters and the metrics, shared by all scenarios of this process.
pub(crate) struct Ground {
    pub(crate) binaries: Binaries,
    pub(crate) one: Kubernetes,
    pub(crate) two: Kubernetes,
    exporter: Exporter,
    prometheus: Prometheus,
    _etcd: Etcd,
}

impl Ground {
    async fn start(binaries: Binaries) -> Self {
        let exporter = Exporter::start().unwrap();
        let targets = [exporter.address()];
        let etcd = Kubernetes::etcd(&binaries).await.unwrap();
        let (one, two, prometheus) = tokio::try_join!(
            Kubernetes::start(&binaries, &etcd, "one", 1),
            Kubernetes::start(&binaries, &etcd, "two", 1),
            Prometheus::start(&binaries, &targets),
        )
        .unwrap();
        Ground { binaries, one, two, exporter, prometheus, _etcd: etcd }
    }

    /// Sets what Prometheus tells of the two clusters, and waits until it does.
    pub(crate) async fn rank(&self, one: f64, two: f64) {
        self.set(one, two);
        for (cluster, value) in [("one", one), ("two", two)] {
            self.prometheus.wait_for(&query(cluster), value, HANG_GUARD).await.unwrap();
        }
    }

    /// Sets what Prometheus will tell with its next scrape.
    pub(crate) fn set(&self, one: f64, two: f64) {
        for (cluster, value) in [("one", one), ("two", two)] {
            self.exporter.set("green_share", &[("cluster", cluster)], value);
        }
    }

    /// Removes what an earlier scenario that failed has left, so that its failure stays its own.
    async fn clean(&self) {
        for api in [self.one.api(), self.two.api()] {
            for collection in [DEPLOYMENTS, "/api/v1/namespaces/default/services"] {
                for object in api.list(collection).await.unwrap() {
                    let name = object["metadata"]["name"].as_str().unwrap();
                    if name != "kubernetes" {
                        api.delete(&format!("{collection}/{name}")).await.unwrap();
                    }
                }
            }
        }
    }

    /// The cluster with this name.
    pub(crate) fn cluster(&self, name: &str) -> &Kubernetes {
        if name == "one" { &self.one } else { &self.two }
    }
}

fn query(cluster: &str) -> String {
    format!("green_share{{cluster=\"{cluster}\"}}")
}

/// The clusters, and the right to use them: scenarios that do take turns. `None` where they cannot be had.
pub(crate) async fn ground() -> Option<(&'static Ground, MutexGuard<'static, ()>)> {
    static TURN: Mutex<()> = Mutex::const_new(());
    static GROUND: OnceCell<Ground> = OnceCell::const_new();
    let binaries =
        require(&[Component::Etcd, Component::Etcd35, Component::Prometheus, Component::Kubernetes])?;
    let turn = TURN.lock().await;
    let ground = GROUND.get_or_init(|| Ground::start(binaries)).await;
    ground.clean().await;
    Some((ground, turn))
}

/// A Krake with its own etcd, to which both clusters are registered: `one` in DE, `two` in FR.
pub(crate) struct World {
    pub(crate) etcd: Etcd,
    pub(crate) stack: Stack,
}

impl World {
    /// Starts it and waits until both clusters are ONLINE and ranked. Prometheus says 0.9 of `one` and 0.2 of `two`.
    pub(crate) async fn start(ground: &Ground) -> Self {
        Self::start_with(ground, SETTINGS).await
    }

    /// As [`World::start`], with other settings.
    pub(crate) async fn start_with(ground: &Ground, settings: Settings) -> Self {
        ground.rank(0.9, 0.2).await;
        let world = Self::unranked_with(ground, settings).await;
        let provider =
            ["core", "gmp", "create", "--type", "prometheus", "--url", ground.prometheus.url(), "prom"];
        world.stack.rok_ok(&provider).await.unwrap();
        for name in ["one", "two"] {
            let (metric, query) = (format!("green-{name}"), query(name));
            let create = ["core", "gm", "create", "--mp-name", "prom", "--min", "0", "--max", "1"];
            world.stack.rok_ok(&[&create[..], &["--metric-name", &query, &metric]].concat()).await.unwrap();
        }
        for name in ["one", "two"] {
            world.rank(name).await;
        }
        world
    }

    /// Starts it and waits until both clusters are ONLINE. Nothing ranks them.
    pub(crate) async fn unranked(ground: &Ground) -> Self {
        Self::unranked_with(ground, SETTINGS).await
    }

    async fn unranked_with(ground: &Ground, settings: Settings) -> Self {
        let etcd = Etcd::start(&ground.binaries).await.unwrap();
        let stack = Stack::start(&etcd, settings).await.unwrap();
        for (name, location) in [("one", "DE"), ("two", "FR")] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("kubeconfig");
            std::fs::write(&path, ground.cluster(name).kubeconfig().to_string()).unwrap();
            let label = format!("location={location}");
            let register = ["kube", "cluster", "register", "-k", path.to_str().unwrap(), "-l", &label];
            let register = [&register[..], &[name, "--wait", "--timeout", ROK_HANG_GUARD]];
            stack.rok_ok(&register.concat()).await.unwrap();
        }
        World { etcd, stack }
    }

    /// Gives a cluster its metric, and waits until the scheduler has read it.
    ///
    /// The scheduler sees changes of clusters in the order in which they were made. Clusters get their metrics only after
    /// all are ONLINE, so a scheduler that reports on the metrics has seen that too, and its first decision compares all.
    async fn rank(&self, name: &str) {
        let metric = format!("green-{name}");
        let update = ["kube", "cluster", "update", name, "--global-metric", &metric, "1"];
        self.stack.rok_ok(&update).await.unwrap();
        let ranked = async || {
            let shown = self.stack.rok_json(&["kube", "cluster", "get", name]).await.ok()?;
            let conditions = shown["status"]["conditions"].as_array()?;
            let holds =
                |condition: &Value| condition["type"] == "MetricsAvailable" && condition["status"] == "TRUE";
            conditions.iter().any(holds).then_some(())
        };
        wait::until(&format!("the metric of {name} to be read"), HANG_GUARD, ranked).await.unwrap();
    }

    /// Creates the example application, for DE or FR, and waits until it runs.
    pub(crate) async fn create_echo_demo(&self) {
        let example = repository().join("examples/echo-demo.yaml");
        let create = ["kube", "app", "create", "-f", example.to_str().unwrap(), "-L", "location in (DE, FR)"];
        self.stack
            .rok_ok(&[&create[..], &["echo-demo", "--wait", "--timeout", ROK_HANG_GUARD]].concat())
            .await
            .unwrap();
    }

    /// Waits until the example application is RUNNING on a cluster and has a copy there alone.
    pub(crate) async fn runs_on(&self, cluster: &str) -> Value {
        let settled = async || {
            let shown = self.stack.rok_json(&["kube", "app", "get", "echo-demo"]).await.ok()?;
            let status = &shown["status"];
            let there = status["state"] == "RUNNING" && status["running_on"]["name"] == *cluster;
            (there && status["copies"].as_array()?.len() == 1).then_some(shown)
        };
        wait::until(&format!("echo-demo to be RUNNING on {cluster} alone"), HANG_GUARD, settled)
            .await
            .unwrap()
    }
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Whether all replicas of a Deployment are available.
pub(crate) fn available(deployment: &Value) -> bool {
    let wanted = &deployment["spec"]["replicas"];
    wanted.is_u64() && deployment["status"]["availableReplicas"] == *wanted
}

/// Makes a Deployment that has nothing to do with Krake; its uid.
pub(crate) async fn bystander(api: &KubernetesApi, name: &str) -> String {
    let object = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "none"}]},
            },
        },
    });
    let made = api.apply(&format!("{DEPLOYMENTS}/{name}"), &object).await.unwrap();
    made["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// Names and uids of all Deployments in the namespace `default`.
pub(crate) async fn deployments(api: &KubernetesApi) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found = api.list(DEPLOYMENTS).await.unwrap();
    found.iter().map(|object| (text(&object["metadata"]["name"]), text(&object["metadata"]["uid"]))).collect()
}
