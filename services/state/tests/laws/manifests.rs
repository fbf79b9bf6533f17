//! Laws of large manifests: their documents are stored apart, and are there for who gets the application.

use krake_client::{Client, ListOptions, Mask};
use krake_proto::error::ErrorReason;
use krake_proto::krake::kubernetes::v1::{Application, Manifest};
use krake_proto::krake::meta::v1::{Document, document::Content};
use serde_json::{Value, json};

use crate::documents;
use crate::support::memory;
use crate::support::server::{Server, application, document};

/// A manifest of about this size: definitions with large schemas, as operators have them.
fn manifest(size: usize, seed: u64) -> Vec<Manifest> {
    let objects = size.div_ceil(100_000).max(2);
    let entry = |number: usize| {
        let text = String::from_utf8(documents::documents(size / objects, seed + number as u64)).unwrap();
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("c{number}"), "namespace": "n"}, "data": {"x": text}});
        Manifest { document: document(object), ..Default::default() }
    };
    (0..objects).map(entry).collect()
}

fn large(size: usize, seed: u64) -> Application {
    let mut application = application("a");
    application.spec.as_mut().unwrap().manifest = manifest(size, seed);
    application
}

fn values(application: &Application) -> Vec<Value> {
    let value =
        |entry: &Manifest| match entry.document.as_ref().and_then(|document| document.content.as_ref()) {
            Some(Content::Json(text)) => serde_json::from_str(text).unwrap(),
            other => panic!("{other:?}"),
        };
    application.spec.as_ref().unwrap().manifest.iter().map(value).collect()
}

fn generation(application: &Application) -> i64 {
    application.metadata.as_ref().unwrap().generation
}

fn fields(refused: krake_client::Error) -> Vec<String> {
    assert_eq!(refused.reason(), Some(ErrorReason::InvalidField), "{refused}");
    refused.violations().into_iter().map(|violation| violation.field).collect()
}

async fn get(client: &Client) -> Application {
    client.api::<Application>().get("demo", "a").await.unwrap()
}

/// As lists show it.
async fn listed(client: &Client) -> Application {
    client.api::<Application>().list("demo", &ListOptions::default()).await.unwrap().items.remove(0)
}

#[tokio::test]
async fn real_sizes_are_stored_apart_and_read_back_whole() {
    for size in [66_000, 472_000, 647_000, 1_300_000, 4_100_000] {
        let server = Server::start(memory()).await;
        let client = &server.client;
        let wanted = large(size, 1);
        let created = client.api().create(&wanted).await.unwrap();
        assert_eq!(values(&created), values(&wanted), "{size}");
        assert_eq!(values(&get(client).await), values(&wanted));
        let shown = listed(client).await.spec.unwrap();
        let set = shown.manifest_set.unwrap();
        assert!(set.size >= size as u64 * 9 / 10 && set.sha256.len() == 32);
        assert!(shown.manifest.iter().all(|entry| entry.document.is_none()));
        let names: Vec<_> =
            shown.manifest.iter().map(|entry| (&*entry.kind, &*entry.namespace, &*entry.name)).collect();
        assert_eq!((names[0], names[1]), (("ConfigMap", "n", "c0"), ("ConfigMap", "n", "c1")));
        let uid = created.metadata.unwrap().uid;
        let text = documents::get(client, &uid, &set.sha256).await.unwrap();
        assert_eq!(serde_json::from_slice::<Vec<Value>>(&text).unwrap(), values(&wanted));
    }
}

#[tokio::test]
async fn the_generation_follows_the_documents_and_other_fields_need_none() {
    let server = Server::start(memory()).await;
    let client = &server.client;
    let api = client.api::<Application>();
    api.create(&large(300_000, 1)).await.unwrap();
    let same = api.update(&large(300_000, 1), Mask::Populated).await.unwrap();
    assert_eq!(generation(&same), 1, "the same documents");
    let mut label = application("a");
    label.spec = None;
    label.metadata.as_mut().unwrap().labels = [("k".to_owned(), "v".to_owned())].into();
    assert_eq!(generation(&api.update(&label, Mask::Populated).await.unwrap()), 1);
    let mut backoff = application("a");
    backoff.spec.as_mut().unwrap().manifest.clear();
    backoff.spec.as_mut().unwrap().backoff = Some(3);
    let changed = api.update(&backoff, Mask::fields(["spec.backoff"])).await.unwrap();
    assert_eq!((generation(&changed), values(&changed)), (2, values(&large(300_000, 1))));
    // What a list shows can be sent back.
    let mut shown = listed(client).await;
    shown.spec.as_mut().unwrap().backoff = Some(4);
    let changed = api.update(&shown, Mask::fields(["spec"])).await.unwrap();
    assert_eq!((generation(&changed), values(&changed)), (3, values(&large(300_000, 1))));
    let replaced = api.update(&large(300_000, 50), Mask::fields(["spec.manifest"])).await.unwrap();
    assert_eq!((generation(&replaced), values(&replaced)), (4, values(&large(300_000, 50))));
    let small = api.update(&application("a"), Mask::fields(["spec.manifest"])).await.unwrap();
    assert_eq!((generation(&small), values(&small)), (5, values(&application("a"))));
    assert_eq!(listed(client).await.spec.unwrap().manifest_set, None, "it is inline again");
    shown.metadata.as_mut().unwrap().resource_version = 0;
    let refused = api.update(&shown, Mask::fields(["spec"])).await.unwrap_err();
    assert_eq!(fields(refused), ["spec.manifest"], "a set that it no longer names");
}

#[tokio::test]
async fn large_manifests_are_checked_as_others_are() {
    let server = Server::start(memory()).await;
    let api = server.client.api::<Application>();
    assert_eq!(fields(api.create(&large(4 * 1024 * 1024 + 1, 1)).await.unwrap_err()), ["spec.manifest"]);
    let mut twice = large(300_000, 1);
    let manifest = &mut twice.spec.as_mut().unwrap().manifest;
    manifest.push(manifest[0].clone());
    let last = manifest.len() - 1;
    assert_eq!(fields(api.create(&twice).await.unwrap_err()), [format!("spec.manifest[{last}]")]);
    let mut nameless = large(300_000, 1);
    nameless.spec.as_mut().unwrap().manifest[1].document =
        document(json!({"apiVersion": "v1", "kind": "Pod"}));
    assert_eq!(fields(api.create(&nameless).await.unwrap_err()), ["spec.manifest[1].metadata.name"]);
    let mut broken = large(600_000, 1);
    let content = Some(Content::Json("{".to_owned()));
    broken.spec.as_mut().unwrap().manifest[1].document = Some(Document { content });
    assert_eq!(fields(api.create(&broken).await.unwrap_err())[0], "spec.manifest[1]");
    // Nobody names a set without its documents.
    let created = api.create(&large(300_000, 1)).await.unwrap();
    let mut forged = listed(&server.client).await;
    forged.metadata = crate::support::server::named("demo", "b");
    assert_eq!(fields(api.create(&forged).await.unwrap_err()), ["spec.manifest"]);
    assert!(created.spec.unwrap().manifest_set.is_some());
    assert_eq!(api.get("demo", "b").await.unwrap_err().reason(), Some(ErrorReason::NotFound));
}
