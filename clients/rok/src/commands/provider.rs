//! The metrics provider that `rok core mp create` and `rok core gmp create` describe.

use clap::ValueEnum;
use krake_proto::krake::core::v1::metrics_provider_spec::Type;
use krake_proto::krake::core::v1::{
    InfluxProvider, KafkaProvider, MetricsProvider, MetricsProviderSpec, PrometheusProvider, StaticProvider,
};
use krake_proto::krake::meta::v1::Metadata;

use crate::args::{ProviderOptions, ProviderType};
use crate::failure::Failure;

/// A global one if the namespace is empty.
///
/// # Errors
/// If an option that the type needs is missing, or one is given that it does not know.
pub(super) fn provider(
    namespace: String,
    name: String,
    kind: ProviderType,
    options: ProviderOptions,
) -> Result<MetricsProvider, Failure> {
    let spec = MetricsProviderSpec { r#type: Some(source(kind, options)?) };
    let metadata = Metadata { namespace, name, ..Metadata::default() };
    Ok(MetricsProvider { metadata: Some(metadata), spec: Some(spec) })
}

fn source(kind: ProviderType, options: ProviderOptions) -> Result<Type, Failure> {
    let metrics = options.metrics().map_err(Failure::Usage)?;
    let mut given = Given { kind, texts: texts(options), missing: Vec::new() };
    if kind == ProviderType::Static && metrics.is_empty() {
        given.missing.push("--metric");
    }
    let foreign_metrics = kind != ProviderType::Static && !metrics.is_empty();
    let source = match kind {
        ProviderType::Prometheus => Type::Prometheus(PrometheusProvider { url: given.take("--url") }),
        ProviderType::Static => Type::Static(StaticProvider { metrics: metrics.into_iter().collect() }),
        ProviderType::Kafka => Type::Kafka(KafkaProvider {
            url: given.take("--url"),
            table: given.take("--table"),
            comparison_column: given.take("--comparison-column"),
            value_column: given.take("--value-column"),
        }),
        ProviderType::Influx => Type::Influx(InfluxProvider {
            url: given.take("--url"),
            token: given.take("--token"),
            org: given.take("--org"),
            bucket: given.take("--bucket"),
        }),
    };
    given.finish(foreign_metrics)?;
    Ok(source)
}

/// Options with a text each. The token may come from the environment, where other types ignore it.
fn texts(options: ProviderOptions) -> Vec<(&'static str, String)> {
    let all = [
        ("--url", options.url),
        ("--table", options.table),
        ("--comparison-column", options.comparison_column),
        ("--value-column", options.value_column),
        ("--token", options.token),
        ("--org", options.org),
        ("--bucket", options.bucket),
    ];
    all.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect()
}

/// What was given and not used yet, and what is missing.
struct Given {
    kind: ProviderType,
    texts: Vec<(&'static str, String)>,
    missing: Vec<&'static str>,
}

impl Given {
    fn take(&mut self, option: &'static str) -> String {
        match self.texts.iter().position(|(name, _)| *name == option) {
            Some(index) => self.texts.swap_remove(index).1,
            None => {
                self.missing.push(option);
                String::new()
            }
        }
    }

    fn finish(mut self, foreign_metrics: bool) -> Result<(), Failure> {
        let kind = self.kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        if !self.missing.is_empty() {
            let missing = self.missing.join(", ");
            return Err(Failure::Usage(format!("--type {kind} needs {missing}")));
        }
        self.texts.retain(|(name, _)| *name != "--token");
        let mut foreign: Vec<&str> = self.texts.iter().map(|(name, _)| *name).collect();
        foreign.extend(foreign_metrics.then_some("--metric"));
        if foreign.is_empty() {
            return Ok(());
        }
        foreign.sort_unstable();
        Err(Failure::Usage(format!("--type {kind} knows no {}", foreign.join(", "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(url: &str) -> ProviderOptions {
        ProviderOptions { url: Some(url.into()), ..ProviderOptions::default() }
    }

    #[test]
    fn each_type_takes_its_options() {
        let prometheus = source(ProviderType::Prometheus, url("http://p")).unwrap();
        assert_eq!(prometheus, Type::Prometheus(PrometheusProvider { url: "http://p".into() }));
        let options = ProviderOptions {
            table: Some("t".into()),
            comparison_column: Some("c".into()),
            value_column: Some("v".into()),
            ..url("http://k")
        };
        let Type::Kafka(kafka) = source(ProviderType::Kafka, options).unwrap() else { panic!() };
        assert_eq!((kafka.table.as_str(), kafka.comparison_column.as_str()), ("t", "c"));
    }

    #[test]
    fn missing_and_foreign_options_are_named() {
        let error = |kind, options| source(kind, options).unwrap_err().to_string();
        assert_eq!(
            error(ProviderType::Kafka, url("http://k")),
            "--type kafka needs --table, --comparison-column, --value-column"
        );
        assert_eq!(error(ProviderType::Static, ProviderOptions::default()), "--type static needs --metric");
        let bucket = ProviderOptions { bucket: Some("b".into()), ..url("http://p") };
        assert_eq!(error(ProviderType::Prometheus, bucket), "--type prometheus knows no --bucket");
    }
}
