//! Metrics providers: `rok core mp`, and `rok core gmp` for those without a namespace.

mod options;

use clap::ValueEnum;
use krake_proto::json::REDACTED;
use krake_proto::krake::core::v1::metrics_provider_spec::Type;
use krake_proto::krake::core::v1::{
    InfluxProvider, KafkaProvider, MetricsProvider, MetricsProviderSpec, PrometheusProvider, StaticProvider,
};
use krake_proto::krake::meta::v1::Metadata;

use self::options::{NewProvider, ProviderChange, ProviderOptions, ProviderType};
use super::Managed;
use crate::commands::Fields;
use crate::failure::Failure;
use crate::output::Columns;
use crate::output::text::{self, NONE};
use crate::progress::Progress;

impl Managed for MetricsProvider {
    const EXAMPLES: &'static str = "Examples:
  rok core gmp create --type prometheus --url http://localhost:9090 prom
  rok core mp create --type static -m electricity_cost 0.9 -m green_share 0.3 fixed
  rok core mp create --type kafka --url http://localhost:8088 --table metrics --comparison-column name \\
      --value-column value stream";
    const UPDATE: &'static str = "What is not given stays as it is; so does the type.";
    type Create = NewProvider;
    type Change = ProviderChange;

    /// # Errors
    /// If an option that the type needs is missing, or one is given that it does not know.
    fn create(metadata: Metadata, given: NewProvider) -> Result<Self, Failure> {
        let spec = MetricsProviderSpec { r#type: Some(source(given.kind, given.options)?) };
        Ok(MetricsProvider { metadata: Some(metadata), spec: Some(spec) })
    }

    /// # Errors
    /// If an option is given that the provider's type does not know.
    fn change(&mut self, change: &ProviderChange) -> Result<Vec<&'static str>, Failure> {
        let metrics = change.options.metrics().map_err(Failure::Usage)?;
        let of_static = !metrics.is_empty() || change.remove_existing_metrics;
        let mut fields = Fields::default();
        let Some(source) = self.spec.as_mut().and_then(|spec| spec.r#type.as_mut()) else {
            return Err(Failure::input("the provider is of a type that this rok does not know"));
        };
        let kind = match source {
            Type::Prometheus(_) => ProviderType::Prometheus,
            Type::Static(_) => ProviderType::Static,
            Type::Kafka(_) => ProviderType::Kafka,
            Type::Influx(_) => ProviderType::Influx,
        };
        let mut given = Given { kind, texts: texts(change.options.clone()), missing: Vec::new() };
        let mut text = |option, path, field: &mut String| fields.set(path, field, given.take_given(option));
        match source {
            Type::Prometheus(prometheus) => text("--url", "spec.prometheus.url", &mut prometheus.url),
            Type::Static(fixed) => {
                fields.put(
                    "spec.static.metrics",
                    &mut fixed.metrics,
                    metrics,
                    change.remove_existing_metrics,
                );
            }
            Type::Kafka(kafka) => {
                text("--url", "spec.kafka.url", &mut kafka.url);
                text("--table", "spec.kafka.table", &mut kafka.table);
                text("--comparison-column", "spec.kafka.comparison_column", &mut kafka.comparison_column);
                text("--value-column", "spec.kafka.value_column", &mut kafka.value_column);
            }
            Type::Influx(influx) => {
                text("--url", "spec.influx.url", &mut influx.url);
                text("--token", "spec.influx.token", &mut influx.token);
                text("--org", "spec.influx.org", &mut influx.org);
                text("--bucket", "spec.influx.bucket", &mut influx.bucket);
            }
        }
        given.finish(of_static && kind != ProviderType::Static)?;
        Ok(fields.paths())
    }
}

impl Progress for MetricsProvider {}

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
        self.take_given(option).unwrap_or_else(|| {
            self.missing.push(option);
            String::new()
        })
    }

    fn take_given(&mut self, option: &'static str) -> Option<String> {
        let index = self.texts.iter().position(|(name, _)| *name == option)?;
        Some(self.texts.swap_remove(index).1)
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
        Err(Failure::Usage(format!("type {kind} knows no {}", foreign.join(", "))))
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
        assert_eq!(error(ProviderType::Prometheus, bucket), "type prometheus knows no --bucket");
    }

    fn provider(source: Type) -> MetricsProvider {
        MetricsProvider { metadata: None, spec: Some(MetricsProviderSpec { r#type: Some(source) }) }
    }

    #[test]
    fn an_update_sets_single_values_of_a_static_provider() {
        let old = [("heat".to_owned(), 1.0), ("cost".to_owned(), 2.0)];
        let mut fixed = provider(Type::Static(StaticProvider { metrics: old.into() }));
        let options =
            ProviderOptions { metric_pairs: vec!["cost".into(), "3".into()], ..ProviderOptions::default() };
        let mut change = ProviderChange { options, ..ProviderChange::default() };
        assert_eq!(fixed.change(&change).unwrap(), ["spec.static.metrics"]);
        let metrics = |provider: &MetricsProvider| match provider.spec.clone().unwrap().r#type {
            Some(Type::Static(fixed)) => fixed.metrics.into_iter().collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(metrics(&fixed), [("cost".to_owned(), 3.0), ("heat".to_owned(), 1.0)]);
        change.remove_existing_metrics = true;
        fixed.change(&change).unwrap();
        assert_eq!(metrics(&fixed), [("cost".to_owned(), 3.0)]);
    }

    #[test]
    fn an_update_knows_the_options_of_the_providers_type() {
        let mut prometheus = provider(Type::Prometheus(PrometheusProvider { url: "http://p".into() }));
        let change = |options| ProviderChange { options, ..ProviderChange::default() };
        assert_eq!(prometheus.change(&change(url("http://q"))).unwrap(), ["spec.prometheus.url"]);
        assert_eq!(prometheus, provider(Type::Prometheus(PrometheusProvider { url: "http://q".into() })));
        let bucket = ProviderOptions { bucket: Some("b".into()), ..ProviderOptions::default() };
        let error = prometheus.change(&change(bucket)).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.exit_code()), ("type prometheus knows no --bucket", 2));
        let removal = ProviderChange { remove_existing_metrics: true, ..ProviderChange::default() };
        assert!(prometheus.change(&removal).is_err());
    }
}
