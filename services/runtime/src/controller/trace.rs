//! Which trace a reconcile belongs to: that of the write which it follows from.

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::schedule::Priority;

/// The header that a `traceparent` is read from.
const TRACEPARENT: &str = "traceparent";

/// Joins the span of a reconcile to the trace of the write that its object shows. After a change the reconcile
/// continues that trace. Timers and resyncs follow from no write: they begin a trace of their own that links to it, or
/// traces would never end. Must be called before the span is entered.
///
/// Does nothing where no traces are exported, or where `trace_parent` is no W3C `traceparent`.
pub(super) fn join(span: &Span, trace_parent: &str, priority: Priority) {
    let parent = TraceContextPropagator::new().extract(&Header(trace_parent));
    match priority {
        // Fails only where no traces are exported.
        Priority::Change => drop(span.set_parent(parent)),
        Priority::Resync => span.add_link(parent.span().span_context().clone()),
    }
}

/// The only header there is.
struct Header<'a>(&'a str);

impl Extractor for Header<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{TraceId, TracerProvider};
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn trace_of(trace_parent: &str, priority: Priority) -> TraceId {
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let layer = tracing_opentelemetry::layer().with_tracer(tracer).boxed();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = tracing::info_span!(parent: None, "reconcile");
            join(&span, trace_parent, priority);
            span.context().span().span_context().trace_id()
        })
    }

    #[test]
    fn a_change_continues_the_trace_of_the_write() {
        assert_eq!(trace_of(PARENT, Priority::Change).to_string(), TRACE);
    }

    #[test]
    fn a_resync_begins_a_trace_of_its_own() {
        let trace = trace_of(PARENT, Priority::Resync);
        assert_ne!(trace.to_string(), TRACE);
        assert_ne!(trace, TraceId::INVALID);
    }

    #[test]
    fn what_is_no_trace_parent_is_ignored() {
        for wrong in ["", "00-0-0-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
            assert_ne!(trace_of(wrong, Priority::Change), TraceId::INVALID, "{wrong:?}");
        }
    }
}
