//! Prometheus, or anything that answers its instant query API: any PromQL expression is a metric.

use std::collections::{BTreeMap, HashMap};
use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use krake_runtime::address::AddressPolicy;
use krake_runtime::dial::{DialError, Dialler};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{StatusCode, Url, redirect};
use serde::Deserialize;
use serde::de::IgnoredAny;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use super::{MetricError, MetricSource};

/// How many queries one provider answers at a time.
const CONCURRENCY: usize = 8;
/// The most bytes of an answer that are read.
const BODY_MAX: usize = 1 << 20;
/// The most characters of an error of the provider that are passed on.
const MESSAGE_MAX: usize = 200;
/// Maximum number of redirects that are followed: one to https, one to another path, and one to spare.
const MAX_REDIRECTS: usize = 3;
/// Maximum time until a connection is made. A provider that works makes it in much less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a URL cannot be that of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UrlError {
    /// It is not a URL.
    #[error("not a URL: {0}")]
    Malformed(String),
    /// It is a URL of another kind.
    #[error("must begin with http:// or https://, not \"{0}:\"")]
    Scheme(String),
    /// It is of an address that is not connected to.
    #[error(transparent)]
    Refused(#[from] DialError),
}

/// The HTTP client of all providers of this type. It judges every address that it dials, those of redirects included.
#[derive(Clone)]
pub struct PrometheusClient {
    http: reqwest::Client,
    dialler: Dialler,
}

impl PrometheusClient {
    /// A client that connects to addresses which the policy allows.
    ///
    /// # Errors
    /// The machine's certificates cannot be used.
    pub fn new(policy: AddressPolicy) -> Result<Self, reqwest::Error> {
        // TLS uses the provider of the whole process. One that was set before stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // State admits no provider with credentials in its URL.
        let dialler =
            Dialler { policy, clear: false, process: "scheduler", option: "--allow-metrics-address" };
        let http = reqwest::Client::builder()
            .user_agent(concat!("krake-scheduler/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .dns_resolver(Resolver(dialler.clone()))
            .no_proxy()
            .redirect(redirects(dialler.clone()))
            .build()?;
        Ok(Self { http, dialler })
    }
}

/// Follows redirects, a few of them, and none to an address that is not connected to.
fn redirects(dialler: Dialler) -> redirect::Policy {
    redirect::Policy::custom(move |attempt| {
        if attempt.previous().len() > MAX_REDIRECTS {
            return attempt.error(format!("more than {MAX_REDIRECTS} redirects"));
        }
        match dialler.check_host(attempt.url().host_str().unwrap_or_default()) {
            Ok(()) => attempt.follow(),
            Err(error) => attempt.error(error),
        }
    })
}

/// Resolves names to the addresses that may be connected to.
struct Resolver(Dialler);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let addresses = self.0.resolve(name.as_str().to_owned());
        Box::pin(async move { Ok(Box::new(addresses.await?) as Addrs) })
    }
}

/// A provider that answers `GET {url}/api/v1/query`.
#[derive(Clone)]
pub struct PrometheusSource {
    client: PrometheusClient,
    query: Url,
}

impl fmt::Debug for PrometheusSource {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrometheusSource").field("host", &self.query.host_str()).finish_non_exhaustive()
    }
}

impl PrometheusSource {
    /// A provider at a base URL, without `/api/v1`. Credentials in the URL are sent as basic authentication. The
    /// client is shared by all providers.
    ///
    /// # Errors
    /// The URL is none, not of HTTP, or of an address that is not connected to.
    pub fn new(client: PrometheusClient, url: &str) -> Result<Self, UrlError> {
        let mut query = Url::parse(url).map_err(|error| UrlError::Malformed(error.to_string()))?;
        if !matches!(query.scheme(), "http" | "https") {
            return Err(UrlError::Scheme(query.scheme().to_owned()));
        }
        client.dialler.check_host(query.host_str().unwrap_or_default())?;
        query.set_path(&format!("{}/api/v1/query", query.path().trim_end_matches('/')));
        query.set_fragment(None);
        Ok(Self { client, query })
    }

    async fn ask(&self, query: &str) -> Result<f64, MetricError> {
        let mut url = self.query.clone();
        url.query_pairs_mut().append_pair("query", query);
        let mut response = self.client.http.get(url).send().await.map_err(unreachable)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > BODY_MAX {
                return Err(MetricError::Invalid(format!(
                    "the answer to \"{query}\" is larger than {BODY_MAX} bytes: ask for less"
                )));
            }
            body.extend_from_slice(&chunk);
        }
        evaluate(query, response.status(), &body)
    }
}

#[async_trait]
impl MetricSource for PrometheusSource {
    async fn fetch(
        &self,
        queries: &[String],
        deadline: Instant,
    ) -> HashMap<String, Result<f64, MetricError>> {
        let ask = |query: String| async move {
            let answer = timeout_at(deadline, self.ask(&query)).await;
            (query, answer.unwrap_or_else(|_| Err(MetricError::Unreachable("no answer in time".to_owned()))))
        };
        futures::stream::iter(queries.to_vec()).map(ask).buffer_unordered(CONCURRENCY).collect().await
    }
}

/// The error with its causes, which say more than it does, and without the URL, which may hold a password.
fn unreachable(error: reqwest::Error) -> MetricError {
    let error = error.without_url();
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        message = format!("{message}: {next}");
        cause = next.source();
    }
    MetricError::Unreachable(message)
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Series>),
    Scalar(Sample),
    String(IgnoredAny),
    Matrix(IgnoredAny),
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    /// Missing in native histograms.
    value: Option<Sample>,
}

/// Time in seconds since 1970, and the value as text.
#[derive(Deserialize)]
struct Sample(IgnoredAny, String);

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// The value in an answer.
fn evaluate(query: &str, status: StatusCode, body: &[u8]) -> Result<f64, MetricError> {
    if !status.is_success() {
        let refusal =
            serde_json::from_slice::<Refusal>(body).map(|refusal| refusal.error).unwrap_or_default();
        let refusal: String = refusal.chars().take(MESSAGE_MAX).collect();
        return Err(match status {
            // How Prometheus answers expressions that it cannot parse or evaluate.
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY if !refusal.is_empty() => {
                MetricError::Invalid(format!("\"{query}\" was refused: {refusal}"))
            }
            _ if refusal.is_empty() => MetricError::Unreachable(format!("HTTP status {status}")),
            _ => MetricError::Unreachable(format!("HTTP status {status}: {refusal}")),
        });
    }
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| MetricError::Unreachable(format!("the answer is not one of Prometheus: {error}")))?;
    let sample = match answer.data {
        Data::Scalar(sample) => sample,
        Data::Vector(series) => pick(query, series)?,
        Data::String(_) => {
            return Err(MetricError::Invalid(format!("\"{query}\" gives a text, not a number")));
        }
        Data::Matrix(_) => {
            return Err(MetricError::Invalid(format!("\"{query}\" gives values over time, not one value")));
        }
    };
    // Without the value: texts that change with every reading would be written with every reading.
    let value: f64 = sample
        .1
        .parse()
        .map_err(|_| MetricError::Invalid(format!("the value of \"{query}\" is not a number")))?;
    match value.is_finite() {
        true => Ok(value),
        false => Err(MetricError::Invalid(format!("the value of \"{query}\" is not a finite number"))),
    }
}

/// The series that is named like the query; otherwise the first.
fn pick(query: &str, mut series: Vec<Series>) -> Result<Sample, MetricError> {
    if series.is_empty() {
        return Err(MetricError::Invalid(format!("the provider has no value for \"{query}\"")));
    }
    let named =
        series.iter().position(|series| series.metric.get("__name__").is_some_and(|name| name == query));
    series
        .swap_remove(named.unwrap_or(0))
        .value
        .ok_or_else(|| MetricError::Invalid(format!("\"{query}\" gives a histogram, not a number")))
}

#[cfg(test)]
mod tests;
