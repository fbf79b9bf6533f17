//! A real OpenTelemetry collector (Rotel) that prints every span it receives, and what it received.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::binaries::Binaries;
use crate::process::{Process, Program};
use crate::wait::HANG_GUARD;
use crate::{folder, ports};

/// The collector's name, and that of its log.
const NAME: &str = "rotel-agent";

/// A running collector.
#[derive(Debug)]
pub struct Collector {
    /// The collector itself.
    pub process: Process,
    endpoint: String,
    folder: TempDir,
}

/// A span as the collector received it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReceivedSpan {
    /// `service.name` of the process that made it.
    pub service: String,
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub id: String,
    /// The span that it is part of; empty for a root.
    pub parent_id: String,
    /// What was done.
    pub name: String,
    /// Names and values, as the collector prints them: `Str(x)`, `Int(1)`.
    pub attributes: BTreeMap<String, String>,
}

impl Collector {
    /// Starts one on free ports.
    pub async fn start(binaries: &Binaries) -> Result<Self> {
        ports::retry_on_clash(async || Self::start_once(binaries).await).await
    }

    async fn start_once(binaries: &Binaries) -> Result<Self> {
        let folder = folder::create(NAME)?;
        let [grpc, http] = ports::free::<2>()?;
        let (grpc, http) = (format!("127.0.0.1:{grpc}"), format!("127.0.0.1:{http}"));
        let mut process = Program::new(NAME, &binaries.path(NAME)?, folder.path())
            .args(["start", "--exporter", "blackhole", "--pid-file", "pid", "--log-file", "daemon.log"])
            .args(["--debug-log", "traces", "--debug-log-verbosity", "detailed"])
            .args(["--otlp-grpc-endpoint", &grpc, "--otlp-http-endpoint", &http])
            .start()?;
        process.ready(HANG_GUARD, async || TcpStream::connect(&grpc).await.is_ok()).await?;
        Ok(Self { process, endpoint: format!("http://{grpc}"), folder })
    }

    /// Where spans are sent to by OTLP over gRPC.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// All that it has printed: every span with all that is in it.
    pub fn printed(&self) -> Result<String> {
        let path = self.folder.path().join(format!("{NAME}.log"));
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// All spans received so far.
    pub fn spans(&self) -> Result<Vec<ReceivedSpan>> {
        Ok(parse(&self.printed()?))
    }
}

/// Reads what the collector prints of spans. A resource's attributes come before its spans, a span's after its fields.
fn parse(printed: &str) -> Vec<ReceivedSpan> {
    let mut spans: Vec<ReceivedSpan> = Vec::new();
    let mut service = String::new();
    let mut in_span = false;
    for line in printed.lines().map(str::trim) {
        if line.starts_with("ResourceSpans #") {
            (service, in_span) = (String::new(), false);
        } else if line.starts_with("Span #") {
            spans.push(ReceivedSpan { service: service.clone(), ..ReceivedSpan::default() });
            in_span = true;
        } else if let Some((name, value)) =
            line.strip_prefix("-> ").and_then(|attribute| attribute.split_once(": "))
        {
            match spans.last_mut().filter(|_| in_span) {
                Some(span) => drop(span.attributes.insert(name.to_owned(), value.to_owned())),
                None if name == "service.name" => {
                    service = value.trim_start_matches("Str(").trim_end_matches(')').to_owned();
                }
                None => {}
            }
        } else if let Some((name, value)) = line.split_once(':')
            && let Some(span) = spans.last_mut().filter(|_| in_span)
        {
            let value = value.trim().to_owned();
            match name.trim() {
                "Trace ID" => span.trace_id = value,
                "ID" => span.id = value,
                "Parent ID" => span.parent_id = value,
                "Name" => span.name = value,
                _ => {}
            }
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_spans_are_read() {
        let printed = "
INFO Starting Rotel. grpc_endpoint=\"127.0.0.1:4317\"
ResourceSpans #0
Resource SchemaURL: 
Resource attributes:
     -> service.name: Str(krake-state)
ScopeSpans #0
Span #0
    Trace ID       : 0af7651916cd43dd8448eb211c80319c
    Parent ID      : b7ad6b7169203331
    ID             : c7ad6b7169203331
    Name           : krake.kubernetes.v1.ApplicationService/CreateApplication
    Kind           : SPAN_KIND_SERVER
Start time: 1
Attributes:
     -> rpc.system: Str(grpc)
ResourceSpans #1
Resource attributes:
     -> service.name: Str(rok)
Span #0
    Trace ID       : 0af7651916cd43dd8448eb211c80319c
    Parent ID      : 
    ID             : b7ad6b7169203331
    Name           : rok kube app create
";
        let spans = parse(printed);
        assert_eq!(spans.len(), 2);
        assert_eq!((spans[0].service.as_str(), spans[1].service.as_str()), ("krake-state", "rok"));
        assert_eq!((spans[0].parent_id.as_str(), spans[1].parent_id.as_str()), (spans[1].id.as_str(), ""));
        assert_eq!(spans[0].name, "krake.kubernetes.v1.ApplicationService/CreateApplication");
        assert_eq!(spans[0].attributes["rpc.system"], "Str(grpc)");
        assert!(spans[1].attributes.is_empty());
    }
}
