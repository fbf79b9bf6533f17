//! Laws of callers: only RPCs of the contract are served, only to callers who may call them, and each is reported.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use krake_client::{Client, ConnectOptions, DeleteOptions, Fence, Mask, Ticket};
use krake_proto::POOL;
use krake_proto::codec::RawCodec;
use krake_proto::error::{self, ErrorReason};
use krake_proto::krake::core::v1::{CampaignRequest, Metric, MetricSpec};
use krake_proto::krake::meta::v1::{
    DeleteObjectRequest, GetInstallationRequest, RemoveFinalizerRequest, ReportDeletionRequest,
};
use krake_runtime::serve::ServeOptions;
use krake_state::{Authentication, Authorization, Callers};
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use crate::support::memory;
use crate::support::server::{Server, metric};

fn anybody() -> Callers {
    Authentication { allow_anonymous: true, static_user: None }.into()
}

/// Sends an empty message to a path; how the call ended.
async fn call(client: &Client, path: &str) -> Code {
    let mut grpc = Grpc::new(client.transport());
    grpc.ready().await.unwrap();
    let request = tonic::Request::new(futures::stream::iter([Bytes::new()]));
    let answer = grpc.streaming(request, path.parse::<PathAndQuery>().unwrap(), RawCodec).await;
    let ended = async { answer?.into_inner().message().await };
    ended.await.map_or_else(|status: Status| status.code(), |_| Code::Ok)
}

fn paths() -> Vec<String> {
    let services = POOL.services().filter(|service| service.full_name().starts_with("krake."));
    let paths = services.flat_map(|service| {
        let path = |rpc: prost_reflect::MethodDescriptor| format!("/{}/{}", service.full_name(), rpc.name());
        service.methods().map(path).collect::<Vec<_>>()
    });
    paths.collect()
}

#[tokio::test]
async fn only_the_exact_paths_of_the_contract_are_served() {
    let server = Server::start(memory()).await;
    for path in paths() {
        assert_ne!(call(&server.client, &path).await, Code::Unimplemented, "{path}");
        let (service, method) = path.rsplit_once('/').unwrap();
        for wrong in [
            format!("{service}/x/{method}"),
            format!("{path}/"),
            format!("{path}/{method}"),
            format!("{service}/{method}x"),
            format!("{service}//{method}"),
            format!("/x{path}"),
            format!("{service}x/{method}"),
            format!("{service}/{}", method.to_lowercase()),
        ] {
            assert_eq!(call(&server.client, &wrong).await, Code::Unimplemented, "{wrong}");
        }
    }
    let smuggled = "/krake.core.v1.MetricService/DeleteMetric/x/ListMetrics";
    assert_eq!(call(&server.client, smuggled).await, Code::Unimplemented);
}

#[tokio::test]
async fn every_rpc_asks_who_calls_and_whether_they_may() {
    let strangers = Server::start_for(memory(), Authentication::default()).await;
    let denied = Callers { authorization: Authorization::AlwaysDeny, ..anybody() };
    let denied = Server::start_for(memory(), denied).await;
    for path in paths() {
        assert_eq!(call(&strangers.client, &path).await, Code::Unauthenticated, "{path}");
        let open = path.ends_with("/GetCaller");
        let expected = if open { Code::Ok } else { Code::PermissionDenied };
        assert_eq!(call(&denied.client, &path).await, expected, "{path}");
    }
    // Who restarts processes, and tools, need no credentials.
    assert_eq!(call(&strangers.client, "/grpc.health.v1.Health/Check").await, Code::Ok);
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    assert!(!matches!(
        call(&strangers.client, reflection).await,
        Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented
    ));
}

/// What was reported of a call: its method, the user and the code.
type Told = (String, Option<String>, Code);

/// Callers of `authentication`, and what is reported of their calls.
fn observed(authentication: Authentication) -> (Callers, Arc<Mutex<Vec<Told>>>) {
    let told: Arc<Mutex<Vec<Told>>> = Arc::default();
    let heard = told.clone();
    let observer = Arc::new(move |finished: krake_state::Finished<'_>| {
        let (_, method) = finished.path.rsplit_once('/').unwrap();
        let call = (method.to_owned(), finished.user.map(str::to_owned), finished.code);
        heard.lock().unwrap().push(call);
    });
    (Callers { observer: Some(observer), ..authentication.into() }, told)
}

fn alice() -> Authentication {
    Authentication { static_user: Some("alice".to_owned()), allow_anonymous: false }
}

fn told(method: &str, user: &str, code: Code) -> Told {
    (method.to_owned(), Some(user.to_owned()), code)
}

#[tokio::test]
async fn every_call_is_told_with_its_outcome_once() {
    let (callers, heard) = observed(alice());
    let server = Server::start_for(memory(), callers).await;
    let metrics = server.client.api::<Metric>();
    metrics.create(&metric("", "heat", 1.0)).await.unwrap();
    metrics.create(&metric("", "heat", 1.0)).await.unwrap_err();
    metrics.get("", "cold").await.unwrap_err();
    assert_eq!(
        *heard.lock().unwrap(),
        [
            told("CreateMetric", "alice", Code::Ok),
            told("CreateMetric", "alice", Code::AlreadyExists),
            told("GetMetric", "alice", Code::NotFound)
        ]
    );
}

#[tokio::test]
async fn refusals_are_told_with_their_caller_as_soon_as_it_is_known() {
    let (strangers, heard) = observed(Authentication::default());
    let server = Server::start_for(memory(), strangers).await;
    server.client.api::<Metric>().get("", "heat").await.unwrap_err();
    assert_eq!(*heard.lock().unwrap(), [("GetMetric".to_owned(), None, Code::Unauthenticated)]);

    let (callers, heard) = observed(alice());
    let server = Server::start_for(memory(), callers).await;
    let fence = Fence::new("test/0");
    fence.raise(7, Ticket::default());
    server.client.fenced(fence).api::<Metric>().create(&metric("", "heat", 1.0)).await.unwrap_err();
    assert_eq!(*heard.lock().unwrap(), [told("CreateMetric", "alice", Code::Aborted)]);

    let (callers, heard) = observed(alice());
    let denied = Callers { authorization: Authorization::AlwaysDeny, ..callers };
    let server = Server::start_for(memory(), denied).await;
    let first = CampaignRequest { election: "test/0".into(), ..Default::default() };
    let refused = server.client.leadership().campaign(futures::stream::iter([first])).await;
    assert_eq!(refused.err().map(|status| status.code()), Some(Code::PermissionDenied));
    assert_eq!(*heard.lock().unwrap(), [told("Campaign", "alice", Code::PermissionDenied)]);
}

#[tokio::test]
async fn a_call_that_its_deadline_ends_is_told_as_such() {
    let (callers, heard) = observed(alice());
    let options = ServeOptions { request_timeout: Duration::from_millis(50), ..Default::default() };
    let server = Server::start_by(Arc::new(SystemTime::now), memory(), callers, options).await;
    // A campaign waits for its first request, which never comes.
    let campaign = server.client.leadership().campaign(futures::stream::pending()).await;
    let ended = campaign.err().unwrap();
    assert_eq!(error::reason(&ended), Some(ErrorReason::DeadlineExceeded), "{ended}");
    assert_eq!(*heard.lock().unwrap(), [told("Campaign", "alice", Code::DeadlineExceeded)]);
}

/// A client whose connections lead to the server that is set.
fn client_of(place: &Arc<Mutex<String>>) -> Client {
    let place = place.clone();
    let connector = tower::service_fn(move |_: http::Uri| {
        let address = place.lock().unwrap().trim_start_matches("http://").to_owned();
        async move { Ok::<_, std::io::Error>(TokioIo::new(tokio::net::TcpStream::connect(address).await?)) }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
    let options = ConnectOptions::new("http://localhost");
    Client::from_channel(channel, "the server", options.request_timeout)
}

#[tokio::test]
async fn a_version_read_before_a_restore_is_no_precondition_after_it() {
    let (mut before, after) = (Server::start(memory()).await, Server::start(memory()).await);
    let place = Arc::new(Mutex::new(before.url.clone()));
    let client = client_of(&place);
    let metrics = client.api::<Metric>();
    let read = metrics.create(&metric("", "heat", 1.0)).await.unwrap();
    // Another object of the same name, which has the same version by chance.
    let other = after.client.api::<Metric>().create(&metric("", "heat", 2.0)).await.unwrap();
    let version = |object: &Metric| object.metadata.as_ref().unwrap().resource_version;
    assert_eq!(version(&read), version(&other), "the stores are numbered alike");

    place.lock().unwrap().clone_from(&after.url);
    before.stop().await;
    let change = |object: &Metric| Metric {
        spec: Some(MetricSpec { max: Some(3.0), ..object.spec.clone().unwrap() }),
        ..object.clone()
    };
    // The client may notice only now that its connection is gone.
    let update = async |object: Metric| loop {
        match metrics.update(&object, Mask::All).await {
            Err(error) if error.retryable() && !error.is_conflict() => tokio::task::yield_now().await,
            answer => return answer,
        }
    };
    let refused = update(change(&read)).await.unwrap_err();
    assert!(refused.is_conflict() && refused.to_string().contains("restored"), "{refused}");
    let options = DeleteOptions { resource_version: version(&read), ..Default::default() };
    let refused = metrics.delete("", "heat", &options).await.unwrap_err();
    assert!(refused.is_conflict(), "{refused}");
    assert_eq!(after.client.api::<Metric>().get("", "heat").await.unwrap(), other, "nothing has changed");
    // Who reads again writes again.
    let fresh = metrics.get("", "heat").await.unwrap();
    assert_eq!(update(change(&fresh)).await.unwrap().spec.unwrap().max, Some(3.0));
}

#[tokio::test]
async fn answers_name_the_epoch_and_refusals_do_not() {
    let server = Server::start(memory()).await;
    let answer = server.client.objects().get_installation(GetInstallationRequest {}).await.unwrap();
    let named = answer.metadata().get("krake-epoch").unwrap().to_str().unwrap().to_owned();
    assert_eq!(named, answer.into_inner().epoch);
    let get = krake_proto::krake::core::v1::GetMetricRequest { name: "none".into(), ..Default::default() };
    let refused = server.client.metrics().get_metric(get).await.unwrap_err();
    assert_eq!(error::reason(&refused), Some(ErrorReason::NotFound));
    assert!(refused.metadata().get("krake-epoch").is_none());
}

#[tokio::test]
async fn access_to_finalizers_and_to_a_deletion_is_not_access_to_the_object() {
    let denied = Callers { authorization: Authorization::AlwaysDeny, ..anybody() };
    let server = Server::start_for(memory(), denied).await;
    let (api, kind, name) = ("kubernetes".to_owned(), "Cluster".to_owned(), "c".to_owned());
    let request = DeleteObjectRequest {
        api: api.clone(),
        kind: kind.clone(),
        name: name.clone(),
        ..Default::default()
    };
    let whole = server.client.objects().delete_object(request).await.unwrap_err();
    assert!(whole.message().contains(r#"may not delete kubernetes/clusters "c""#), "{whole}");
    let request = RemoveFinalizerRequest {
        api: api.clone(),
        kind: kind.clone(),
        name: name.clone(),
        ..Default::default()
    };
    let finalizers = server.client.objects().remove_finalizer(request).await.unwrap_err();
    assert!(
        finalizers.message().contains(r#"may not update kubernetes/clusters/finalizers "c""#),
        "{finalizers}"
    );
    let request = ReportDeletionRequest { api, kind, name, ..Default::default() };
    let deletion = server.client.objects().report_deletion(request).await.unwrap_err();
    assert!(deletion.message().contains(r#"may not update kubernetes/clusters/deletion "c""#), "{deletion}");
}
