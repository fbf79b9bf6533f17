//! The listener: clusters by the first steps of the path, faults, credentials, and the form of answers.

mod inject;
mod listener;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Query as UrlQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use krake_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::api::discovery;
use crate::api::failure::Failure;
use crate::api::path::{self, Path};
use crate::cluster::{self, Cluster};
use crate::faults::{Faults, RuleVerb};
use crate::fleet::Fleet;
use crate::request::{PatchType, Query, Request, Verb};
use crate::script::{Call, Reply};
use crate::tls::Tls;
use listener::{Cut, CutListener};

/// Maximum time for answers under way once shutdown is requested. Watches end at once.
const DRAIN: Duration = Duration::from_secs(1);
/// Largest body: what real servers accept.
const LARGEST_BODY: usize = 3 * 1024 * 1024;

#[derive(Clone)]
struct Server {
    fleet: Fleet,
    shutdown: CancellationToken,
}

/// Serves all clusters of a fleet, by TLS if there is a certificate.
pub(crate) async fn serve(
    fleet: Fleet,
    listener: TcpListener,
    tls: Option<Tls>,
    shutdown: Shutdown,
) -> io::Result<()> {
    let tls = tls.map(|tls| TlsAcceptor::from(tls.config()));
    let cut = CancellationToken::new();
    let _cut_on_return = cut.clone().drop_guard();
    let server = Server { fleet, shutdown: shutdown.token() };
    let router = Router::new()
        .fallback(answer)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(server)
        .into_make_service_with_connect_info::<Cut>();
    let requested = shutdown.token().cancelled_owned();
    let serving = axum::serve(CutListener { listener, tls, cut }, router).with_graceful_shutdown(requested);
    match shutdown.run_until_done(DRAIN, async { serving.await }).await {
        Ok(result) => result,
        Err(cut_off) => {
            tracing::debug!(%cut_off, "requests were still under way");
            Ok(())
        }
    }
}

async fn answer(
    State(server): State<Server>,
    ConnectInfo(Cut(connection)): ConnectInfo<Cut>,
    method: Method,
    uri: Uri,
    UrlQuery(query): UrlQuery<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let place = uri.path().strip_prefix("/clusters/").map(|rest| rest.split_once('/').unwrap_or((rest, "")));
    let Some((name, rest)) = place else { return refuse(&Failure::not_served()) };
    let Some(cluster) = server.fleet.cluster(name) else { return refuse(&Failure::not_served()) };
    if rest == "faults" {
        return faults(&cluster, &method, &body);
    }
    let below = format!("/{rest}");
    let call = Call { method: method.as_str(), path: &below, query: &query, body: &body };
    let script = cluster.script();
    if let Some(script) = &script {
        script.arrived(&call);
    }
    let path = path::parse(&below);
    let asked = inject::asked(&method, Query::is_watch(&query), &headers, path.as_ref());
    let target = path.as_ref().and_then(Path::target);
    let fault = match inject::suffer(&cluster, asked, target, &connection).await {
        Ok(fault) => fault,
        Err(refused) => return refuse(&refused),
    };
    let watch = asked.verb == RuleVerb::Watch;
    let answer = match script.map_or_else(Reply::default, |script| script.decide(&call)) {
        Reply::Answer { code, body } => json(code, body),
        Reply::CarryOut { body: changed, warnings } => {
            let body = changed.map_or_else(|| body.clone(), Bytes::from);
            warned(carry_out(&server, &cluster, path, &method, &query, &headers, &body), &warnings)
        }
    };
    match fault {
        None => answer,
        Some(fault) => inject::alter(answer, fault, watch),
    }
}

/// Answers `/openapi/v2` with a document that describes no kind: kubectl checks nothing then, and the server does.
fn open_api(headers: &HeaderMap) -> Response {
    const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("proto-openapi.spec.v2") {
        // Every field of a protobuf message may be absent.
        return ([(header::CONTENT_TYPE, PROTOBUF)], Body::empty()).into_response();
    }
    json(200, discovery::open_api().to_string())
}

/// The answer to a request that suffers no fault before it is carried out.
fn carry_out(
    server: &Server,
    cluster: &Cluster,
    path: Option<Path>,
    method: &Method,
    query: &HashMap<String, String>,
    headers: &HeaderMap,
    body: &Bytes,
) -> Response {
    let authorized = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if authorized.and_then(|value| value.strip_prefix("Bearer ")) != Some(cluster.token()) {
        return refuse(&Failure::unauthorized());
    }
    if path.as_ref().is_some_and(|path| cluster.is_aggregated(path)) {
        // As the aggregator says it, in plain text.
        return (StatusCode::SERVICE_UNAVAILABLE, "service unavailable\n").into_response();
    }
    let outcome = match path {
        None => Err(Failure::no_page()),
        Some(Path::Objects(target)) => understand(target, method, query, headers, body),
        Some(Path::Health) => return "ok".into_response(),
        Some(Path::OpenApi) => return open_api(headers),
        Some(path) if *method == Method::GET => {
            return cluster
                .discover(&path)
                .map_or_else(|no| refuse(&no), |found| json(200, found.to_string()));
        }
        Some(_) => Err(Failure::method_not_allowed()),
    };
    let outcome = match outcome {
        Ok(request) if request.verb == Verb::Watch => {
            return watch::open(cluster, &request, server.shutdown.clone()).unwrap_or_else(|no| refuse(&no));
        }
        Ok(request) => cluster.answer(&request),
        Err(no) => Err(no),
    };
    match outcome {
        Ok(answer) => warned(json(answer.code, answer.body), &answer.warnings),
        Err(no) => refuse(&no),
    }
}

/// `GET` and `PUT /clusters/<name>/faults`.
fn faults(cluster: &Cluster, method: &Method, body: &[u8]) -> Response {
    match *method {
        Method::GET => {}
        Method::PUT => match serde_json::from_slice::<Faults>(body) {
            Ok(faults) => cluster.set_faults(faults),
            Err(error) => return refuse(&Failure::bad_request(format!("faults: {error}"))),
        },
        _ => return refuse(&Failure::method_not_allowed()),
    }
    json(200, serde_json::to_string(&cluster.faults()).unwrap_or_default())
}

fn understand(
    target: path::Target,
    method: &Method,
    query: &HashMap<String, String>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Request, Failure> {
    let query = Query::of(query)?;
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if header(header::CONTENT_TYPE).starts_with("application/vnd.kubernetes.protobuf") {
        return Err(Failure::not_simulated("bodies in protobuf; send JSON"));
    }
    let one = target.name.is_some();
    let verb = match *method {
        Method::GET if query.watch => Verb::Watch,
        Method::GET if one => Verb::Get,
        Method::GET => Verb::List,
        Method::POST => Verb::Create,
        Method::PUT if one => Verb::Replace,
        Method::PATCH if one => Verb::Patch(patch_type(header(header::CONTENT_TYPE))?),
        Method::DELETE if one => Verb::Delete,
        Method::DELETE => Verb::DeleteCollection,
        _ => return Err(Failure::method_not_allowed()),
    };
    let first = header(header::ACCEPT).split(',').next().unwrap_or_default();
    let program = header(header::USER_AGENT).split('/').next().unwrap_or_default();
    Ok(Request {
        verb,
        target,
        query,
        program: if program.is_empty() { "unknown".to_owned() } else { program.to_owned() },
        metadata_only: first.contains("as=PartialObjectMetadata"),
        body: body.to_vec(),
        now: cluster::now(),
    })
}

fn patch_type(content_type: &str) -> Result<PatchType, Failure> {
    match content_type.split(';').next().unwrap_or_default().trim() {
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchType::Strategic),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        "application/json-patch+json" => Err(Failure::not_simulated("JSON patches (RFC 6902)")),
        _ => Err(Failure::unsupported_media_type()),
    }
}

fn refuse(failure: &Failure) -> Response {
    if failure.is_plain() {
        return (StatusCode::NOT_FOUND, format!("{}\n", failure.message())).into_response();
    }
    let mut response = json(failure.code, failure.status().to_string());
    if let Some(seconds) = failure.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The response with a header for each warning. Texts that cannot stand in a header are left out.
fn warned(mut response: Response, warnings: &[String]) -> Response {
    for text in warnings {
        let text = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

fn json(code: u16, body: String) -> Response {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, [(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
}
