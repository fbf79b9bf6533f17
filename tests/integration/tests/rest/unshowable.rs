//! Objects that another version stored and this one cannot show hide no others, and can be removed; what is admitted is
//! shown.

use bytes::Bytes;
use krake_integration::binaries::{Component, require};
use krake_integration::etcd::Etcd;
use krake_proto::codec::RawCodec;
use krake_proto::envelope::CreateRequest;
use krake_proto::krake::core::v1::{Metric, MetricSource, MetricSpec};
use krake_proto::krake::meta::v1::Metadata;
use prost::Message;
use serde_json::Value;
use tonic::Request;
use tonic::client::Grpc;

use crate::behaviour::metric;
use crate::watch::{Lines, told};
use crate::world::World;

const METRICS: &str = "/core/namespaces/demo/metrics";
/// A text that stands where bytes that are not UTF-8 will be.
const PLACEHOLDER: &str = "QQQQ";
/// A field of a group, which no message has.
const GROUP: [u8; 4] = [0xa3, 0x06, 0xa4, 0x06];

fn metadata(name: &str) -> Metadata {
    Metadata {
        name: name.into(),
        namespace: "demo".into(),
        uid: format!("uid-of-{name}"),
        ..Default::default()
    }
}

fn encoded(name: &str, provider: &str) -> Vec<u8> {
    let provider = Some(MetricSource { name: provider.into(), metric: "m".into() });
    let spec = MetricSpec { min: Some(0.0), max: Some(1.0), provider, ..Default::default() };
    Metric { metadata: Some(metadata(name)), spec: Some(spec) }.encode_to_vec()
}

fn not_utf8(mut message: Vec<u8>) -> Vec<u8> {
    let length = PLACEHOLDER.len();
    let place = message.windows(length).position(|bytes| bytes == PLACEHOLDER.as_bytes()).unwrap();
    message[place..place + length].copy_from_slice(&[0xff, 0xfe, 0xff, 0xfe]);
    message
}

/// Writes a metric into the store as an older version would have.
async fn put(etcd: &Etcd, name: &str, message: &[u8]) {
    let kind = "krake.core.v1.Metric";
    let length = u8::try_from(kind.len()).unwrap();
    let value = [b"KRK\x01\x00".as_slice(), &[length], kind.as_bytes(), message].concat();
    etcd.put(&format!("/krake/core/metrics/demo/{name}"), &value).await.unwrap();
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_cannot_be_shown_hides_nothing_and_can_be_removed() {
    let Some(binaries) = require(&[Component::Etcd]) else { return };
    let etcd = Etcd::start(&binaries).await.unwrap();
    put(&etcd, "broken", &not_utf8(encoded("broken", PLACEHOLDER))).await;
    // Not readable for the state service either.
    let labelled = Metadata { labels: [("tier".into(), PLACEHOLDER.into())].into(), ..metadata("label") };
    let labelled = Metric { metadata: Some(labelled), spec: None }.encode_to_vec();
    put(&etcd, "label", &not_utf8(labelled)).await;
    etcd.put("/krake/core/metrics/demo/foreign", b"nonsense").await.unwrap();
    put(&etcd, "group", &[encoded("group", "p"), GROUP.to_vec()].concat()).await;
    put(&etcd, "whole", &encoded("whole", "p")).await;
    let mut world = World::on(&["--etcd-endpoints", etcd.endpoint()], false).await;

    assert_eq!(names(&world.get(METRICS).await.ok()), ["group", "whole"]);
    world.get(&format!("{METRICS}/group")).await.ok();
    let answer = world.get(&format!("{METRICS}/broken")).await;
    assert!(answer.status >= 500, "{answer:?}");
    answer.refused(answer.status, "'broken'");

    let mut lines = Lines::open(&world, &format!("{METRICS}?watch&heartbeat=0"), &[]).await;
    world.delete(&format!("{METRICS}/broken?force=True")).await.ok();
    world.get(&format!("{METRICS}/broken")).await.problem(404);
    world.post(METRICS, &metric("next", 1.0)).await.ok();
    assert_eq!(told(&lines.event().await), ("ADDED", "next"), "the watch goes on");
    world.unharmed().await;
}

#[tokio::test]
async fn unknown_groups_are_admitted_and_shown() {
    let mut world = World::start().await;
    let mut lines = Lines::open(&world, &format!("{METRICS}?watch&heartbeat=0"), &[]).await;
    let object = [encoded("group", "p"), GROUP.to_vec()].concat().into();
    let create =
        CreateRequest { namespace: "demo".into(), name: "group".into(), object, ..Default::default() };
    let mut grpc = Grpc::new(world.grpc.transport());
    grpc.ready().await.unwrap();
    let path = "/krake.core.v1.MetricService/CreateMetric".parse().unwrap();
    let created = grpc.unary(Request::new(Bytes::from(create.encode_to_vec())), path, RawCodec).await;
    created.unwrap();

    assert_eq!(told(&lines.event().await), ("ADDED", "group"));
    assert_eq!(names(&world.get(METRICS).await.ok()), ["group"]);
    assert_eq!(world.get(&format!("{METRICS}/group")).await.ok()["metadata"]["name"], "group");
    world.delete(&format!("{METRICS}/group?force=True")).await.ok();
    let mut last = lines.event().await;
    if last["type"] == "MODIFIED" {
        last = lines.event().await;
    }
    assert_eq!(told(&last), ("DELETED", "group"));
    assert_eq!(world.stored().await, 0);
    world.unharmed().await;
}
