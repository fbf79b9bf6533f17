//! The main job: placed on the best cluster, deployed, observed, moved when another becomes better, and removed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use krake_integration::binaries::{Component, require};
use krake_integration::etcd::Etcd;
use krake_integration::exporter::Exporter;
use krake_integration::kubernetes::Kubernetes;
use krake_integration::kubernetes_api::KubernetesApi;
use krake_integration::prometheus::Prometheus;
use krake_integration::stack::{Settings, Stack};
use krake_integration::wait;
use serde_json::{Value, json};
use tokio::time::Instant;

const SOON: Duration = Duration::from_secs(60);
const SETTINGS: Settings =
    Settings { reschedule_after: Duration::from_secs(5), metrics_interval: Duration::from_secs(1) };
/// Within what a better cluster must have the application, and the old one be clean.
const MIGRATION: Duration = Duration::from_secs(5 + 1 + 5);

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/echo-demo";
const SERVICE: &str = "/api/v1/namespaces/default/services/echo-demo";
const BYSTANDER: &str = "/apis/apps/v1/namespaces/default/deployments/bystander";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn available(deployment: &Value) -> bool {
    let wanted = &deployment["spec"]["replicas"];
    wanted.is_u64() && deployment["status"]["availableReplicas"] == *wanted
}

/// A Deployment that has nothing to do with Krake.
async fn bystander(api: &KubernetesApi) -> String {
    let object = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "bystander"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "bystander"}},
            "template": {
                "metadata": {"labels": {"app": "bystander"}},
                "spec": {"containers": [{"name": "main", "image": "none"}]},
            },
        },
    });
    let made = api.apply(BYSTANDER, &object).await.unwrap();
    made["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// Watches both clusters all the time: once the application was available, it is available somewhere until told
/// otherwise.
struct Checker {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Checker {
    fn start(clusters: [KubernetesApi; 2]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut gaps = Vec::new();
            while !stopped.load(Ordering::Acquire) {
                // The new one is looked at after the old one: a handover between the looks is not a gap.
                let first = clusters[0].get(DEPLOYMENT).await.unwrap();
                let second = clusters[1].get(DEPLOYMENT).await.unwrap();
                let runs = |object: &Option<Value>| object.as_ref().is_some_and(available);
                if !runs(&first) && !runs(&second) {
                    gaps.push(format!("on the first: {first:?}, on the second: {second:?}"));
                }
                tokio::task::yield_now().await;
            }
            gaps
        });
        Checker { stop, task }
    }

    /// What was seen that should not be.
    async fn finish(self) -> Vec<String> {
        self.stop.store(true, Ordering::Release);
        self.task.await.unwrap()
    }
}

async fn register(stack: &Stack, cluster: &Kubernetes, name: &str, location: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, cluster.kubeconfig().to_string()).unwrap();
    let (label, metric) = (format!("location={location}"), format!("green-{name}"));
    let args = [
        "kube",
        "cluster",
        "register",
        "-k",
        path.to_str().unwrap(),
        "-l",
        &label,
        "--global-metric",
        &metric,
        "1",
    ];
    stack.rok_ok(&[&args[..], &["--wait", "--timeout", "60s", name]].concat()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_follows_the_better_metric_and_leaves_nothing_behind() {
    let Some(binaries) = require(&[Component::Etcd, Component::Prometheus, Component::Kubernetes]) else {
        return;
    };
    let exporter = Exporter::start().unwrap();
    let set = |cluster: &str, value| exporter.set("green_share", &[("cluster", cluster)], value);
    set("one", 0.9);
    set("two", 0.2);
    let (etcd, shared) = tokio::try_join!(Etcd::start(&binaries), Etcd::start(&binaries)).unwrap();
    let targets = [exporter.address()];
    let (one, two, prometheus, stack) = tokio::try_join!(
        Kubernetes::start(&binaries, &shared, "one", 1),
        Kubernetes::start(&binaries, &shared, "two", 1),
        Prometheus::start(&binaries, &targets),
        Stack::start(&etcd, SETTINGS),
    )
    .unwrap();
    prometheus.wait_for("green_share{cluster=\"two\"}", 0.2, SOON).await.unwrap();

    stack
        .rok_ok(&["core", "gmp", "create", "--type", "prometheus", "--url", prometheus.url(), "prom"])
        .await
        .unwrap();
    for cluster in ["one", "two"] {
        let (name, query) = (format!("green-{cluster}"), format!("green_share{{cluster=\"{cluster}\"}}"));
        let args = [
            "core",
            "gm",
            "create",
            "--mp-name",
            "prom",
            "--min",
            "0",
            "--max",
            "1",
            "--metric-name",
            &query,
        ];
        stack.rok_ok(&[&args[..], &[&name]].concat()).await.unwrap();
    }
    register(&stack, &one, "one", "DE").await;
    register(&stack, &two, "two", "FR").await;
    let bystanders = [bystander(one.api()).await, bystander(two.api()).await];

    let example = repository().join("examples/echo-demo.yaml");
    let create = ["kube", "app", "create", "-f", example.to_str().unwrap(), "-L", "location in (DE, FR)"];
    stack.rok_ok(&[&create[..], &["--wait", "--timeout", "60s", "echo-demo"]].concat()).await.unwrap();
    assert!(available(&one.api().get(DEPLOYMENT).await.unwrap().unwrap()), "RUNNING means available");
    assert!(one.api().get(SERVICE).await.unwrap().is_some());
    assert!(two.api().get(DEPLOYMENT).await.unwrap().is_none(), "it runs on the better cluster alone");
    let shown = stack.rok_json(&["kube", "app", "get", "echo-demo"]).await.unwrap();
    assert_eq!(shown["status"]["state"], "RUNNING");
    assert_eq!(shown["status"]["running_on"]["name"], "one");
    assert_eq!(shown["status"]["container_health"]["running_pods"], 2);
    assert!(shown["status"]["services"]["echo-demo"].is_string(), "{shown:#}");

    let checker = Checker::start([one.api().clone(), two.api().clone()]);
    // Long enough on its cluster to be free to move: what is measured is the migration, not the waiting.
    set("one", 0.1);
    set("two", 0.8);
    let flipped = Instant::now();
    two.wait_for(DEPLOYMENT, SOON, available).await.unwrap();
    one.wait_for_absence(DEPLOYMENT, SOON).await.unwrap();
    one.wait_for_absence(SERVICE, SOON).await.unwrap();
    let took = flipped.elapsed();
    assert_eq!(checker.finish().await, Vec::<String>::new(), "available all the time");
    println!("moved within {took:.1?} of the change of the metric; {MIGRATION:?} are allowed");
    assert!(took <= MIGRATION, "the migration took {took:?}, {MIGRATION:?} are allowed");
    let settled = async || {
        let shown = stack.rok_json(&["kube", "app", "get", "echo-demo"]).await.ok()?;
        (shown["status"]["state"] == "RUNNING" && shown["status"]["running_on"]["name"] == "two")
            .then_some(shown)
    };
    let shown =
        wait::until("the application to be RUNNING on the other cluster", SOON, settled).await.unwrap();
    assert_eq!(shown["status"]["copies"].as_array().unwrap().len(), 1, "{shown:#}");
    assert_eq!(shown["status"]["history"].as_array().unwrap().len(), 2, "{shown:#}");

    stack.rok_ok(&["kube", "app", "delete", "--wait", "--timeout", "60s", "echo-demo"]).await.unwrap();
    for (cluster, uid) in [(&one, &bystanders[0]), (&two, &bystanders[1])] {
        for path in [DEPLOYMENT, SERVICE] {
            assert!(cluster.api().get(path).await.unwrap().is_none(), "{path} is left behind");
        }
        let left = cluster.api().list("/apis/apps/v1/namespaces/default/deployments").await.unwrap();
        let left: Vec<&str> = left.iter().map(|object| object["metadata"]["uid"].as_str().unwrap()).collect();
        assert_eq!(left, [uid.as_str()], "only the bystander, and it is the same");
    }
    for name in ["one", "two"] {
        stack.rok_ok(&["kube", "cluster", "delete", "--wait", "--timeout", "60s", name]).await.unwrap();
    }
}
