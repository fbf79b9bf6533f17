//! Telemetry: logs to stderr, spans to an OTLP collector, trace context in the W3C form.

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde::Deserialize;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{ConfigError, check_url, pick};

/// How long the last spans may take to reach the collector when the process ends.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);

/// Targets whose spans are never exported: the exporter's own transport would feed itself.
const TRANSPORT_TARGETS: [&str; 6] = ["h2", "hyper", "hyper_util", "opentelemetry", "tonic", "tower"];

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for log collectors.
    Json,
}

/// What to log and where to send traces. In the file: section `telemetry` with the same names.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Telemetry")]
pub struct TelemetryArgs {
    /// What to log to stderr: error, warn, info, debug or trace, also per module, such as
    /// `info,krake_scheduler=debug`. [default: info]
    #[arg(long, env = "KRAKE_LOG", value_name = "FILTER")]
    pub log_level: Option<String>,
    /// Form of the log lines: `text` for people, `json` (one object a line) for log collectors. [default: text]
    #[arg(long, env = "KRAKE_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// OpenTelemetry collector (OTLP over gRPC without TLS) that receives traces, such as
    /// `http://127.0.0.1:4317`. Without it no traces are exported.
    #[arg(long, env = "KRAKE_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
}

/// Log directives that hold unless the settings name the same target: this library logs whole answers of servers.
const QUIET: &str = "kube_client::client=off";

/// Telemetry settings in force, checked.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    filter: String,
    format: LogFormat,
    otlp_endpoint: Option<String>,
}

impl TelemetryArgs {
    /// The settings in force: flags win over `file`, which wins over the defaults.
    pub fn resolve(self, file: TelemetryArgs) -> Result<TelemetryConfig, ConfigError> {
        let config = TelemetryConfig {
            filter: pick(self.log_level, file.log_level, "info".to_owned()),
            format: pick(self.log_format, file.log_format, LogFormat::default()),
            otlp_endpoint: self.otlp_endpoint.or(file.otlp_endpoint),
        };
        config.env_filter()?;
        if let Some(endpoint) = &config.otlp_endpoint {
            check_url("--otlp-endpoint", endpoint, &["http"])?;
        }
        Ok(config)
    }
}

impl Default for TelemetryConfig {
    /// Logs from `info` on, for people; no traces.
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::default(), otlp_endpoint: None }
    }
}

impl TelemetryConfig {
    fn env_filter(&self) -> Result<EnvFilter, ConfigError> {
        EnvFilter::try_new(format!("{QUIET},{}", self.filter)).map_err(|error| ConfigError::Invalid {
            option: "--log-level",
            message: format!(
                "{error}; write a level such as `info` or directives such as `info,krake_gc=debug`"
            ),
        })
    }
}

/// Keeps telemetry running; the last spans are sent when it is dropped, which blocks the thread for at most two
/// seconds and needs other threads of the runtime to go on.
#[derive(Debug)]
#[must_use = "dropping it ends the export of traces"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take()
            && let Err(error) = provider.shutdown_with_timeout(FLUSH_DEADLINE)
        {
            tracing::debug!(%error, "the last spans were not exported");
        }
    }
}

/// Starts logging and tracing for the whole process. `service` is the name traces carry. Must be called in a
/// multi-threaded tokio runtime, once.
pub fn init(service: &'static str, config: &TelemetryConfig) -> anyhow::Result<Telemetry> {
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let (subscriber, telemetry) = assemble(service, config, std::io::stderr)?;
    subscriber.try_init()?;
    Ok(telemetry)
}

/// The subscriber that `init` installs, writing log lines to `writer`.
fn assemble<W>(
    service: &'static str,
    config: &TelemetryConfig,
    writer: W,
) -> anyhow::Result<(impl Subscriber + Send + Sync + use<W>, Telemetry)>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let provider =
        config.otlp_endpoint.as_deref().map(|endpoint| tracer_provider(service, endpoint)).transpose()?;
    // Colours are for people; a file or a log collector gets plain text.
    let lines =
        tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(writer);
    let lines = match config.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    // Each layer has its own filter: quiet logs must not cut traces short.
    let spans = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(service))
            .with_filter(filter_fn(is_exported))
    });
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(config.env_filter()?)).with(spans);
    Ok((subscriber, Telemetry { provider }))
}

fn tracer_provider(service: &'static str, endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let exporter =
        opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

fn is_exported(metadata: &Metadata<'_>) -> bool {
    let root = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= Level::INFO
        && !TRANSPORT_TARGETS.contains(&root)
        && !root.starts_with("opentelemetry")
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
        TraceService, TraceServiceServer,
    };
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
    };
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;
    use tonic::service::Routes;

    use super::*;
    use crate::serve::{ServeOptions, Services, serve};
    use crate::shutdown::Shutdown;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn config(log_level: &str, format: LogFormat, otlp_endpoint: Option<String>) -> TelemetryConfig {
        let args =
            TelemetryArgs { log_level: Some(log_level.into()), log_format: Some(format), otlp_endpoint };
        args.resolve(TelemetryArgs::default()).unwrap()
    }

    #[test]
    fn logs_follow_filter_and_format() {
        let lines = Lines::default();
        let writer = lines.clone();
        let (subscriber, _telemetry) =
            assemble("test", &config("warn", LogFormat::Json, None), move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("hidden");
            // What a library says of each failed request, with the server's whole answer, and without the cluster's name.
            tracing::error!(target: "kube_client::client::builder", "hidden as well");
            tracing::warn!(key = "demo/app", "shown");
        });
        let text = lines.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.starts_with('{') && text.contains(r#""key":"demo/app""#), "{text}");
    }

    #[test]
    fn wrong_settings_name_their_option() {
        let resolve = |args: TelemetryArgs| args.resolve(TelemetryArgs::default()).unwrap_err().to_string();
        let filter = TelemetryArgs { log_level: Some("krake=loud".into()), ..Default::default() };
        assert!(resolve(filter).starts_with("--log-level: "));
        for endpoint in ["localhost:4317", "https://collector:4317"] {
            let args = TelemetryArgs { otlp_endpoint: Some(endpoint.into()), ..Default::default() };
            assert!(resolve(args).starts_with("--otlp-endpoint: "));
        }
    }

    struct Collector(mpsc::Sender<ExportTraceServiceRequest>);

    #[tonic::async_trait]
    impl TraceService for Collector {
        async fn export(
            &self,
            request: tonic::Request<ExportTraceServiceRequest>,
        ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
            self.0.send(request.into_inner()).await.unwrap();
            Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn spans_reach_the_collector_before_the_process_ends_however_quiet_the_logs() {
        let (sender, mut received) = mpsc::channel(4);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let services = Services::new(Routes::new(TraceServiceServer::new(Collector(sender))), &[]).unwrap();
        let shutdown = Shutdown::new();
        let server = tokio::spawn(serve(listener, services, ServeOptions::default(), shutdown.clone()));

        let settings = config("error", LogFormat::Text, Some(endpoint));
        let (subscriber, telemetry) = assemble("krake-test", &settings, io::sink).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info_span!("bind_application").in_scope(|| {});
            tracing::info_span!(target: "h2::client", "transport").in_scope(|| {});
        });
        tokio::task::spawn_blocking(move || drop(telemetry)).await.unwrap();

        let request = received.try_recv().expect("the spans arrive before the guard is gone");
        let spans: Vec<_> =
            request.resource_spans[0].scope_spans.iter().flat_map(|scope| &scope.spans).collect();
        assert_eq!(spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["bind_application"]);
        let attributes = &request.resource_spans[0].resource.as_ref().unwrap().attributes;
        assert!(
            attributes.iter().any(|a| a.key == "service.name" && format!("{a:?}").contains("krake-test"))
        );
        shutdown.request();
        server.await.unwrap().unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_collector_that_never_answers_does_not_hold_up_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let settings = config("error", LogFormat::Text, Some(endpoint));
        let (subscriber, telemetry) = assemble("krake-test", &settings, io::sink).unwrap();
        tracing::subscriber::with_default(subscriber, || tracing::info_span!("lost").in_scope(|| {}));
        let dropped = tokio::task::spawn_blocking(move || drop(telemetry));
        // Only a hang takes as long.
        let hang_guard = std::time::Duration::from_secs(120);
        tokio::time::timeout(hang_guard, dropped).await.expect("it ends").unwrap();
    }
}
