//! The two servers: one simulated, one real.

use anyhow::{Context, Result};
use krake_integration::binaries::{Component, require};
use krake_integration::etcd::Etcd;
use krake_integration::krake::{Krake, Ready};
use krake_integration::kubernetes::Kubernetes;
use krake_integration::{folder, http, ports};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// What a cluster of either kind can be asked for, and be done to.
pub(crate) enum Cluster {
    Simulated { _process: Box<Krake>, folder: TempDir, base: String },
    Real { kubernetes: Box<Kubernetes>, _etcd: Etcd },
}

/// The simulated clusters, each of which starts empty.
pub(crate) const SIMULATED: [&str; 3] = ["raw", "whole", "faulty"];

impl Cluster {
    /// A process with simulated clusters.
    pub(crate) async fn simulated() -> Result<Self> {
        let folder = folder::create("cluster-sim")?;
        let start = async || {
            let [port, admin] = ports::free()?;
            let (listen, admin_listen) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{admin}"));
            let configs = folder.path().to_str().context("a path in Unicode")?;
            let names = SIMULATED.join(",");
            let args = ["--listen", &listen, "--admin-listen", &admin_listen, "--clusters", &names];
            let more = ["--kubeconfig-dir", configs, "--ready-after", "0.5"];
            let ready = Ready::Http(format!("http://{admin_listen}/readyz"));
            let process = Krake::spawn("krake-cluster-sim", &[&args[..], &more].concat(), ready).await?;
            Ok((process, format!("https://{listen}")))
        };
        let (process, base) = ports::retry_on_clash(start).await?;
        Ok(Self::Simulated { _process: Box::new(process), folder, base })
    }

    /// A real control plane with one hollow node; `None` where it cannot be had.
    pub(crate) async fn real(name: &str) -> Option<Result<Self>> {
        let binaries = require(&[Component::Etcd35, Component::Kubernetes])?;
        let start = async || {
            let etcd = Kubernetes::etcd(&binaries).await?;
            let kubernetes = Box::new(Kubernetes::start(&binaries, &etcd, name, 1).await?);
            Ok(Self::Real { kubernetes, _etcd: etcd })
        };
        Some(start().await)
    }

    /// Minor version of a real server: 35 is Kubernetes 1.35.
    pub(crate) fn minor(&self) -> Option<u32> {
        match self {
            Self::Simulated { .. } => None,
            Self::Real { kubernetes, .. } => Some(kubernetes.minor()),
        }
    }

    /// A kubeconfig with all rights; of the simulated clusters, that with this name.
    pub(crate) fn kubeconfig(&self, name: &str) -> Result<Value> {
        match self {
            Self::Simulated { folder, .. } => Ok(serde_json::from_str(&std::fs::read_to_string(
                folder.path().join(format!("{name}.yaml")),
            )?)?),
            Self::Real { kubernetes, .. } => Ok(kubernetes.kubeconfig()),
        }
    }

    /// Has the API server take requests without answering, or answer again.
    pub(crate) async fn hang(&mut self, name: &str, hang: bool) -> Result<()> {
        match self {
            Self::Simulated { base, folder, .. } => {
                let faults = if hang { json!({"down": "hang"}) } else { json!({}) };
                set_faults(&simulator(folder)?, base, name, &faults).await
            }
            Self::Real { kubernetes, .. } if hang => kubernetes.api_server.pause(),
            Self::Real { kubernetes, .. } => kubernetes.api_server.resume(),
        }
    }
}

/// Both, shared by the tests of this process: the real one is absent where it cannot be had.
pub(crate) struct Columns {
    pub(crate) simulator: Cluster,
    pub(crate) real: Option<Cluster>,
}

/// Both columns, and the turn to use them: one test makes a server hang, which is no other test's business.
pub(crate) async fn columns() -> MutexGuard<'static, Columns> {
    static COLUMNS: OnceCell<Mutex<Columns>> = OnceCell::const_new();
    let start = async || {
        let (simulator, real) = tokio::join!(Cluster::simulated(), Cluster::real("real"));
        Mutex::new(Columns { simulator: simulator.unwrap(), real: real.map(Result::unwrap) })
    };
    COLUMNS.get_or_init(start).await.lock().await
}

/// A client of the simulator that wrote its authority into this folder.
pub(crate) fn simulator(folder: &TempDir) -> Result<reqwest::Client> {
    http::client_trusting(&std::fs::read(folder.path().join("ca.crt"))?)
}

/// Gives a simulated cluster faults, or takes them away.
pub(crate) async fn set_faults(
    client: &reqwest::Client,
    base: &str,
    cluster: &str,
    faults: &Value,
) -> Result<()> {
    let url = format!("{base}/clusters/{cluster}/faults");
    client.put(url).body(faults.to_string()).send().await?.error_for_status()?;
    Ok(())
}
