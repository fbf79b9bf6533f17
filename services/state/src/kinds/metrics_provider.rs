//! Rules for metrics providers.

use krake_proto::Resource;
use krake_proto::krake::core::v1::metrics_provider_spec::Type;
use krake_proto::krake::core::v1::{Metric, MetricsProvider, MetricsProviderSpec};
use url::Url;

use super::{KindRules, Relation, metric, typed};
use crate::admission::Findings;
use crate::cache::Stored;
use crate::object::wire::Malformed;

/// The rules.
pub(super) static RULES: KindRules = KindRules {
    users: &[Relation { of: Metric::KIND, holds: reads_from, has: "reads its values there (spec.provider)" }],
    ..KindRules::of(MetricsProvider::KIND, |_, spec, _, findings| typed(spec, findings, validate))
};

fn reads_from(metric: &Stored, provider: &Stored) -> Result<bool, Malformed> {
    let same_scope = metric.metadata.namespace == provider.metadata.namespace;
    Ok(same_scope && metric::provider(metric)?.as_deref() == Some(provider.metadata.name.as_str()))
}

/// Types of provider that are part of the contract and not built yet.
const LATER: &str = "this type of provider is not supported yet; use";

fn validate(spec: &MetricsProviderSpec, findings: &mut Findings) {
    match &spec.r#type {
        None => findings
            .add("spec.type", "is missing or unknown; known types are prometheus, static, kafka, influx"),
        Some(Type::Prometheus(provider)) => url("spec.prometheus.url", &provider.url, findings),
        Some(Type::Static(provider)) => {
            for (name, value) in &provider.metrics {
                if !value.is_finite() {
                    findings.add(format!("spec.static.metrics[{name:?}]"), "must be a finite number");
                }
            }
        }
        Some(Type::Kafka(_)) => findings.add("spec.kafka", format!("{LATER} prometheus or static")),
        Some(Type::Influx(_)) => findings.add("spec.influx", format!("{LATER} prometheus or static")),
    }
}

fn url(field: &str, text: &str, findings: &mut Findings) {
    if let Err(problem) = check_url(text) {
        findings.add(field, problem);
    }
}

/// Checks the base URL of a provider with the parser of the scheduler's HTTP client, so that every URL that is admitted
/// can be used. Errors do not quote the URL, since it may hold a password.
fn check_url(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("is not an http or https URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("is not an http or https URL".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        let text = "must not hold a user or password, which every reader of this resource would see; credentials are \
                    not supported yet, use a proxy that adds them";
        return Err(text.to_owned());
    }
    if url.host_str().is_none_or(|host| host.trim_matches('.').is_empty()) {
        return Err("names no host".to_owned());
    }
    if url.port() == Some(0) {
        return Err("port 0 cannot be connected to".to_owned());
    }
    if url.fragment().is_some() {
        return Err("must not have a fragment (#…), which is never sent".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("http://prometheus:9090", None)]
    #[case::path_and_query("https://p.example/base/?tenant=a", None)]
    #[case::address("http://[::1]:1", None)]
    #[case::at_sign_in_the_path("http://h/a@b", None)]
    #[case::port_out_of_range("http://h:99999", Some("port"))]
    #[case::port_zero("http://h:0/", Some("port 0"))]
    #[case::no_number("http://h:x", Some("port"))]
    #[case::password("http://user:s3cret@h/", Some("must not hold a user"))]
    #[case::user("http://user@h/", Some("must not hold a user"))]
    #[case::no_host("http://", Some("host"))]
    #[case::dot("http://.", Some("names no host"))]
    #[case::dots("http://../", Some("names no host"))]
    #[case::bad_address("http://1.2.3.400/", Some("address"))]
    #[case::space("http://a b/", Some("domain"))]
    #[case::scheme("ftp://h/", Some("not an http"))]
    #[case::no_scheme("prometheus:9090", Some("not an http"))]
    #[case::relative("prometheus", Some("not an http"))]
    #[case::fragment("http://h/#a", Some("fragment"))]
    #[case::empty("", Some("not an http"))]
    fn urls(#[case] text: &str, #[case] refusal: Option<&str>) {
        match (check_url(text), refusal) {
            (Ok(()), None) => {}
            (Err(problem), Some(part)) => {
                assert!(problem.contains(part) && !problem.contains("s3cret"), "{text}: {problem}");
            }
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// `reqwest::Url` is this type, so that what parses is what the scheduler connects to.
        #[test]
        fn what_is_admitted_can_be_used(
            scheme in "(http|https|HTTP|ftp|file|)", separator in "(://|:/|:|)", user in "([a-z]{0,2}:?[a-z]{0,2}@)?",
            host in "[a-z0-9.%\\[\\]: ^-]{0,12}", port in "(:[0-9]{0,6})?", rest in "[/?#@a-z:]{0,6}",
        ) {
            let text = format!("{scheme}{separator}{user}{host}{port}{rest}");
            if check_url(&text).is_ok() {
                let url = Url::parse(&text).unwrap();
                prop_assert!(url.has_host() && url.host_str().is_some_and(|host| !host.is_empty()), "{}", text);
                prop_assert!(url.port_or_known_default().is_some_and(|port| port > 0), "{}", text);
                prop_assert!(url.username().is_empty() && url.password().is_none(), "{}", text);
                prop_assert!(!url.cannot_be_a_base() && url.join("api/v1/query").is_ok(), "{}", text);
            }
        }
    }
}
