//! What tables show of a metrics provider, global or not.

use krake_proto::json::REDACTED;
use krake_proto::krake::core::v1::MetricsProvider;
use krake_proto::krake::core::v1::metrics_provider_spec::Type;

use super::Columns;
use super::text::{self, NONE};

impl Columns for MetricsProvider {
    const LIST: &'static [&'static str] = &["type"];

    fn cells(&self) -> Vec<String> {
        vec![kind(self)]
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![("type", kind(self))];
        match self.spec.as_ref().and_then(|spec| spec.r#type.as_ref()) {
            None => {}
            Some(Type::Prometheus(prometheus)) => rows.push(("url", prometheus.url.clone())),
            Some(Type::Static(fixed)) => rows.push(("metrics", text::entries(&fixed.metrics))),
            Some(Type::Kafka(kafka)) => rows.extend([
                ("url", kafka.url.clone()),
                ("table", kafka.table.clone()),
                ("comparison_column", kafka.comparison_column.clone()),
                ("value_column", kafka.value_column.clone()),
            ]),
            Some(Type::Influx(influx)) => rows.extend([
                ("url", influx.url.clone()),
                ("token", REDACTED.to_owned()),
                ("org", influx.org.clone()),
                ("bucket", influx.bucket.clone()),
            ]),
        }
        rows
    }
}

fn kind(provider: &MetricsProvider) -> String {
    let kind = match provider.spec.as_ref().and_then(|spec| spec.r#type.as_ref()) {
        None => NONE,
        Some(Type::Prometheus(_)) => "prometheus",
        Some(Type::Kafka(_)) => "kafka",
        Some(Type::Static(_)) => "static",
        Some(Type::Influx(_)) => "influx",
    };
    kind.to_owned()
}
