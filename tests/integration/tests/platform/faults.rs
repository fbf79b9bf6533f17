//! Faults of simulated clusters: what a client sees of each, and that it ends.

use std::time::Duration;

use krake_integration::simulator::Simulator;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::api::{Api, JSON, Reply};
use crate::columns::{Cluster, columns};

const NODES: &str = "/api/v1/nodes";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

struct Faulty<'a> {
    simulator: &'a Simulator,
    api: Api,
}

impl<'a> Faulty<'a> {
    fn of(cluster: &'a Cluster) -> Self {
        let Cluster::Simulated(simulator) = cluster else { panic!("faults are for simulated clusters") };
        let api = Api::new(&cluster.kubeconfig("faulty").unwrap(), "default").unwrap();
        Self { simulator, api }
    }

    async fn set(&self, faults: Value) {
        self.simulator.set_faults("faulty", &faults).await.unwrap();
    }

    async fn left(&self) -> Value {
        self.simulator.faults("faulty").await.unwrap()
    }

    async fn ask(&self) -> anyhow::Result<Reply> {
        self.api.call(Method::GET, NODES, JSON, None).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_come_and_go() {
    let columns = columns().await;
    let faulty = Faulty::of(&columns.simulator);
    assert_eq!(faulty.ask().await.unwrap().code, 200);

    faulty.set(json!({"down": "unavailable"})).await;
    let reply = faulty.ask().await.unwrap();
    assert_eq!((reply.code, reply.text("/reason")), (503, "ServiceUnavailable"));

    faulty.set(json!({"down": "refuse"})).await;
    assert!(faulty.ask().await.is_err(), "the connection is cut");

    faulty.set(json!({"down": "hang"})).await;
    let asked = tokio::spawn({
        let api = faulty.api.clone();
        async move { api.call(Method::GET, NODES, JSON, None).await.unwrap().code }
    });
    assert!(timeout(Duration::from_millis(300), faulty.ask()).await.is_err(), "nothing is answered");
    faulty.set(json!({})).await;
    assert_eq!(asked.await.unwrap(), 200, "what was asked is answered in the end");

    faulty.set(json!({"delay_ms": 400})).await;
    let begun = Instant::now();
    assert_eq!(faulty.ask().await.unwrap().code, 200);
    assert!(begun.elapsed() >= Duration::from_millis(400));

    faulty.set(json!({"conflicts": 1, "too_many_requests": 2, "retry_after_seconds": 7})).await;
    for _ in 0..2 {
        let reply = faulty.ask().await.unwrap();
        assert_eq!((reply.code, reply.text("/reason")), (429, "TooManyRequests"));
        assert_eq!(reply.body["details"]["retryAfterSeconds"], 7);
    }
    assert_eq!(faulty.ask().await.unwrap().code, 200, "reads do not conflict");
    let map = json!({"metadata": {"name": "a"}});
    let conflict = faulty.api.post(MAPS, &map).await.unwrap();
    assert_eq!((conflict.code, conflict.text("/reason")), (409, "Conflict"));
    assert_eq!(faulty.api.post(MAPS, &map).await.unwrap().code, 201);
    assert_eq!(
        (&faulty.left().await["conflicts"], &faulty.left().await["too_many_requests"]),
        (&json!(0), &json!(0))
    );

    let watch = format!("{MAPS}?watch=true&timeoutSeconds=9");
    faulty.set(json!({"cut_watches_after_ms": 0})).await;
    assert!(faulty.api.watch(&watch, usize::MAX).await.is_err(), "it is cut, not ended");
    faulty.set(json!({"expire_watches": true})).await;
    let events = faulty.api.watch(&watch, usize::MAX).await.unwrap();
    assert_eq!((&events[0]["type"], &events[0]["object"]["code"]), (&json!("ERROR"), &json!(410)));
    faulty.set(json!({})).await;
    let events = faulty.api.watch(&watch, 1).await.unwrap();
    assert_eq!(events[0]["object"]["metadata"]["name"], "a");

    let wrong = faulty.simulator.set_faults("faulty", &json!({"dwon": "hang"})).await;
    assert!(wrong.is_err(), "a misspelt fault is refused");
    let other = Api::new(&columns.simulator.kubeconfig("raw").unwrap(), "default").unwrap();
    faulty.set(json!({"down": "refuse"})).await;
    assert_eq!(
        other.call(Method::GET, NODES, JSON, None).await.unwrap().code,
        200,
        "faults are one cluster's own"
    );
    faulty.set(json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_simulated_says_so() {
    let columns = columns().await;
    let faulty = Faulty::of(&columns.simulator);
    let asked = [
        (Method::GET, "/api/v1/namespaces/default/pods/a/log", JSON, None),
        (Method::DELETE, MAPS, JSON, None),
        (Method::PATCH, "/api/v1/namespaces/default/configmaps/a", "application/json-patch+json", Some("[]")),
        (
            Method::PATCH,
            "/api/v1/namespaces/default/configmaps/a?fieldManager=x",
            crate::api::APPLY,
            Some("kind: ConfigMap"),
        ),
        (Method::GET, "/apis/apps/v1/namespaces/default/deployments/a/scale", JSON, None),
    ];
    for (method, path, content, body) in asked {
        let reply = faulty.api.call(method, path, content, body.map(str::to_owned)).await.unwrap();
        assert_eq!((reply.code, reply.text("/reason")), (501, "NotImplemented"), "{path}");
        assert!(
            reply.text("/message").starts_with("the simulated API server does not do this: "),
            "{reply:?}"
        );
    }
}
