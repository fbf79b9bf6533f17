//! One span per request: method, path, status and duration, as a child of the caller's span.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;
use tracing::{Instrument, field};

use super::super::trace::continue_trace;
use super::HttpMetrics;

/// Serves a request within its span, and measures it.
pub(super) async fn request(State(metrics): State<HttpMetrics>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = tracing::info_span!(
        "http",
        otel.name = format!("{method} {path}"),
        otel.kind = "server",
        otel.status_code = field::Empty,
        http.request.method = method.as_str(),
        url.path = path,
        http.response.status_code = field::Empty,
    );
    continue_trace(&span, request.headers());
    let started = Instant::now();
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    metrics.answered(&method, status, started.elapsed());
    let duration_ms = started.elapsed().as_secs_f64() * 1e3;
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
        tracing::warn!(parent: &span, status = status.as_u16(), duration_ms, "request failed");
    } else {
        tracing::debug!(parent: &span, status = status.as_u16(), duration_ms, "request answered");
    }
    response
}
