//! One span per call: method, status and duration, as a child of the caller's span where `traceparent` names one.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use opentelemetry::propagation::Extractor;
use tokio::time::Instant;
use tonic::Code;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::{Instrument, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Wraps a service so that each call has its span. The call ends with its last byte, not with its first.
#[derive(Clone, Copy, Debug)]
pub(super) struct RpcTraceLayer;

impl<S> Layer<S> for RpcTraceLayer {
    type Service = RpcTrace<S>;

    fn layer(&self, inner: S) -> RpcTrace<S> {
        RpcTrace { inner }
    }
}

/// See [`RpcTraceLayer`].
#[derive(Clone, Debug)]
pub(super) struct RpcTrace<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for RpcTrace<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let span = rpc_span(request.uri().path(), request.headers());
        let mut call = Call { span: span.clone(), started: Instant::now(), code: None };
        let response = span.in_scope(|| self.inner.call(request)).instrument(span);
        Box::pin(async move {
            let response = response.await?;
            // An error without any message has its status in the headers, everything else in the trailers.
            call.observe(response.headers());
            Ok(response.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    if let Some(trailers) = frame.trailers_ref() {
                        call.observe(trailers);
                    }
                    frame
                }))
            }))
        })
    }
}

fn rpc_span(path: &str, headers: &HeaderMap) -> Span {
    let name = path.trim_start_matches('/');
    let (service, method) = name.split_once('/').unwrap_or((name, ""));
    let span = tracing::info_span!(
        "rpc",
        otel.name = name,
        otel.kind = "server",
        otel.status_code = field::Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = field::Empty,
    );
    continue_trace(&span, headers);
    span
}

/// Makes the caller's span, if the headers name one, the parent of `span`.
pub(super) fn continue_trace(span: &Span, headers: &HeaderMap) {
    if headers.contains_key("traceparent") {
        let parent =
            opentelemetry::global::get_text_map_propagator(|context| context.extract(&Headers(headers)));
        // Fails only where no traces are exported, and then there is nothing to link.
        let _ = span.set_parent(parent);
    }
}

/// A call under way. It is over when this is dropped: after its last byte, or because the caller has gone.
struct Call {
    span: Span,
    started: Instant,
    code: Option<Code>,
}

impl Call {
    fn observe(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get("grpc-status") {
            self.code = Some(Code::from_bytes(status.as_bytes()));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let code = self.code.unwrap_or(Code::Cancelled);
        self.span.record("rpc.grpc.status_code", code as i32);
        let duration_ms = self.started.elapsed().as_secs_f64() * 1e3;
        if is_a_defect(code) {
            self.span.record("otel.status_code", "ERROR");
            tracing::warn!(parent: &self.span, ?code, duration_ms, "call failed");
        } else {
            tracing::debug!(parent: &self.span, ?code, duration_ms, "call ended");
        }
    }
}

/// Whether the server is to blame; all other codes are ordinary answers.
fn is_a_defect(code: Code) -> bool {
    matches!(code, Code::Unknown | Code::Internal | Code::DataLoss)
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|key| key.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::{TraceContextExt, TracerProvider};
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tonic::Status;
    use tower::ServiceExt;
    use tracing_subscriber::Layer as _;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Names and values of everything recorded, in order.
    #[derive(Clone, Default)]
    struct Recorded(Arc<Mutex<Vec<String>>>);

    impl field::Visit for Recorded {
        fn record_debug(&mut self, field: &field::Field, value: &dyn std::fmt::Debug) {
            self.0.lock().unwrap().push(format!("{}={value:?}", field.name()));
        }
    }

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Recorded {
        fn on_record(
            &self,
            _: &tracing::span::Id,
            values: &tracing::span::Record<'_>,
            _: tracing_subscriber::layer::Context<'_, S>,
        ) {
            values.record(&mut self.clone());
        }
    }

    fn request(path: &str) -> Request<Body> {
        Request::builder().uri(path).body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn the_handler_runs_in_a_child_of_the_callers_span() {
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let layer = tracing_opentelemetry::layer().with_tracer(tracer).boxed();
        let _default = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let service = RpcTraceLayer.layer(tower::service_fn(async |_: Request<Body>| {
            let context = Span::current().context();
            let trace = context.span().span_context().trace_id().to_string();
            Ok::<_, Status>(Response::builder().header("seen", trace).body(Body::empty()).unwrap())
        }));
        let mut request = request("/krake.v1.Demo/Get");
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        request.headers_mut().insert("traceparent", parent.parse().unwrap());
        let response = service.oneshot(request).await.unwrap();
        assert_eq!(response.headers()["seen"], "0af7651916cd43dd8448eb211c80319c");
    }

    #[tokio::test]
    async fn the_status_is_recorded_when_the_call_is_over() {
        let recorded = Recorded::default();
        let _default =
            tracing::subscriber::set_default(tracing_subscriber::registry().with(recorded.clone()));
        let service = RpcTraceLayer.layer(tower::service_fn(async |request: Request<Body>| {
            let response = match request.uri().path() {
                "/demo/Missing" => Status::not_found("").into_http(),
                _ => {
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", "13".parse().unwrap());
                    let body = Body::empty().with_trailers(async move { Some(Ok(trailers)) });
                    Response::new(Body::new(body))
                }
            };
            Ok::<_, Status>(response)
        }));
        let seen = |expected: &[&str]| assert_eq!(*recorded.0.lock().unwrap(), expected);

        service.clone().oneshot(request("/demo/Missing")).await.unwrap();
        seen(&["rpc.grpc.status_code=5"]);
        let broken = service.clone().oneshot(request("/demo/Broken")).await.unwrap();
        seen(&["rpc.grpc.status_code=5"]);
        broken.into_body().collect().await.unwrap();
        seen(&["rpc.grpc.status_code=5", "rpc.grpc.status_code=13", "otel.status_code=\"ERROR\""]);
        drop(service.oneshot(request("/demo/Abandoned")).await.unwrap());
        assert_eq!(recorded.0.lock().unwrap().last().unwrap(), "rpc.grpc.status_code=1");
    }
}
