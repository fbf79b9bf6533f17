//! The trace of a command: its root span, which every call to the server carries on, and the way to a collector.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Span, field};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::terminal::notice;

/// The name that traces carry.
const SERVICE: &str = "rok";
/// Maximum delay of a command by a collector that is slow or not there.
const FLUSH: Duration = Duration::from_secs(1);

/// Keeps tracing running; the spans are sent when it is dropped, within a second. That blocks the thread and needs
/// another one that runs the runtime.
pub(crate) struct Tracing {
    provider: SdkTracerProvider,
}

impl Drop for Tracing {
    fn drop(&mut self) {
        // A trace is never worth an error: the command has done what it was to do.
        let _ = self.provider.shutdown_with_timeout(FLUSH);
    }
}

/// Starts tracing for the process, once, within a runtime. Without an endpoint spans are created too, so that the
/// services' spans of a command belong together.
pub(crate) fn start(endpoint: Option<&str>) -> Tracing {
    let resource = Resource::builder()
        .with_service_name(SERVICE)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let mut provider = SdkTracerProvider::builder().with_resource(resource);
    match endpoint.filter(|endpoint| !endpoint.is_empty()).map(exporter).transpose() {
        Ok(Some(exporter)) => provider = provider.with_batch_exporter(exporter),
        Ok(None) => {}
        Err(problem) => notice(&format!("warning: --otlp-endpoint: {problem}: the trace is not exported")),
    }
    let provider = provider.build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer(SERVICE));
    // Our own spans; those of the transport would feed the exporter with itself.
    let ours = filter_fn(|data| *data.level() <= Level::INFO && data.target().starts_with(SERVICE));
    // Fails only if a subscriber is set already.
    let _ = tracing_subscriber::registry().with(layer.with_filter(ours)).try_init();
    Tracing { provider }
}

fn exporter(endpoint: &str) -> Result<SpanExporter, String> {
    if !endpoint.starts_with("http://") {
        return Err(format!("{endpoint:?} is not of the form http://host:port"));
    }
    let built = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build();
    built.map_err(|error: ExporterBuildError| error.to_string())
}

/// The root span of a command, such as `rok kube app create`.
pub(crate) fn root(command: &str) -> Span {
    tracing::info_span!(
        parent: None,
        "command",
        otel.name = command,
        otel.kind = "client",
        otel.status_code = field::Empty,
    )
}

/// Marks a span as one of a failure.
pub(crate) fn failed(span: &Span) {
    span.record("otel.status_code", "ERROR");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_grpc_endpoints_are_taken() {
        let error = exporter("https://collector:4317").unwrap_err();
        assert!(error.contains("http://host:port") && error.contains("https://collector:4317"), "{error}");
    }
}
