//! Simulated clusters in a process of their own, and their faults.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::krake::{Krake, Ready};
use crate::kubernetes_api::KubernetesApi;
use crate::{folder, http, ports};

/// A process with simulated clusters, each of which starts empty.
#[derive(Debug)]
pub struct Simulator {
    client: reqwest::Client,
    base: String,
    authority: Vec<u8>,
    _process: Krake,
    folder: TempDir,
}

impl Simulator {
    /// Starts clusters with these names, whose pods take half a second to become ready.
    pub async fn start(names: &[&str]) -> Result<Self> {
        let folder = folder::create("cluster-sim")?;
        let start = async || {
            let [port, admin] = ports::free()?;
            let (listen, admin_listen) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{admin}"));
            let configs = folder.path().to_str().context("a path in Unicode")?;
            let names = names.join(",");
            let args = ["--listen", &listen, "--admin-listen", &admin_listen, "--clusters", &names];
            let more = ["--kubeconfig-dir", configs, "--ready-after", "0.5"];
            let ready = Ready::Http(format!("http://{admin_listen}/readyz"));
            let process = Krake::spawn("krake-cluster-sim", &[&args[..], &more].concat(), ready).await?;
            Ok((process, format!("https://{listen}")))
        };
        let (process, base) = ports::retry_on_clash(start).await?;
        let authority = std::fs::read(folder.path().join("ca.crt")).context("the simulator's authority")?;
        let client = http::client_trusting(&authority)?;
        Ok(Self { client, base, authority, _process: process, folder })
    }

    /// The file with the kubeconfig of a cluster.
    pub fn kubeconfig_file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.yaml"))
    }

    /// The kubeconfig of a cluster.
    pub fn kubeconfig(&self, name: &str) -> Result<Value> {
        read_json(&self.kubeconfig_file(name))
    }

    /// A client of a cluster with all rights.
    pub fn api(&self, name: &str) -> Result<KubernetesApi> {
        let config = self.kubeconfig(name)?;
        let token = config["users"][0]["user"]["token"].as_str().context("a token in the kubeconfig")?;
        KubernetesApi::new(&format!("{}/clusters/{name}", self.base), &self.authority, token)
    }

    /// The faults in force of a cluster.
    pub async fn faults(&self, name: &str) -> Result<Value> {
        let answer = self.client.get(self.faults_of(name)).send().await?.error_for_status()?;
        Ok(serde_json::from_str(&answer.text().await?)?)
    }

    /// Replaces the faults of a cluster.
    pub async fn set_faults(&self, name: &str, faults: &Value) -> Result<()> {
        let request = self.client.put(self.faults_of(name)).body(faults.to_string());
        request.send().await?.error_for_status()?;
        Ok(())
    }

    fn faults_of(&self, name: &str) -> String {
        format!("{}/clusters/{name}/faults", self.base)
    }
}

fn read_json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}
