//! Laws of errors: whatever is wrong with a call, Krake's own answer says why in a form that programs can read.

use krake_client::Client;
use krake_proto::error::{self, ErrorReason};
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::{Code, Status};

use crate::support::memory;
use crate::support::server::Server;

const GET: &str = "/krake.core.v1.MetricService/GetMetric";
const WATCH: &str = "/krake.core.v1.MetricService/WatchMetrics";
const GET_DOCUMENTS: &str = "/krake.kubernetes.v1.ApplicationService/GetApplicationDocuments";
const PUT_DOCUMENTS: &str = "/krake.kubernetes.v1.ApplicationService/PutDocuments";
const CREATE_APPLICATION: &str = "/krake.kubernetes.v1.ApplicationService/CreateApplication";
const INSTALLATION: &str = "/krake.meta.v1.ObjectService/GetInstallation";
const CAMPAIGN: &str = "/krake.core.v1.LeadershipService/Campaign";

/// A message as gRPC frames it: a flag, a length and the bytes that come.
fn frame(flag: u8, length: usize, content: &[u8]) -> Vec<u8> {
    [&[flag][..], &u32::try_from(length).unwrap().to_be_bytes(), content].concat()
}

/// Sends these bytes as the body of a call; how the call ended.
async fn answer(client: &Client, path: &str, encoding: &str, body: Vec<u8>) -> Status {
    let mut transport = client.transport();
    std::future::poll_fn(|context| GrpcService::<Body>::poll_ready(&mut transport, context)).await.unwrap();
    let request = http::Request::builder()
        .method("POST")
        .uri(path)
        .header("content-type", "application/grpc")
        .header("grpc-encoding", encoding)
        .body(Body::new(axum::body::Body::from(body)))
        .unwrap();
    let answer = GrpcService::<Body>::call(&mut transport, request).await.unwrap();
    Status::from_header_map(answer.headers()).expect("it is refused before an answer begins")
}

#[tokio::test]
async fn requests_that_cannot_be_read_are_the_callers_fault_and_say_what_is_wrong() {
    let server = Server::start(memory()).await;
    let large = 4 * 1024 * 1024;
    let small = 64 * 1024;
    for (path, limit) in [
        (GET, large),
        (WATCH, large),
        (GET_DOCUMENTS, large),
        (PUT_DOCUMENTS, 2 * large),
        (CREATE_APPLICATION, 2 * large),
        (INSTALLATION, small),
        (CAMPAIGN, small),
    ] {
        let refused = async |encoding: &str, body: Vec<u8>| {
            let status = answer(&server.client, path, encoding, body).await;
            (status.code(), error::reason(&status), status.message().to_owned())
        };
        let too_large = refused("identity", frame(0, limit + 1, &[])).await;
        assert_eq!(
            (too_large.0, too_large.1),
            (Code::ResourceExhausted, Some(ErrorReason::TooLarge)),
            "{path}"
        );
        assert!(too_large.2.contains(&limit.to_string()), "{too_large:?}");
        for body in
            [frame(123, 0, &[]), frame(1, 0, &[]), frame(0, 9, &[8]), frame(0, 1, &[0xff]), Vec::new()]
        {
            let unreadable = refused("identity", body.clone()).await;
            let expected = (Code::InvalidArgument, Some(ErrorReason::InvalidField));
            assert_eq!((unreadable.0, unreadable.1), expected, "{path} {body:?}: {unreadable:?}");
        }
        let compressed = refused("gzip", frame(1, 1, &[0])).await;
        assert_eq!(
            (compressed.0, compressed.1),
            (Code::Unimplemented, Some(ErrorReason::NotBuilt)),
            "{path}"
        );
        let missing = answer(&server.client, &format!("{path}x"), "identity", frame(0, 0, &[])).await;
        assert_eq!(error::reason(&missing), Some(ErrorReason::NotBuilt), "{missing:?}");
    }
}
