//! The two servers: one simulated, one real.

use anyhow::Result;
use krake_integration::binaries::{Component, require};
use krake_integration::etcd::Etcd;
use krake_integration::kubernetes::Kubernetes;
use krake_integration::simulator::Simulator;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// What a cluster of either kind can be asked for, and be done to.
pub(crate) enum Cluster {
    Simulated(Simulator),
    Real { kubernetes: Box<Kubernetes>, _etcd: Etcd },
}

/// The simulated clusters, each of which starts empty.
pub(crate) const SIMULATED: [&str; 3] = ["raw", "whole", "faulty"];

impl Cluster {
    /// A process with simulated clusters.
    pub(crate) async fn simulated() -> Result<Self> {
        Ok(Self::Simulated(Simulator::start(&SIMULATED).await?))
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
            Self::Simulated(_) => None,
            Self::Real { kubernetes, .. } => Some(kubernetes.minor()),
        }
    }

    /// A kubeconfig with all rights; of the simulated clusters, that with this name.
    pub(crate) fn kubeconfig(&self, name: &str) -> Result<Value> {
        match self {
            Self::Simulated(simulator) => simulator.kubeconfig(name),
            Self::Real { kubernetes, .. } => Ok(kubernetes.kubeconfig()),
        }
    }

    /// Has the API server take requests without answering, or answer again.
    pub(crate) async fn hang(&mut self, name: &str, hang: bool) -> Result<()> {
        match self {
            Self::Simulated(simulator) => {
                let faults = if hang { json!({"down": "hang"}) } else { json!({}) };
                simulator.set_faults(name, &faults).await
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
