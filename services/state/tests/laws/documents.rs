//! Laws of document sets and of the Works that name them.

use krake_client::{Client, DeleteOptions, ListOptions, Mask};
use krake_proto::Resource;
use krake_proto::error::{ErrorReason, violations};
use krake_proto::json::CANONICAL_VERSION;
use krake_proto::krake::kubernetes::v1::{
    Application, Cluster, Copy, GetApplicationDocumentsRequest, Phase, PutDocumentsRequest,
    PutDocumentsResponse, Work,
};
use krake_proto::krake::meta::v1::document::Content;
use krake_state::store::{Key, Page, Txn};
use prost::Message;
use tonic::{Code, Status};

use crate::placement::{World, bind, reference, version, why, world};
use crate::support::memory;
use crate::support::requests::report_copy;
use crate::support::server::{Server, application, cluster, stored};

/// The largest object that a caller may write.
const MAX_OBJECT: usize = 1024 * 1024;

/// A set of about this size that compression makes half as small at best.
pub(crate) fn documents(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = String::with_capacity(size + 32);
    text.push_str("[{\"a\":\"");
    while text.len() < size.saturating_sub(4) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:016x}"));
    }
    text.push_str("\"}]");
    text.into_bytes()
}

pub(crate) async fn put(
    client: &Client,
    uid: &str,
    documents: &[u8],
) -> Result<PutDocumentsResponse, Status> {
    let request = PutDocumentsRequest {
        namespace: "demo".into(),
        name: "a".into(),
        uid: uid.into(),
        documents: documents.to_vec().into(),
    };
    Ok(client.applications().put_documents(request).await?.into_inner())
}

pub(crate) async fn get(client: &Client, uid: &str, sha256: &[u8]) -> Result<Vec<u8>, Status> {
    let request = GetApplicationDocumentsRequest {
        namespace: "demo".into(),
        name: "a".into(),
        uid: uid.into(),
        sha256: sha256.to_vec().into(),
    };
    Ok(client.applications().get_application_documents(request).await?.into_inner().documents.to_vec())
}

pub(crate) fn work(set: &PutDocumentsResponse) -> Work {
    Work {
        sha256: set.sha256.clone(),
        hash_version: CANONICAL_VERSION,
        generation: 1,
        pieces: set.pieces,
        size: set.size,
    }
}

/// Reports a copy that names these works.
pub(crate) async fn report(
    client: &Client,
    uid: &str,
    cluster: &Cluster,
    version: i64,
    works: [Option<Work>; 2],
) -> Result<Application, Status> {
    let [applied_work, intended_work] = works;
    let copy = Copy {
        cluster: Some(reference(cluster)),
        phase: Phase::Intended.into(),
        observed_generation: 1,
        applied_work,
        intended_work,
        ..Default::default()
    };
    report_copy(client, uid, copy, version).await
}

fn fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    violations(status).into_iter().map(|violation| violation.field).collect()
}

#[tokio::test]
async fn a_set_is_stored_once_read_back_and_named_by_copies() {
    let World { server, uid, one, .. } = world().await;
    let client = &server.client;
    bind(client, &[&one], 1, &[]).await.unwrap();
    let small = b"[]".to_vec();
    let large = documents(3_000_000, 1);
    let mut works = Vec::new();
    for (text, pieces) in [(&small, 1), (&large, 6)] {
        let set = put(client, &uid, text).await.unwrap();
        assert_eq!((set.pieces, set.size), (pieces, text.len() as u64));
        assert_eq!(put(client, &uid, text).await.unwrap(), set, "it is the same set");
        assert_eq!(get(client, &uid, &set.sha256).await.unwrap(), *text);
        assert_eq!(get(client, "", &set.sha256).await.unwrap(), *text);
        works.push(work(&set));
    }
    let first = report(client, &uid, &one, 0, [None, Some(works[0].clone())]).await.unwrap();
    let later = [Some(works[0].clone()), Some(works[1].clone())];
    report(client, &uid, &one, version(&first, &one), later.clone()).await.unwrap();
    let found = client.api::<Application>().get("demo", "a").await.unwrap().status.unwrap().copies.remove(0);
    assert_eq!([found.applied_work, found.intended_work], later);
}

#[tokio::test]
async fn what_was_applied_last_is_shown_to_who_gets_the_application() {
    let World { server, uid, one, two } = world().await;
    let client = &server.client;
    bind(client, &[&one], 1, &[]).await.unwrap();
    let [former, next] = [r#"[{"a":1}]"#, r#"[{"a":2},{"b":[]}]"#].map(str::as_bytes);
    let former = work(&put(client, &uid, former).await.unwrap());
    let next = work(&put(client, &uid, next).await.unwrap());
    let shown = async || {
        let api = client.api::<Application>();
        let listed = api.list("demo", &ListOptions::default()).await.unwrap().items.remove(0).status.unwrap();
        assert_eq!(listed.last_applied_manifest, [], "lists do not show it");
        let status = api.get("demo", "a").await.unwrap().status.unwrap();
        status
            .last_applied_manifest
            .into_iter()
            .map(|document| match document.content {
                Some(Content::Json(text)) => text,
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    let first = report(client, &uid, &one, 0, [None, Some(former.clone())]).await.unwrap();
    assert_eq!(shown().await, [""; 0], "nothing was accepted whole yet");
    let second =
        report(client, &uid, &one, version(&first, &one), [Some(former.clone()), Some(next.clone())]);
    let second = second.await.unwrap();
    assert_eq!(shown().await, [r#"{"a":1}"#]);
    report(client, &uid, &one, version(&second, &one), [Some(next.clone()), Some(next)]).await.unwrap();
    assert_eq!(shown().await, [r#"{"a":2}"#, r#"{"b":[]}"#]);
    // Who writes back what it read stores nothing of it.
    let read = client.api::<Application>().get("demo", "a").await.unwrap();
    let mut written = Application { metadata: read.metadata, status: None, spec: None };
    written.status.get_or_insert_default().last_applied_manifest = read.status.unwrap().last_applied_manifest;
    client.api().update_status(&written, Mask::Populated).await.ok();
    assert_eq!(shown().await.len(), 2);
    bind(client, &[&two], 1, &[&one]).await.unwrap();
    assert_eq!(shown().await, [""; 0], "the copy on the other cluster does not count");
}

/// A set is immutable, so an application that is read again and again reads the set that it names once.
#[tokio::test]
async fn what_was_shown_once_is_not_read_from_the_store_again() {
    let store = memory();
    let server = Server::start(store.clone()).await;
    let client = &server.client;
    let uid = client.api().create(&application("a")).await.unwrap().metadata.unwrap().uid;
    let one = client.api().create(&cluster("one")).await.unwrap();
    bind(client, &[&one], 1, &[]).await.unwrap();
    let set = put(client, &uid, br#"[{"a":1}]"#).await.unwrap();
    report(client, &uid, &one, 0, [Some(work(&set)), None]).await.unwrap();
    let shown = async || {
        let status = client.api::<Application>().get("demo", "a").await.unwrap().status.unwrap();
        status.last_applied_manifest.len()
    };
    assert_eq!(shown().await, 1);
    let piece = Key::from(format!("/krake/~documents/{uid}/"));
    let piece = store.list(&piece, Page::first(1)).await.unwrap().entries.remove(0).key;
    store.commit(Txn::new().delete(piece)).await.unwrap().unwrap();
    assert_eq!(shown().await, 1);
    assert_eq!(why(get(client, &uid, &set.sha256).await), Some(ErrorReason::NotFound), "the store is asked");
}

#[tokio::test]
async fn sets_belong_to_the_application_that_is_there() {
    let World { server, uid, .. } = world().await;
    let client = &server.client;
    let set = put(client, &uid, b"[]").await.unwrap();
    assert_eq!(why(put(client, "another", b"[]").await), Some(ErrorReason::Conflict));
    assert_eq!(why(get(client, "another", &set.sha256).await), Some(ErrorReason::Conflict));
    assert_eq!(why(get(client, &uid, &[7; 32]).await), Some(ErrorReason::NotFound));
    assert_eq!(fields(&get(client, &uid, &[7; 31]).await.unwrap_err()), ["sha256"]);
    assert_eq!(fields(&put(client, "", b"[]").await.unwrap_err()), ["uid"]);
    let forced = DeleteOptions { force: true, ..Default::default() };
    client.api::<Application>().delete("demo", "a", &forced).await.unwrap();
    assert_eq!(why(put(client, &uid, b"[1]").await), Some(ErrorReason::NotFound));
    assert_eq!(why(get(client, &uid, &set.sha256).await), Some(ErrorReason::NotFound));
    let next = client.api().create(&application("a")).await.unwrap().metadata.unwrap().uid;
    assert_eq!(
        why(get(client, &next, &set.sha256).await),
        Some(ErrorReason::NotFound),
        "a successor has its own"
    );
}

#[tokio::test]
async fn what_is_no_array_of_bounded_depth_is_no_set() {
    let World { server, uid, .. } = world().await;
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    for refused in
        [b"".as_slice(), b"{}", b"[", b"[1]]", b" []", b"[\"\xff\"]", b"[nan]", &deep(66), &deep(5000)]
    {
        let refused = put(&server.client, &uid, refused).await.unwrap_err();
        assert_eq!(fields(&refused), ["documents"]);
    }
    put(&server.client, &uid, &deep(65)).await.unwrap();
}

#[tokio::test]
async fn a_copy_names_only_sets_that_are_stored_whole() {
    let store = memory();
    let server = Server::start(store.clone()).await;
    let client = &server.client;
    let uid = client.api().create(&application("a")).await.unwrap().metadata.unwrap().uid;
    let one = client.api().create(&cluster("one")).await.unwrap();
    bind(client, &[&one], 1, &[]).await.unwrap();
    let set = put(client, &uid, &documents(1_200_000, 1)).await.unwrap();
    let good = work(&set);
    for (field, wrong) in [
        ("sha256", Work { sha256: vec![1; 31].into(), ..good.clone() }),
        ("hash_version", Work { hash_version: 0, ..good.clone() }),
        ("generation", Work { generation: -1, ..good.clone() }),
        ("pieces", Work { pieces: 2, ..good.clone() }),
        ("pieces", Work { pieces: 0, ..good.clone() }),
        ("size", Work { size: 0, ..good.clone() }),
        ("size", Work { size: 4 * 1024 * 1024 + 1, ..good.clone() }),
    ] {
        let refused = report(client, &uid, &one, 0, [Some(wrong), None]).await.unwrap_err();
        assert_eq!(fields(&refused), [format!("copy.applied_work.{field}")]);
    }
    let unknown = Work { sha256: vec![1; 32].into(), ..good.clone() };
    let longer = Work { size: good.size + 1, ..good.clone() };
    for missing in [unknown, longer] {
        let refused = report(client, &uid, &one, 0, [None, Some(missing)]).await.unwrap_err();
        assert!(refused.message().contains("copy.intended_work"), "{refused}");
        assert_eq!(why::<()>(Err(refused)), Some(ErrorReason::Conflict));
    }
    // Without its last piece it is not there.
    let prefix = Key::from(format!("/krake/~documents/{uid}/"));
    let pieces = store.list(&prefix, Page::first(10)).await.unwrap().entries;
    assert_eq!(pieces.len(), 3);
    store.commit(Txn::new().delete(pieces[2].key.clone())).await.unwrap().unwrap();
    assert_eq!(why(get(client, &uid, &set.sha256).await), Some(ErrorReason::NotFound));
    assert_eq!(
        why(report(client, &uid, &one, 0, [Some(good.clone()), None]).await),
        Some(ErrorReason::Conflict)
    );
    put(client, &uid, &documents(1_200_000, 1)).await.unwrap();
    let first = report(client, &uid, &one, 0, [Some(good.clone()), None]).await.unwrap();
    // What is named already is not looked for again.
    store.commit(Txn::new().delete(pieces[2].key.clone())).await.unwrap().unwrap();
    report(client, &uid, &one, version(&first, &one), [Some(good.clone()), Some(good)]).await.unwrap();
}

#[tokio::test]
async fn damaged_sets_are_not_returned() {
    let store = memory();
    let server = Server::start(store.clone()).await;
    let client = &server.client;
    let uid = client.api().create(&application("a")).await.unwrap().metadata.unwrap().uid;
    let set = put(client, &uid, b"[1]").await.unwrap();
    let other = put(client, &uid, b"[2]").await.unwrap();
    let prefix = Key::from(format!("/krake/~documents/{uid}/"));
    let pieces = store.list(&prefix, Page::first(10)).await.unwrap().entries;
    let value = |number: usize| pieces[number].value.clone();
    let swapped = Txn::new().put(pieces[0].key.clone(), value(1)).put(pieces[1].key.clone(), value(0));
    store.commit(swapped).await.unwrap().unwrap();
    for sha256 in [&set.sha256, &other.sha256] {
        let refused = get(client, &uid, sha256).await.unwrap_err();
        assert!(refused.code() == Code::Internal && refused.message().contains("damaged"), "{refused}");
    }
}

#[tokio::test]
async fn a_work_is_recorded_beside_a_cluster_that_fills_its_size() {
    let store = memory();
    let server = Server::start(store.clone()).await;
    let client = &server.client;
    // The application fills its spec, too.
    let mut large = application("a");
    let filler = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"},
        "data": {"x": "y".repeat(60 * 1024)}});
    large.spec.as_mut().unwrap().manifest[0].document = crate::support::server::document(filler);
    let uid = client.api().create(&large).await.unwrap().metadata.unwrap().uid;
    let one = client.api().create(&cluster("one")).await.unwrap();
    bind(client, &[&one], 1, &[]).await.unwrap();
    let mut full = one.clone();
    full.metadata.as_mut().unwrap().resource_version = 0;
    full.status.get_or_insert_default().kubernetes_version = "x".repeat(MAX_OBJECT - 1024);
    let value = stored(Cluster::KIND, &full.encode_to_vec());
    store.commit(Txn::new().put("/krake/kubernetes/clusters/demo/one", value)).await.unwrap().unwrap();
    let works = [
        Some(work(&put(client, &uid, &documents(4 * 1024 * 1024 - 64 * 1024, 1)).await.unwrap())),
        Some(work(&put(client, &uid, b"[]").await.unwrap())),
    ];
    report(client, &uid, &one, 0, works).await.unwrap();
}
