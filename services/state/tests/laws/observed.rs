//! Laws of what is seen of copies: stored beside the application, shown to who gets it, gone with the copy.

use std::sync::Arc;

use krake_client::{Client, DeleteOptions, ListOptions};
use krake_proto::error::ErrorReason;
use krake_proto::krake::kubernetes::v1::{
    Application, ApplicationStatus, Cluster, CompletedJob, Copy, ObjectRef, Observation, ObservedObject,
    Phase, ReportCopyRequest, ReportObservationRequest,
};
use krake_proto::krake::meta::v1::{Document, document::Content};
use krake_state::store::{Key, Page, Store};
use serde_json::{Value, json};
use tonic::Status;

use crate::documents::{put, report, work};
use crate::placement::{bind, forget, reference, version, why};
use crate::support::memory;
use crate::support::server::{Server, application, cluster};

const DOCUMENTS: &str = r#"[{"kind":"A","l":[1]},{"kind":"B"}]"#;

struct World {
    store: Arc<dyn Store>,
    server: Server,
    uid: String,
    one: Cluster,
    sha256: Vec<u8>,
    /// Version of the copy on the cluster `one`.
    version: i64,
}

/// An application whose documents were accepted by a cluster.
async fn world() -> World {
    let store = memory();
    let server = Server::start(store.clone()).await;
    let client = &server.client;
    let uid = client.api().create(&application("a")).await.unwrap().metadata.unwrap().uid;
    let one = client.api().create(&cluster("one")).await.unwrap();
    bind(client, &[&one], 1, &[]).await.unwrap();
    let set = put(client, &uid, DOCUMENTS.as_bytes()).await.unwrap();
    let works = [Some(work(&set)), Some(work(&set))];
    let after = report(client, &uid, &one, 0, works).await.unwrap();
    let version = version(&after, &one);
    World { store, uid, one, sha256: set.sha256.to_vec(), version, server }
}

impl World {
    fn client(&self) -> &Client {
        &self.server.client
    }

    fn observation(&self, objects: &[(u32, Option<&str>)]) -> Observation {
        let object = |(index, fields): &(u32, Option<&str>)| ObservedObject {
            index: *index,
            fields: fields.map(Into::into),
        };
        Observation {
            cluster_uid: reference(&self.one).uid,
            sha256: self.sha256.clone().into(),
            objects: objects.iter().map(object).collect(),
        }
    }

    async fn observe(&self, uid: &str, observation: Observation) -> Result<(), Status> {
        let request = ReportObservationRequest {
            namespace: "demo".into(),
            name: "a".into(),
            uid: uid.into(),
            observation: Some(observation),
        };
        self.client().applications().report_observation(request).await.map(drop)
    }

    async fn get(&self) -> Application {
        self.client().api().get("demo", "a").await.unwrap()
    }

    async fn status(&self) -> ApplicationStatus {
        self.get().await.status.unwrap()
    }

    async fn records(&self) -> usize {
        let below = Key::from("/krake/~observed/");
        self.store.list(&below, Page::first(10)).await.unwrap().entries.len()
    }
}

fn values(documents: &[Document]) -> Vec<Value> {
    let value = |document: &Document| match &document.content {
        Some(Content::Json(text)) => serde_json::from_str(text).unwrap(),
        other => panic!("{other:?}"),
    };
    documents.iter().map(value).collect()
}

#[tokio::test]
async fn what_was_seen_is_shown_to_who_gets_the_application_and_changes_it_not() {
    let world = world().await;
    let before = world.get().await;
    let status = before.status.clone().unwrap();
    assert_eq!(values(&status.last_observed_manifest), [json!(null); 0], "nothing was seen yet");
    let lengths = json!({"observer_schema_list_min_length": 1, "observer_schema_list_max_length": 1});
    assert_eq!(
        values(&status.mangled_observer_schema),
        [json!({"kind": "A", "l": [null, lengths]}), json!({"kind": "B"})]
    );
    world.observe(&world.uid, world.observation(&[])).await.unwrap();
    let as_applied = json!({"kind": "A", "l": [1, {"observer_schema_list_current_length": 1}]});
    assert_eq!(values(&world.status().await.last_observed_manifest), [as_applied, json!({"kind": "B"})]);
    let longer = r#"{"kind":"A","l":[2,{"observer_schema_list_current_length":4}]}"#;
    world.observe(&world.uid, world.observation(&[(0, Some(longer)), (1, None)])).await.unwrap();
    let after = world.get().await;
    let shown = after.status.as_ref().unwrap();
    assert_eq!(values(&shown.last_observed_manifest), [serde_json::from_str::<Value>(longer).unwrap()]);
    assert_eq!(values(&shown.last_applied_manifest).len(), 2);
    assert_eq!(before.metadata, after.metadata, "its version too");
    let listed = world.client().api::<Application>().list("demo", &ListOptions::default()).await.unwrap();
    let listed = listed.items[0].status.clone().unwrap();
    assert_eq!((listed.last_observed_manifest, listed.mangled_observer_schema), (vec![], vec![]));
}

#[tokio::test]
async fn the_same_again_writes_nothing() {
    let world = world().await;
    world.observe(&world.uid, world.observation(&[(1, None)])).await.unwrap();
    let before = world.store.revision().await.unwrap();
    for _ in 0..3 {
        world.observe(&world.uid, world.observation(&[(1, None)])).await.unwrap();
    }
    assert_eq!(world.store.revision().await.unwrap(), before);
    world.observe(&world.uid, world.observation(&[])).await.unwrap();
    assert!(world.store.revision().await.unwrap() > before);
}

#[tokio::test]
async fn an_observation_is_of_a_copy_that_is_there_and_goes_with_it() {
    let world = world().await;
    let elsewhere = Observation { cluster_uid: "elsewhere".into(), ..world.observation(&[]) };
    assert_eq!(why(world.observe(&world.uid, elsewhere).await), Some(ErrorReason::Conflict));
    assert_eq!(why(world.observe("another", world.observation(&[])).await), Some(ErrorReason::Conflict));
    assert!(world.observe("", world.observation(&[])).await.is_err());
    assert_eq!(world.records().await, 0);
    world.observe(&world.uid, world.observation(&[])).await.unwrap();
    assert_eq!(world.records().await, 1);
    forget(world.client(), &world.uid, &world.one, world.version).await.unwrap();
    assert_eq!(world.records().await, 0);
    assert_eq!(why(world.observe(&world.uid, world.observation(&[])).await), Some(ErrorReason::Conflict));
    let forced = DeleteOptions { force: true, ..Default::default() };
    world.client().api::<Application>().delete("demo", "a", &forced).await.unwrap();
    assert_eq!(why(world.observe(&world.uid, world.observation(&[])).await), Some(ErrorReason::NotFound));
}

/// Reports the copy of a world as one that is whole and has completed a Job.
async fn report_completed(world: &World, version: i64) -> Application {
    let job = ObjectRef { kind: "Job".into(), name: "j".into(), ..Default::default() };
    let works = world.get().await.status.unwrap().copies.first().and_then(|copy| copy.applied_work.clone());
    let copy = Copy {
        cluster: Some(reference(&world.one)),
        phase: Phase::Intended.into(),
        applied_work: works,
        completed_jobs: vec![CompletedJob { job: Some(job), sha256: world.sha256.clone().into() }],
        ..Default::default()
    };
    let request = ReportCopyRequest {
        namespace: "demo".into(),
        name: "a".into(),
        uid: world.uid.clone(),
        copy: Some(copy),
        expected_version: version,
        forget: false,
    };
    world.client().applications().report_copy(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn completed_jobs_are_kept_from_a_forgotten_copy_until_the_next_one_is_whole() {
    let world = world().await;
    let kept = async || world.status().await.completed_jobs.len();
    let done = report_completed(&world, world.version).await;
    let client = world.client();
    forget(client, &world.uid, &world.one, version(&done, &world.one)).await.unwrap();
    assert_eq!(kept().await, 1);
    // The next copy, before anything of it was accepted, and when all was.
    let next = report(client, &world.uid, &world.one, 0, [None, None]).await.unwrap();
    assert_eq!(kept().await, 1);
    let set = put(client, &world.uid, DOCUMENTS.as_bytes()).await.unwrap();
    let works = [Some(work(&set)), Some(work(&set))];
    let whole = report(client, &world.uid, &world.one, version(&next, &world.one), works).await.unwrap();
    assert_eq!(kept().await, 0);
    let done = report_completed(&world, version(&whole, &world.one)).await;
    client.api::<Application>().delete("demo", "a", &DeleteOptions::default()).await.unwrap();
    forget(client, &world.uid, &world.one, version(&done, &world.one)).await.unwrap();
    assert_eq!(kept().await, 0, "nothing will run again");
}
