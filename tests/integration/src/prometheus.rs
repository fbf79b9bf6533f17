//! A real Prometheus server that scrapes what the test serves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::binaries::Binaries;
use crate::process::{Process, Program};
use crate::wait::{self, HANG_GUARD};
use crate::{folder, http, ports};

/// A running Prometheus with a scrape interval of one second.
#[derive(Debug)]
pub struct Prometheus {
    /// The server itself.
    pub process: Process,
    url: String,
    client: reqwest::Client,
    _folder: TempDir,
}

/// One series of an answer: its labels (`__name__` included) and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Label names and values.
    pub labels: BTreeMap<String, String>,
    /// The value at the time of the question.
    pub value: f64,
}

impl Prometheus {
    /// Starts one that scrapes `/metrics` of `targets`. The first values are there some
    /// seconds later: see [`Prometheus::wait_for`].
    pub async fn start(binaries: &Binaries, targets: &[SocketAddr]) -> Result<Self> {
        ports::retry_on_clash(async || Self::start_once(binaries, targets).await).await
    }

    async fn start_once(binaries: &Binaries, targets: &[SocketAddr]) -> Result<Self> {
        let folder = folder::create("prometheus")?;
        let [port] = ports::free()?;
        // JSON is YAML too.
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [{"job_name": "test", "static_configs": [{"targets": targets}]}],
        });
        std::fs::write(folder.path().join("prometheus.yml"), config.to_string())?;
        let process = Program::new("prometheus", &binaries.path("prometheus")?, folder.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            // Targets are scraped from the next reload on; the default is five seconds.
            .args(["--scrape.discovery-reload-interval=100ms"])
            .args([format!("--web.listen-address=127.0.0.1:{port}")])
            .start()?;
        let url = format!("http://127.0.0.1:{port}");
        let mut prometheus = Self { process, url, client: http::client()?, _folder: folder };
        prometheus.ready().await?;
        Ok(prometheus)
    }

    /// Waits until it serves, after [`Process::restart`].
    pub async fn ready(&mut self) -> Result<()> {
        let Self { process, client, url, .. } = self;
        let ready = async || {
            let answer = client.get(format!("{url}/-/ready")).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        };
        process.ready(HANG_GUARD, ready).await
    }

    /// Its address: `http://127.0.0.1:<port>`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The series that a PromQL expression gives now.
    pub async fn query(&self, expression: &str) -> Result<Vec<Sample>> {
        let request = self.client.get(format!("{}/api/v1/query", self.url)).query(&[("query", expression)]);
        let answer: Value = request.send().await.context("calling Prometheus")?.json().await?;
        if answer["status"] != "success" {
            bail!("Prometheus refuses {expression}: {}", answer["error"]);
        }
        let series = answer["data"]["result"].as_array().context("the expression gives no series")?;
        series.iter().map(sample).collect()
    }

    /// Waits until the expression's first series has this value, as it does some seconds after a change.
    pub async fn wait_for(&self, expression: &str, value: f64, deadline: Duration) -> Result<()> {
        let what = format!("{expression} to be {value} in Prometheus");
        let look = async || {
            let samples = self.query(expression).await.ok()?;
            samples.first().is_some_and(|sample| sample.value == value).then_some(())
        };
        wait::until(&what, deadline, look).await
    }
}

fn sample(series: &Value) -> Result<Sample> {
    let labels = series["metric"].as_object().context("a series has labels")?;
    let label =
        |(name, value): (&String, &Value)| (name.clone(), value.as_str().unwrap_or_default().to_owned());
    let value = series["value"][1].as_str().context("a series has a value")?;
    Ok(Sample {
        labels: labels.iter().map(label).collect(),
        value: value.parse().context("a value is a number")?,
    })
}
