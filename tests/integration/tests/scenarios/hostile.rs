//! Hostile surroundings: providers and clusters that answer nonsense or nothing get their error, and nobody else is slowed.

use axum::Router;
use axum::routing::any;
use krake_integration::wait::{self, HANG_GUARD, ROK_HANG_GUARD};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::world::{DEPLOYMENT, World, available, ground};

/// A server that accepts connections and never says a word.
async fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            held.push(connection);
        }
    });
    url
}

/// A server that gives the same answer to every request.
async fn parrot(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(any(move || async move { answer }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// A Prometheus whose every value is NaN.
const NAN: &str = r#"{"status": "success", "data": {"resultType": "vector", "result":
    [{"metric": {}, "value": [1.0, "NaN"]}]}}"#;

fn kubeconfig(server: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_and_silence_hold_nobody_else_back() {
    let Some((ground, _turn)) = ground().await else { return };
    let world = World::start(ground).await;
    let stack = &world.stack;
    for (name, url) in [("nan", parrot(NAN).await), ("hangs", silent().await)] {
        stack.rok_ok(&["core", "gmp", "create", "--type", "prometheus", "--url", &url, name]).await.unwrap();
        let create =
            ["core", "gm", "create", "--mp-name", name, "--min", "0", "--max", "1", "--metric-name", "x"];
        stack.rok_ok(&[&create[..], &[&format!("m-{name}")]].concat()).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    // Two of them are clusters that are registered already.
    let register = async |name: &str, config: Value, metric: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, config.to_string()).unwrap();
        let args = ["kube", "cluster", "register", "-k", path.to_str().unwrap(), "-l", "location=DE"];
        let more = ["--allow-duplicate", "--global-metric", metric, "1", name];
        stack.rok_ok(&[&args[..], &more].concat()).await.unwrap();
    };
    register("garbage", kubeconfig(&parrot("<html>no API here</html>").await), "green-one").await;
    register("mute", kubeconfig(&silent().await), "green-one").await;
    // The same real cluster under another name, ranked by metrics that cannot be read.
    register("unreadable", ground.two.kubeconfig(), "m-nan").await;
    register("unanswered", ground.two.kubeconfig(), "m-hangs").await;

    let begun = Instant::now();
    world.create_echo_demo().await;
    let took = begun.elapsed();
    println!("placed and running within {took:.1?} beside servers that answer nonsense or nothing");
    assert!(available(&ground.one.api().get(DEPLOYMENT).await.unwrap().unwrap()));

    let state = async |name: &str, wanted: &str| {
        let shown = async || {
            let cluster = stack.rok_json(&["kube", "cluster", "get", name]).await.ok()?;
            (cluster["status"]["state"] == *wanted).then_some(cluster)
        };
        wait::until(&format!("cluster {name} to be {wanted}"), HANG_GUARD, shown).await.unwrap()
    };
    for name in ["garbage", "mute"] {
        let shown = state(name, "OFFLINE").await;
        assert_eq!(shown["status"]["reason"]["code"], "CLUSTER_NOT_REACHABLE");
        assert!(!shown["status"]["reason"]["message"].as_str().unwrap().is_empty());
    }
    let shown = state("unreadable", "FAILING_METRICS").await;
    assert_eq!(shown["status"]["metrics_reasons"]["m-nan"]["code"], "INVALID_METRIC", "{shown:#}");
    let shown = state("unanswered", "FAILING_METRICS").await;
    assert_eq!(shown["status"]["metrics_reasons"]["m-hangs"]["code"], "UNREACHABLE_METRICS_PROVIDER");
    stack
        .rok_ok(&["kube", "app", "delete", "echo-demo", "--wait", "--timeout", ROK_HANG_GUARD])
        .await
        .unwrap();
}
