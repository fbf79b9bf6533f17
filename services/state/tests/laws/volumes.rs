//! Which entries of a manifest claim volumes is found at admission, and at start for what an older version stored.

use krake_client::Client;
use krake_proto::json::document;
use krake_proto::krake::kubernetes::v1::{Application, Manifest};
use krake_state::store::Store;
use serde_json::{Value, json};

use crate::support::memory;
use crate::support::server::{Server, application};
use crate::upgrades::put;

/// A claim, a workload with templates of claims, and two that claim nothing.
fn manifest() -> Vec<Manifest> {
    let object = |kind: &str, spec: Value| {
        let object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": kind.to_lowercase()}, "spec": spec});
        Manifest { document: Some(document(&object)), kind: kind.into(), ..Default::default() }
    };
    vec![
        object("PersistentVolumeClaim", json!({})),
        object("StatefulSet", json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}}]})),
        object("Kafka", json!({"volumeClaimTemplates": []})),
        object("Deployment", json!({"replicas": 1})),
    ]
}

const CLAIMS: [bool; 4] = [true, true, false, false];

fn with_volumes(name: &str) -> Application {
    let mut application = application(name);
    application.spec.as_mut().unwrap().manifest = manifest();
    application
}

async fn claims(client: &Client, name: &str) -> (Vec<bool>, i64) {
    let read: Application = client.api().get("demo", name).await.unwrap();
    let claims = read.spec.unwrap().manifest.iter().map(|entry| entry.claims_volumes).collect();
    (claims, read.metadata.unwrap().generation)
}

#[tokio::test]
async fn they_are_found_when_the_application_is_stored() {
    let server = Server::start(memory()).await;
    server.client.api().create(&with_volumes("a")).await.unwrap();
    assert_eq!(claims(&server.client, "a").await, (CLAIMS.into(), 1));
}

#[tokio::test]
async fn they_are_found_at_start_in_what_an_older_version_stored() {
    let store: std::sync::Arc<dyn Store> = memory();
    put(store.as_ref(), with_volumes("a"), "a", |_| {}).await;
    put(store.as_ref(), application("b"), "b", |_| {}).await;
    let before = store.get(&"/krake/kubernetes/applications/demo/b".into()).await.unwrap();

    let server = Server::start(store.clone()).await;
    assert_eq!(
        claims(&server.client, "a").await,
        (CLAIMS.into(), 1),
        "no new generation: nothing is applied anew"
    );
    let after = store.get(&"/krake/kubernetes/applications/demo/b".into()).await.unwrap();
    assert_eq!(after, before, "what claims nothing is not written");
}
