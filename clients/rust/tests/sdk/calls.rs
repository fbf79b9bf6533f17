//! The standard methods over a real socket, against a fake server.

use std::time::Duration;

use crate::fake::{Fake, metric};
use krake_client::{Client, ConnectOptions, DeleteOptions, ListOptions, Mask};
use krake_proto::Resource;
use krake_proto::error::ErrorReason;
use krake_proto::krake::core::v1::GetMetricRequest;
use krake_proto::krake::core::v1::Metric;
use opentelemetry::trace::TracerProvider;
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;

fn label(metric: &Metric, key: &str) -> String {
    metric.metadata().unwrap().labels[key].clone()
}

#[tokio::test]
async fn objects_are_read_and_absence_is_no_error_when_expected() {
    let server = Fake::start().await;
    let api = server.client.api::<Metric>();
    assert_eq!(api.get("ns", "load").await.unwrap(), metric("load", 7));
    let error = api.get("ns", "missing").await.unwrap_err();
    assert!(error.is_not_found() && !error.retryable());
    assert_eq!(error.to_string(), "metric \"missing\" does not exist");
    assert_eq!(api.get_opt("ns", "missing").await.unwrap(), None);
    assert_eq!(api.get_opt("ns", "load").await.unwrap(), Some(metric("load", 7)));
}

#[tokio::test]
async fn a_list_is_all_pages() {
    let server = Fake::start().await;
    let api = server.client.api::<Metric>();
    let all = api.list("-", &ListOptions::default()).await.unwrap();
    assert_eq!(all.items, [metric("a", 3), metric("b", 4), metric("c", 5)]);
    assert_eq!((all.resource_version, all.epoch.as_str()), (9, "e1"));
    let page = api.list_page("-", &ListOptions::default(), None).await.unwrap();
    assert_eq!((page.listing.items.len(), page.next.as_deref()), (2, Some("two")));
    let compacted = ListOptions { label_selector: "compacted".into(), ..Default::default() };
    let error = api.list("-", &compacted).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::RevisionCompacted));
}

#[tokio::test]
async fn writes_name_their_object_and_their_fields() {
    let server = Fake::start().await;
    let api = server.client.api::<Metric>();
    let mut load = metric("load", 3);
    load.metadata_mut().namespace = "ns".into();
    assert_eq!(label(&api.create(&load).await.unwrap(), "address"), "ns/load");
    let updated = api.update(&load, Mask::fields(["spec", "metadata.labels"])).await.unwrap();
    assert_eq!(label(&updated, "mask"), "spec,metadata.labels");
    assert_eq!(label(&updated, "address"), "ns/load");
    assert_eq!(updated.metadata().unwrap().resource_version, 3, "the precondition is sent");
    assert_eq!(label(&api.update(&load, Mask::All).await.unwrap(), "mask"), "*");
    assert_eq!(label(&api.update(&load, Mask::Populated).await.unwrap(), "mask"), "none");
    let options = DeleteOptions { resource_version: 5, cascade: true, ..DeleteOptions::default() };
    let deleted = api.delete("ns", "load", &options).await.unwrap();
    assert_eq!(deleted.metadata().unwrap().resource_version, 5);
    assert_eq!(label(&deleted, "flags"), "true false");
}

#[tokio::test]
async fn a_call_gives_up_at_its_deadline_and_says_so() {
    // Long enough for a request to arrive on a busy machine.
    let server = Fake::start_with(|options| options.request_timeout = Duration::from_secs(1)).await;
    server.answers.forget_permits(usize::MAX);
    let error = server.client.api::<Metric>().get("ns", "load").await.unwrap_err();
    assert!(error.retryable());
    assert!(error.to_string().ends_with("did not answer within 1 s"), "{error}");
    assert_eq!(server.header("grpc-timeout").as_deref(), Some("1500m"));
    // Generated clients have the same deadline.
    let error = server.client.metrics().get_metric(GetMetricRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    // Bound and not listening: nobody else can take the port, and connections are refused.
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.local_addr().unwrap();
    let client = Client::new(&ConnectOptions::new(format!("http://{address}"))).unwrap();
    let error = client.api::<Metric>().get("ns", "load").await.unwrap_err();
    assert!(error.retryable(), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot reach http://{address}: nothing listens")), "{text}");
}

#[tokio::test]
async fn the_current_span_goes_along() {
    let server = Fake::start().await;
    let api = server.client.api::<Metric>();
    api.get("ns", "load").await.unwrap();
    assert_eq!(server.header("traceparent"), None, "no tracer, no trace");

    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    api.get("ns", "load").instrument(tracing::info_span!("caller")).await.unwrap();
    let header = server.header("traceparent").unwrap();
    let parts: Vec<&str> = header.split('-').collect();
    assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2], "{header}");
    assert!(parts[1].bytes().any(|byte| byte != b'0'), "{header}");
}
