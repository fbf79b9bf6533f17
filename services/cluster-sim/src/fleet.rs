//! Any number of simulated clusters behind one listener.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use krake_runtime::shutdown::Shutdown;
use serde_json::json;
use tokio::net::TcpListener;

use crate::agenda::Agenda;
use crate::cluster::Cluster;
use crate::http;
use crate::tls::Tls;

/// What the clusters of a fleet are like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where clients reach the listener, without a slash at the end: `https://127.0.0.1:PORT`. Goes into kubeconfigs.
    pub base_url: String,
    /// The certificate to serve. Without it the base URL begins with `http://`, which kubectl sends no token by.
    pub tls: Option<Tls>,
    /// Nodes of each cluster.
    pub nodes: usize,
    /// Time that pods take to become ready.
    pub ready_after: Duration,
}

impl Options {
    /// One node, pods ready after a second, no TLS.
    pub fn new(base_url: impl Into<String>) -> Self {
        Self { base_url: base_url.into(), tls: None, nodes: 1, ready_after: Duration::from_secs(1) }
    }
}

/// A cluster cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// There is one of this name.
    #[error("there is a cluster named {0} already")]
    Exists(String),
    /// The name does not fit into a path.
    #[error("a cluster's name has lower case letters, digits and dashes, which `{0}` has not")]
    Name(String),
}

/// Simulated clusters. They live in memory: with the last handle everything on them is gone. Clones are of the same fleet.
#[derive(Clone, Debug)]
pub struct Fleet {
    options: Arc<Options>,
    clusters: Arc<RwLock<BTreeMap<String, Cluster>>>,
    agenda: Arc<Agenda>,
}

impl Fleet {
    /// A fleet without clusters.
    pub fn new(options: Options) -> Self {
        Self { options: Arc::new(options), clusters: Arc::default(), agenda: Arc::default() }
    }

    /// Adds a cluster, at `<base_url>/clusters/<name>`. A cluster of the same name has the same credentials in every
    /// fleet, so that kubeconfigs outlive a restart; they protect nothing.
    ///
    /// # Errors
    /// When the name is taken or does not fit.
    pub fn add(&self, name: &str) -> Result<Cluster, AddError> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 63 || !name.chars().all(fits) {
            return Err(AddError::Name(name.to_owned()));
        }
        let mut clusters = self.clusters.write().unwrap_or_else(PoisonError::into_inner);
        if clusters.contains_key(name) {
            return Err(AddError::Exists(name.to_owned()));
        }
        let Options { nodes, ready_after, .. } = *self.options;
        let cluster = Cluster::new(name, &format!("simulated-{name}"), nodes, ready_after, &self.agenda);
        clusters.insert(name.to_owned(), cluster.clone());
        Ok(cluster)
    }

    /// The cluster of this name.
    pub fn cluster(&self, name: &str) -> Option<Cluster> {
        self.clusters.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The names of all clusters, in order.
    pub fn names(&self) -> Vec<String> {
        self.clusters.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// The kubeconfig (JSON, which is YAML too) with all rights on a cluster, if there is one of this name.
    pub fn kubeconfig(&self, name: &str) -> Option<String> {
        let cluster = self.cluster(name)?;
        let server = format!("{}/clusters/{name}", self.options.base_url);
        let mut access = json!({"server": server});
        if let Some(tls) = &self.options.tls {
            access["certificate-authority-data"] = json!(BASE64.encode(tls.authority()));
        }
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": access}],
            "users": [{"name": name, "user": {"token": cluster.token()}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        });
        Some(config.to_string())
    }

    /// Serves all clusters, those that are added later too, and runs their workloads, until shutdown is requested. No
    /// connection outlives this call.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(&self, listener: TcpListener, shutdown: Shutdown) -> io::Result<()> {
        let run_workloads = async {
            loop {
                let name = self.agenda.next().await;
                if let Some(cluster) = self.cluster(&name) {
                    cluster.work();
                }
            }
        };
        tokio::select! {
            result = http::serve(self.clone(), listener, self.options.tls.clone(), shutdown) => result,
            () = run_workloads => Ok(()),
        }
    }
}
