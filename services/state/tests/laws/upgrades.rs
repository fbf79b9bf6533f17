//! What older versions stored is brought up to date at start, once, and nothing else is touched.

use krake_client::{Client, Mask};
use krake_proto::Resource;
use krake_proto::krake::kubernetes::v1::{
    Application, ApplicationState, ApplicationStatus, Binding, Cluster, ClusterState, PlacementRecord,
};
use krake_proto::krake::meta::v1::{
    Condition, ConditionStatus, OnDelete, OwnerReference, ReasonCode, ResourceRef,
};
use krake_state::store::{MAX_TXN_BYTES, Store, Txn};
use prost::Message;

use crate::support::memory;
use crate::support::server::{Server, application, cluster, stored};

/// Stores an object as an older version would have, under the given uid.
pub(crate) async fn put<K: Resource>(
    store: &dyn Store,
    mut object: K,
    name: &str,
    change: impl FnOnce(&mut K),
) {
    let metadata = object.metadata_mut();
    (metadata.uid, metadata.generation) = (format!("uid-{name}"), 1);
    change(&mut object);
    let key = format!("/krake/{}/{}/demo/{name}", K::KIND.api, K::KIND.plural);
    store.commit(Txn::new().put(key, stored(K::KIND, &object.encode_to_vec()))).await.unwrap().unwrap();
}

fn owner(cluster: &str, uid: &str, on_delete: OnDelete) -> OwnerReference {
    OwnerReference {
        api: "kubernetes".into(),
        kind: "Cluster".into(),
        namespace: "demo".into(),
        name: cluster.into(),
        uid: uid.into(),
        on_delete: on_delete.into(),
    }
}

/// The status of an application that is bound to the last of these clusters and was placed on the others before.
fn placements(clusters: &[OwnerReference]) -> ApplicationStatus {
    let reference = |owner: &OwnerReference| ResourceRef {
        api: owner.api.clone(),
        kind: owner.kind.clone(),
        namespace: owner.namespace.clone(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
    };
    let past =
        clusters.iter().map(|cluster| PlacementRecord { to: Some(reference(cluster)), ..Default::default() });
    let bound =
        clusters.last().map(|cluster| Binding { cluster: Some(reference(cluster)), ..Default::default() });
    ApplicationStatus { bindings: bound.into_iter().collect(), history: past.collect(), ..Default::default() }
}

async fn owners(client: &Client, name: &str) -> Vec<OnDelete> {
    let application = client.api::<Application>().get("demo", name).await.unwrap();
    application.metadata.unwrap().owners.iter().map(OwnerReference::on_delete).collect()
}

#[tokio::test]
async fn references_that_a_cut_off_cascade_armed_release_again_unless_the_cluster_is_being_deleted() {
    let store = memory();
    put(store.as_ref(), cluster("stays"), "stays", |_| {}).await;
    put(store.as_ref(), cluster("goes"), "goes", |cluster: &mut Cluster| {
        cluster.metadata_mut().deleted = Some(Default::default());
        cluster.metadata_mut().finalizers = vec!["cascade_deletion".into()];
    })
    .await;
    let placed = |name: &'static str, owners: Vec<OwnerReference>, status: ApplicationStatus| {
        let store = store.clone();
        async move {
            put(store.as_ref(), application(name), name, |object: &mut Application| {
                object.metadata_mut().owners = owners;
                object.status = Some(status);
            })
            .await;
        }
    };
    let owned = |name: &'static str, owners: Vec<OwnerReference>| {
        let status = placements(&owners);
        placed(name, owners, status)
    };
    owned(
        "armed",
        vec![owner("stays", "uid-stays", OnDelete::Delete), owner("goes", "uid-goes", OnDelete::Release)],
    )
    .await;
    owned("asked", vec![owner("goes", "uid-goes", OnDelete::Delete)]).await;
    owned("successor", vec![owner("goes", "uid-predecessor", OnDelete::Delete)]).await;
    owned("by_name", vec![owner("stays", "", OnDelete::Delete)]).await;
    let foreign = vec![owner("stays", "uid-stays", OnDelete::Delete)];
    placed("foreign", foreign, placements(&[owner("other", "uid-other", OnDelete::Release)])).await;

    let server = Server::start(store.clone()).await;
    assert_eq!(owners(&server.client, "armed").await, [OnDelete::Release, OnDelete::Release]);
    assert_eq!(owners(&server.client, "asked").await, [OnDelete::Delete], "this deletion was asked for");
    assert_eq!(owners(&server.client, "successor").await, [OnDelete::Release]);
    assert_eq!(
        owners(&server.client, "by_name").await,
        [OnDelete::Delete],
        "no binding writes such a reference"
    );
    assert_eq!(
        owners(&server.client, "foreign").await,
        [OnDelete::Delete],
        "it was never placed there: the reference is a user's own"
    );
    drop(server);

    // Once only: what a user asks for later stays.
    owned("later", vec![owner("stays", "uid-stays", OnDelete::Delete)]).await;
    let server = Server::start(store).await;
    assert_eq!(owners(&server.client, "later").await, [OnDelete::Delete]);
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

/// `content` as the length-delimited field `number`.
fn field(number: usize, content: &[u8]) -> Vec<u8> {
    [&varint(number << 3 | 2), &varint(content.len()), content].concat()
}

/// A condition as the version before string types encoded it: number of the type, status, number of the reason, message,
/// observed generation 3, last transition 1970-01-01T00:00:01Z; and a field 150 that no version here knows.
fn numbered(r#type: u8, status: u8, reason: u8, message: &str) -> Vec<u8> {
    let mut bytes = vec![0x08, r#type, 0x10, status];
    if reason > 0 {
        bytes.extend([0x18, reason]);
    }
    bytes.extend(field(4, message.as_bytes()));
    bytes.extend([0x28, 3]);
    bytes.extend(field(6, &[0x08, 1]));
    bytes.extend(field(150, b"newer"));
    bytes
}

const FALSE: u8 = 2;
const TRUE: u8 = 1;

/// Stores an object with this encoded status.
async fn put_with_status<K: Resource>(store: &dyn Store, mut object: K, name: &str, status: &[u8]) {
    object.metadata_mut().uid = format!("uid-{name}");
    object.metadata_mut().generation = 3;
    let mut message = object.encode_to_vec();
    message.extend(field(3, status));
    let key = format!("/krake/{}/{}/demo/{name}", K::KIND.api, K::KIND.plural);
    store.commit(Txn::new().put(key, stored(K::KIND, &message))).await.unwrap().unwrap();
}

/// The status of a cluster with a node under pressure, as the older version stored it: state UNHEALTHY and a reason
/// without a code among the derived fields.
fn unhealthy() -> Vec<u8> {
    [
        vec![0x08, 5],
        field(2, &field(2, b"node n: MemoryPressure")),
        field(12, &numbered(4, TRUE, 0, "")),
        field(12, &numbered(5, FALSE, 11, "node n: MemoryPressure")),
        field(150, b"beside"),
    ]
    .concat()
}

/// The status of an application without a cluster, with a copy of another one that could not be applied.
fn unscheduled() -> Vec<u8> {
    let copy = [field(1, &field(5, b"uid-c")), vec![0x10, 4], field(4, &numbered(2, FALSE, 3, "is owned"))];
    [field(24, &numbered(1, FALSE, 2, "none fits")), field(31, &copy.concat())].concat()
}

fn told(condition: &Condition) -> (&str, &str, &str) {
    (&condition.r#type, &condition.reason, &condition.message)
}

#[tokio::test]
async fn conditions_with_numbers_get_names_and_the_state_follows() {
    let store = memory();
    put_with_status(store.as_ref(), cluster("c"), "c", &unhealthy()).await;
    put_with_status(store.as_ref(), application("a"), "a", &unscheduled()).await;

    let server = Server::start(store.clone()).await;
    let shown = server.client.api::<Cluster>().get("demo", "c").await.unwrap().status.unwrap();
    assert_eq!(told(&shown.conditions[0]), ("Reachable", "", ""));
    assert_eq!(told(&shown.conditions[1]), ("NodesHealthy", "NodePressure", "node n: MemoryPressure"));
    assert_eq!(shown.conditions[1].observed_generation, 3);
    assert_eq!(shown.conditions[1].last_transition_time.unwrap().seconds, 1);
    assert_eq!(shown.state(), ClusterState::Unhealthy);
    assert_eq!(shown.reason.unwrap().code(), ReasonCode::KubernetesError, "derived anew");

    let shown = server.client.api::<Application>().get("demo", "a").await.unwrap().status.unwrap();
    assert_eq!(told(&shown.conditions[0]), ("Scheduled", "NoSuitableResource", "none fits"));
    assert_eq!(told(&shown.copies[0].conditions[0]), ("Applied", "ObjectOwnedByOther", "is owned"));
    assert_eq!(shown.state(), ApplicationState::Pending);

    let raw = store.get(&"/krake/kubernetes/clusters/demo/c".into()).await.unwrap().unwrap();
    let holds = |needle: &[u8]| raw.value.windows(needle.len()).filter(|window| *window == needle).count();
    assert_eq!(holds(&field(150, b"newer")), 2, "what this version does not know is kept");
    assert_eq!(holds(&field(150, b"beside")), 1);
    drop(server);

    // The process was killed before it recorded that it was done: nothing is written twice.
    let done = "/krake/_upgrades/cluster-condition-names";
    store.commit(Txn::new().delete(done)).await.unwrap().unwrap();
    let server = Server::start(store.clone()).await;
    let shown = server.client.api::<Cluster>().get("demo", "c").await.unwrap();
    assert_eq!(shown.metadata.unwrap().resource_version, raw.modified.0);
    assert!(store.get(&done.into()).await.unwrap().is_some());
}

#[tokio::test]
async fn replicas_that_convert_at_the_same_time_do_not_disturb_each_other() {
    let store = memory();
    for index in 0..100 {
        let name = format!("c{index}");
        put_with_status(store.as_ref(), cluster(&name), &name, &unhealthy()).await;
    }
    let servers = futures::future::join_all((0..3).map(|_| Server::start(store.clone()))).await;
    for server in &servers {
        let listed = server.client.api::<Cluster>().list("demo", &Default::default()).await.unwrap();
        assert_eq!(listed.items.len(), 100);
        for cluster in listed.items {
            let conditions = cluster.status.unwrap().conditions;
            assert!(
                conditions
                    .iter()
                    .map(|condition| condition.r#type.as_str())
                    .eq(["Reachable", "NodesHealthy"])
            );
        }
    }
}

#[tokio::test]
async fn a_broken_status_keeps_nobody_from_being_served() {
    let store = memory();
    put_with_status(store.as_ref(), cluster("broken"), "broken", &field(12, b"\x0a\xff")).await;
    put_with_status(store.as_ref(), cluster("c"), "c", &unhealthy()).await;
    let server = Server::start(store).await;
    let shown = server.client.api::<Cluster>().get("demo", "c").await.unwrap().status.unwrap();
    assert_eq!(shown.conditions[0].r#type, "Reachable");
}

#[tokio::test]
async fn what_a_replica_of_the_older_version_writes_later_is_understood_and_replaced() {
    let store = memory();
    let server = Server::start(store.clone()).await;
    put_with_status(store.as_ref(), cluster("c"), "c", &unhealthy()).await;
    let clusters = server.client.api::<Cluster>();
    // Another writer's condition: what the older version said still counts for the state.
    let say = |r#type: &str, status: ConditionStatus| {
        let mut report = cluster("c");
        report.status.get_or_insert_default().conditions =
            vec![Condition { r#type: r#type.into(), status: status.into(), ..Default::default() }];
        report
    };
    let mask = || Mask::fields(["status.conditions"]);
    let after =
        clusters.update_status(&say("MetricsAvailable", ConditionStatus::True), mask()).await.unwrap();
    let status = after.status.unwrap();
    assert_eq!(status.state(), ClusterState::Unhealthy);
    let types: Vec<&str> = status.conditions.iter().map(|condition| condition.r#type.as_str()).collect();
    assert_eq!(types, ["Reachable", "NodesHealthy", "MetricsAvailable"]);
    let after = clusters.update_status(&say("NodesHealthy", ConditionStatus::True), mask()).await.unwrap();
    assert_eq!(after.status.unwrap().state(), ClusterState::Online);
}

#[tokio::test]
async fn an_upgrade_that_had_to_skip_an_object_is_tried_again_at_the_next_start() {
    let (store, done) = (memory(), "/krake/_upgrades/cluster-condition-names");
    // One cannot be read, one cannot be rewritten, and what the third would become does not fit into a transaction.
    let broken = "/krake/kubernetes/clusters/demo/broken";
    store.commit(Txn::new().put(broken, "not ours")).await.unwrap().unwrap();
    put_with_status(store.as_ref(), cluster("malformed"), "malformed", &field(12, b"\x0a\xff")).await;
    let large = |padding: usize| [unhealthy(), field(2000, &vec![7; padding])].concat();
    let mut object = cluster("large");
    object.metadata_mut().uid = "uid-large".into();
    let encoded = |status: &[u8]| stored(Cluster::KIND, &[object.encode_to_vec(), field(3, status)].concat());
    let key = "/krake/kubernetes/clusters/demo/large";
    let put = |padding| Txn::new().put(key, encoded(&large(padding)));
    let room = (0..200).map(|spare| MAX_TXN_BYTES - 2_000 + spare * 10);
    let padding = room.take_while(|padding| put(*padding).size() <= MAX_TXN_BYTES).last().unwrap();
    store.commit(put(padding)).await.unwrap().unwrap();
    put_with_status(store.as_ref(), cluster("c"), "c", &unhealthy()).await;

    let server = Server::start(store.clone()).await;
    let shown = server.client.api::<Cluster>().get("demo", "c").await.unwrap().status.unwrap();
    assert_eq!(shown.conditions[0].r#type, "Reachable", "the others are rewritten, and served");
    assert_eq!(store.get(&done.into()).await.unwrap(), None);
    drop(server);

    store.commit(Txn::new().delete(broken)).await.unwrap().unwrap();
    put_with_status(store.as_ref(), cluster("malformed"), "malformed", &unhealthy()).await;
    store.commit(put(10)).await.unwrap().unwrap();
    let server = Server::start(store.clone()).await;
    for name in ["malformed", "large"] {
        let shown = server.client.api::<Cluster>().get("demo", name).await.unwrap().status.unwrap();
        assert_eq!(shown.conditions[0].r#type, "Reachable", "{name}");
    }
    assert!(store.get(&done.into()).await.unwrap().is_some());
}

#[tokio::test]
async fn an_object_that_an_upgrade_would_make_too_large_is_left_as_it_is() {
    // The maximum for callers, and what the state service may add.
    const MAX_STORED: usize = 1024 * 1024 + 64 * 1024;
    let (store, done) = (memory(), "/krake/_upgrades/cluster-condition-names");
    let mut object = cluster("full");
    object.metadata_mut().uid = "uid-full".into();
    let message = |padding: usize| {
        let status = [unhealthy(), field(2000, &vec![7; padding])].concat();
        [object.encode_to_vec(), field(3, &status)].concat()
    };
    let spare = MAX_STORED - message(MAX_STORED - 4096).len();
    let full = message(MAX_STORED - 4096 + spare);
    assert_eq!(full.len(), MAX_STORED);
    let key = "/krake/kubernetes/clusters/demo/full";
    let put = Txn::new().put(key, stored(Cluster::KIND, &full));
    let revision = store.commit(put).await.unwrap().unwrap();

    let server = Server::start(store.clone()).await;
    server.client.api::<Cluster>().get("demo", "full").await.unwrap();
    assert_eq!(store.get(&key.into()).await.unwrap().unwrap().modified, revision);
    assert_eq!(store.get(&done.into()).await.unwrap(), None, "the next start tries again");
}
