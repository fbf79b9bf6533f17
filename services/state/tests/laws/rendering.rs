//! The law of what is admitted: it is shown, by gRPC and as JSON, alone, in lists and in watches, and can be removed.

use crate::support::server::{Server, application, cluster, metric};
use crate::support::{PATIENCE, memory};
use bytes::Bytes;
use krake_client::Client;
use krake_proto::codec::RawCodec;
use krake_proto::envelope::{
    CreateRequest, DeleteRequest, GetRequest, ListRequest, ListResponse, WatchRequest, WatchResponse,
    WatchStart,
};
use krake_proto::json::{self, Options};
use krake_proto::krake::core::v1::metrics_provider_spec::Type;
use krake_proto::krake::core::v1::{MetricsProvider, MetricsProviderSpec, StaticProvider};
use krake_proto::{KINDS, Kind, POOL};
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tonic::client::Grpc;
use tonic::{Request, Status};

/// Encoded objects that are admitted as they are, one of each kind.
fn valid(kind: &Kind) -> Option<Vec<u8>> {
    let fixed = Type::Static(StaticProvider { metrics: [("m".to_owned(), 1.0)].into() });
    let provider = MetricsProvider {
        metadata: metric("demo", "x", 1.0).metadata,
        spec: Some(MetricsProviderSpec { r#type: Some(fixed) }),
    };
    match kind.kind {
        "Application" => Some(application("x").encode_to_vec()),
        "Cluster" => Some(cluster("x").encode_to_vec()),
        "Metric" => Some(metric("demo", "x", 1.0).encode_to_vec()),
        "MetricsProvider" => Some(provider.encode_to_vec()),
        _ => None,
    }
}

/// Something that is no plain encoding: groups, wrong types, cuts, text that is not UTF-8, numbers out of range.
fn junk(random: &mut StdRng) -> Vec<u8> {
    match random.random_range(0..8) {
        0 => vec![0xa3, 0x06, 0xa4, 0x06],
        1 => vec![0x1b; random.random_range(1..40)],
        2 => vec![0x0a, 0x02, 0xff, 0xfe],
        3 => vec![0xa0, 0x06, 0x07],
        4 => vec![0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f],
        5 => vec![0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        6 => (0..random.random_range(0..12)).map(|_| random.random()).collect(),
        _ => vec![0x12, 0x00],
    }
}

/// A valid encoding with something in it or changed, at any place.
fn mutated(object: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut object = object.to_vec();
    for _ in 0..random.random_range(1..3) {
        let place = random.random_range(0..=object.len());
        match random.random_range(0..4) {
            0 => object.extend(junk(random)),
            1 => drop(object.splice(place..place, junk(random))),
            2 if place < object.len() => object[place] = random.random(),
            // With junk in a section of its own, whose lengths are right.
            _ => {
                let section = random.random_range(1..4);
                object.extend(krake_proto::wire::delimited(section, &junk(random)));
            }
        }
    }
    object
}

async fn call(client: &Client, kind: &Kind, method: &str, request: &impl Message) -> Result<Bytes, Status> {
    let mut grpc = Grpc::new(client.transport());
    grpc.ready().await?;
    let path = format!("/{}/{method}", kind.service).parse().unwrap();
    let request = Request::new(Bytes::from(request.encode_to_vec()));
    Ok(grpc.unary(request, path, RawCodec).await?.into_inner())
}

#[track_caller]
fn shown(kind: &Kind, object: &[u8], sent: &[u8]) {
    let descriptor = POOL.get_message_by_name(kind.message).unwrap();
    let mut text = Vec::new();
    let written = json::write(&descriptor, object, Options::default(), &mut text);
    assert!(written.is_ok(), "{written:?}: {} from {sent:02x?}", kind.kind);
    let read = serde_json::from_slice::<serde::de::IgnoredAny>(&text);
    assert!(read.is_ok(), "{read:?}: {} from {sent:02x?}", kind.kind);
}

async fn admitted_is_shown(client: &Client, kind: &Kind, object: Vec<u8>) -> bool {
    let namespace = "demo".to_owned();
    let name = "x".to_owned();
    let create = CreateRequest {
        namespace: namespace.clone(),
        name: name.clone(),
        object: object.clone().into(),
        ..Default::default()
    };
    let Ok(created) = call(client, kind, &format!("Create{}", kind.kind), &create).await else {
        return false;
    };
    shown(kind, &created, &object);
    let get = GetRequest { namespace: namespace.clone(), name: name.clone(), ..Default::default() };
    shown(kind, &call(client, kind, &format!("Get{}", kind.kind), &get).await.unwrap(), &object);
    let list = ListRequest { namespace: namespace.clone(), ..Default::default() };
    let listed = call(client, kind, &format!("List{}", kind.plural_rpc), &list).await.unwrap();
    let listed = ListResponse::decode(listed).unwrap();
    assert_eq!(listed.items.len(), 1);
    shown(kind, &listed.items[0], &object);
    let delete = DeleteRequest { namespace, name, force: true, ..Default::default() };
    shown(kind, &call(client, kind, &format!("Delete{}", kind.kind), &delete).await.unwrap(), &object);
    true
}

#[tokio::test]
async fn what_is_admitted_is_shown_everywhere_and_can_be_removed() {
    let server = Server::start(memory()).await;
    let mut random = StdRng::seed_from_u64(7);
    for (kind, valid) in KINDS.iter().filter_map(|kind| Some((*kind, valid(kind)?))) {
        let mut watch = Grpc::new(server.client.transport());
        watch.ready().await.unwrap();
        let request = WatchRequest {
            namespace: "demo".to_owned(),
            start: Some(WatchStart::Now(true)),
            ..Default::default()
        };
        let path = format!("/{}/Watch{}", kind.service, kind.plural_rpc).parse().unwrap();
        let request = Request::new(Bytes::from(request.encode_to_vec()));
        let mut watch = watch.server_streaming(request, path, RawCodec).await.unwrap().into_inner();
        let group = [valid.clone(), vec![0xa3, 0x06, 0xa4, 0x06]].concat();
        assert!(admitted_is_shown(&server.client, kind, valid.clone()).await, "{}", kind.kind);
        assert!(admitted_is_shown(&server.client, kind, group).await, "an unknown group is an unknown field");
        let mut admitted = 2;
        for _ in 0..200 {
            let object = mutated(&valid, &mut random);
            admitted += usize::from(admitted_is_shown(&server.client, kind, object).await);
        }
        assert!(admitted > 10, "{}: only {admitted} were admitted", kind.kind);
        // Each was added, changed by its deletion or not, and deleted.
        let mut deleted = 0;
        while deleted < admitted {
            let message = tokio::time::timeout(PATIENCE, watch.message()).await.unwrap().unwrap().unwrap();
            for event in WatchResponse::decode(message).unwrap().events {
                shown(kind, &event.object, &[]);
                deleted += usize::from(event.r#type == 3);
            }
        }
    }
}
