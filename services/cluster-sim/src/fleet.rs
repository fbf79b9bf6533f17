//! Any number of simulated clusters behind one listener.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
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
    /// fleet, and the same identity in every fleet at the same address, so that kubeconfigs outlive a restart; they
    /// protect nothing.
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
        let identity = identity(&self.options.base_url, name);
        let token = format!("simulated-{name}");
        let cluster = Cluster::new(name, &token, identity, nodes, ready_after, &self.agenda);
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

/// Uid of a cluster's namespace kube-system: the same after a restart at the same address.
fn identity(base_url: &str, name: &str) -> String {
    let half = |number: u8| {
        let mut hasher = DefaultHasher::new();
        (number, base_url, name).hash(&mut hasher);
        hasher.finish().to_be_bytes()
    };
    let bytes: Vec<u8> = [half(0), half(1)].concat();
    let bytes = bytes.try_into().unwrap_or_default();
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Faults;

    const KUBE_SYSTEM: &str = "/api/v1/namespaces/kube-system";

    fn uid(cluster: &Cluster) -> String {
        cluster.read(KUBE_SYSTEM).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_cluster_keeps_its_identity_over_a_restart_and_shares_it_with_none() {
        let cluster = |url: &str, name: &str| Fleet::new(Options::new(url)).add(name).unwrap();
        let north = uid(&cluster("http://127.0.0.1:1", "north"));
        assert_eq!(uid(&cluster("http://127.0.0.1:1", "north")), north);
        assert_ne!(uid(&cluster("http://127.0.0.1:1", "south")), north);
        assert_ne!(uid(&cluster("http://127.0.0.1:2", "north")), north);
    }

    #[test]
    fn another_cluster_can_be_at_the_address_for_a_while() {
        let cluster = Fleet::new(Options::new("http://127.0.0.1:1")).add("north").unwrap();
        let own = uid(&cluster);
        cluster.set_faults(Faults { identity: Some("other".to_owned()), ..Faults::default() });
        assert_eq!(uid(&cluster), "other");
        cluster.set_faults(Faults::default());
        assert_eq!(uid(&cluster), own);
    }
}
