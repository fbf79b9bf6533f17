//! A real etcd server with one member.

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::binaries::Binaries;
use crate::process::{Process, Program};
use crate::wait::HANG_GUARD;
use crate::{folder, http, ports};

/// A running etcd. Killed and restarted through `process` it comes back with its data.
#[derive(Debug)]
pub struct Etcd {
    /// The server itself.
    pub process: Process,
    endpoint: String,
    client: reqwest::Client,
    _folder: TempDir,
}

impl Etcd {
    /// Starts an empty one.
    pub async fn start(binaries: &Binaries) -> Result<Self> {
        Self::start_as(binaries, "etcd").await
    }

    /// Starts an empty one of another version, by the name of its executable.
    pub async fn start_as(binaries: &Binaries, executable: &str) -> Result<Self> {
        ports::retry_on_clash(async || Self::start_once(binaries, executable).await).await
    }

    async fn start_once(binaries: &Binaries, executable: &str) -> Result<Self> {
        let folder = folder::create("etcd")?;
        let [for_clients, for_peers] = ports::free()?.map(|port| format!("http://127.0.0.1:{port}"));
        let process = Program::new("etcd", &binaries.path(executable)?, folder.path())
            .args(["--name", "only", "--data-dir", "data", "--logger", "zap"])
            .args(["--listen-client-urls", &for_clients, "--advertise-client-urls", &for_clients])
            .args(["--listen-peer-urls", &for_peers, "--initial-advertise-peer-urls", &for_peers])
            .args(["--initial-cluster", &format!("only={for_peers}")])
            .start()?;
        let mut etcd = Self { process, endpoint: for_clients, client: http::client()?, _folder: folder };
        etcd.ready().await?;
        Ok(etcd)
    }

    /// Waits until it serves, after [`Process::restart`].
    pub async fn ready(&mut self) -> Result<()> {
        let Self { process, client, endpoint, .. } = self;
        let healthy = async || {
            let Ok(answer) = client.get(format!("{endpoint}/health")).send().await else { return false };
            answer.json::<Value>().await.is_ok_and(|health| health["health"] == "true")
        };
        process.ready(HANG_GUARD, healthy).await
    }

    /// The version of the server, such as 3.4.23.
    pub async fn version(&self) -> Result<String> {
        let answer =
            self.client.get(format!("{}/version", self.endpoint)).send().await.context("calling etcd")?;
        let answer: Value = answer.error_for_status()?.json().await.context("etcd's answer is JSON")?;
        Ok(answer["etcdserver"].as_str().context("etcd has a version")?.to_owned())
    }

    /// Where clients connect: `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Writes a key behind Krake's back.
    pub async fn put(&self, key: &str, value: &[u8]) -> Result<()> {
        self.call("put", json!({"key": BASE64.encode(key), "value": BASE64.encode(value)})).await.map(drop)
    }

    /// The value of a key, if it has one.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let answer = self.call("range", json!({"key": BASE64.encode(key)})).await?;
        let value = answer["kvs"][0]["value"].as_str();
        value.map(|value| BASE64.decode(value).context("etcd's value is base64")).transpose()
    }

    /// The keys that begin with `prefix`.
    pub async fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        let mut end = prefix.as_bytes().to_vec();
        *end.last_mut().context("a prefix is not empty")? += 1;
        let range = json!({"key": BASE64.encode(prefix), "range_end": BASE64.encode(end), "keys_only": true});
        let answer = self.call("range", range).await?;
        let entries = answer["kvs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let key =
            |entry: &Value| Ok(String::from_utf8(BASE64.decode(entry["key"].as_str().unwrap_or_default())?)?);
        entries.iter().map(key).collect()
    }

    /// etcd's JSON form of its key-value service.
    async fn call(&self, method: &str, request: Value) -> Result<Value> {
        let url = format!("{}/v3/kv/{method}", self.endpoint);
        let answer = self.client.post(url).json(&request).send().await.context("calling etcd")?;
        answer.error_for_status()?.json().await.context("etcd's answer is JSON")
    }
}
