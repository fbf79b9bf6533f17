//! The connection to one cluster: a client with deadlines, made from a stored kubeconfig.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, DynamicObject};
use serde_json::Value;

use crate::cluster::address::AddressPolicy;
use crate::cluster::bounded::bounded;
use crate::cluster::bounded::status::NOT_KUBERNETES;
use crate::cluster::connect;
use crate::cluster::discovery::ResolvedKind;
use crate::cluster::identity;
use crate::cluster::kubeconfig::{self, KubeconfigError, Parts};
use crate::error::ClusterError;

/// How long a cluster may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// TCP and TLS set-up.
    pub connect: Duration,
    /// One request, from sending it to the end of its answer.
    pub request: Duration,
    /// After this the server ends a watch, and it is taken up again.
    pub watch: Duration,
    /// A connection on which nothing came for this long is given up; more than `watch`.
    pub silence: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Duration::from_secs(15),
            watch: Duration::from_secs(120),
            silence: Duration::from_secs(135),
        }
    }
}

/// A usable client of one cluster. Does not connect before it is used, and holds credentials: it prints none of them.
#[derive(Clone)]
pub struct Connection {
    client: Client,
    default_namespace: String,
    host: String,
    ca_sha256: String,
    deadlines: Deadlines,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("host", &self.host).finish_non_exhaustive()
    }
}

/// What a server says of an object.
#[derive(Debug)]
pub enum LookUp {
    /// It is there.
    Found(Box<DynamicObject>),
    /// It is not there.
    NoSuchObject,
    /// Its kind is not served in this version: the object may be there all the same.
    NoSuchKind,
    /// Either of the two. Of a built-in group that is still served, Kubernetes answers for a withdrawn version as for an
    /// object, without naming one; other servers may name none in any case.
    NoSuchObjectOrKind,
}

impl Connection {
    /// Opens a stored kubeconfig, to connect to addresses that `policy` allows. Must be called inside a Tokio
    /// runtime.
    pub fn open(
        kubeconfig: &Value,
        deadlines: Deadlines,
        policy: &AddressPolicy,
    ) -> Result<Self, KubeconfigError> {
        let Parts { mut config, identity: client_identity, authorities } = kubeconfig::read(kubeconfig)?;
        config.connect_timeout = Some(deadlines.connect);
        config.read_timeout = Some(deadlines.silence);
        config.reset_reader_on_write = true;
        config.write_timeout = Some(deadlines.request);
        // Repetition is the planner's business, not the transport's.
        config.default_retry = false;
        // A proxy of the adapter's own environment is no part of the stored kubeconfig.
        config.proxy_url = None;
        let host = config.cluster_url.host().unwrap_or_default().to_owned();
        let default_namespace = config.default_namespace.clone();
        let client = connect::client(&config, client_identity.as_ref(), policy)?;
        let connection = Self::over(client, &default_namespace, &host, deadlines);
        Ok(Self {
            ca_sha256: authorities.as_deref().map(identity::ca_sha256).unwrap_or_default(),
            ..connection
        })
    }

    /// A connection over a ready-made client: another transport, or a server in the same process. Its answers are
    /// bounded. Must be called inside a Tokio runtime.
    /// `host` is the address by which node ports are reached.
    pub fn over(client: Client, default_namespace: &str, host: &str, deadlines: Deadlines) -> Self {
        let default_namespace = if default_namespace.is_empty() { "default" } else { default_namespace };
        let client = bounded(client, deadlines);
        Self {
            client,
            default_namespace: default_namespace.to_owned(),
            host: host.to_owned(),
            ca_sha256: String::new(),
            deadlines,
        }
    }

    /// Namespace of objects that name none: that of the kubeconfig's context, else `default`.
    pub fn default_namespace(&self) -> &str {
        &self.default_namespace
    }

    /// Host name or address of the API server, in brackets where it is an IPv6 address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// SHA-256 of the certificate authorities of the kubeconfig; empty if it has none.
    pub fn ca_sha256(&self) -> &str {
        &self.ca_sha256
    }

    /// The deadlines in force.
    pub fn deadlines(&self) -> Deadlines {
        self.deadlines
    }

    /// The client; requests through it go through [`Connection::call`], except watches.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Access to the objects of a kind, in one namespace or (absent) in all, or cluster-scoped.
    pub fn objects(&self, kind: &ResolvedKind, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) if kind.namespaced => {
                Api::namespaced_with(self.client.clone(), namespace, &kind.resource)
            }
            _ => Api::all_with(self.client.clone(), &kind.resource),
        }
    }

    /// The object of this name, or why there is none. (`Api::get_opt` takes only a `Status` object for "there is none"; of a
    /// kind that it does not serve, a server says so in plain text.)
    pub async fn look_up(&self, objects: &Api<DynamicObject>, name: &str) -> Result<LookUp, ClusterError> {
        match self.call(objects.get(name)).await {
            Ok(object) => Ok(LookUp::Found(Box::new(object))),
            Err(ClusterError::NotFound(status)) if status.reason == NOT_KUBERNETES => Ok(LookUp::NoSuchKind),
            Err(ClusterError::NotFound(status)) if !status.names_object => Ok(LookUp::NoSuchObjectOrKind),
            Err(ClusterError::NotFound(_)) => Ok(LookUp::NoSuchObject),
            Err(error) => Err(error),
        }
    }

    /// The object of this name, or nothing where there is none, or no such kind.
    pub async fn find(
        &self,
        objects: &Api<DynamicObject>,
        name: &str,
    ) -> Result<Option<DynamicObject>, ClusterError> {
        Ok(match self.look_up(objects, name).await? {
            LookUp::Found(object) => Some(*object),
            LookUp::NoSuchObject | LookUp::NoSuchKind | LookUp::NoSuchObjectOrKind => None,
        })
    }

    /// Waits for one request, at most its deadline.
    pub async fn call<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, ClusterError> {
        match tokio::time::timeout(self.deadlines.request, request).await {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                let seconds = self.deadlines.request.as_secs_f32();
                Err(ClusterError::Unreachable(format!("no answer within {seconds} s")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kubeconfig(namespace: &str) -> Value {
        json!({
            "clusters": [{"name": "c", "cluster": {"server": "https://[2001:db8::1]:6443"}}],
            "users": [{"name": "u", "user": {"token": "s3cret"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": namespace}}]
        })
    }

    #[tokio::test]
    async fn namespace_and_host_come_from_the_only_context() {
        let connection =
            Connection::open(&kubeconfig("demo"), Deadlines::default(), &AddressPolicy::default()).unwrap();
        assert_eq!((connection.default_namespace(), connection.host()), ("demo", "[2001:db8::1]"));
        let unnamed =
            Connection::open(&kubeconfig(""), Deadlines::default(), &AddressPolicy::default()).unwrap();
        assert_eq!(unnamed.default_namespace(), "default");
    }

    #[tokio::test]
    async fn credentials_are_not_printed() {
        let connection =
            Connection::open(&kubeconfig("demo"), Deadlines::default(), &AddressPolicy::default()).unwrap();
        assert!(!format!("{connection:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn addresses_that_only_the_adapters_machine_reaches_are_refused() {
        for server in ["http://169.254.169.254", "https://127.0.0.1:6443", "http://192.0.2.7:6443"] {
            let mut document = kubeconfig("demo");
            document["clusters"][0]["cluster"]["server"] = json!(server);
            let error =
                Connection::open(&document, Deadlines::default(), &AddressPolicy::default()).unwrap_err();
            assert!(error.to_string().contains("--allow-cluster-address"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_broken_certificate_is_a_broken_kubeconfig() {
        let mut document = kubeconfig("demo");
        document["clusters"][0]["cluster"]["certificate-authority-data"] = json!("%%%");
        let error = Connection::open(&document, Deadlines::default(), &AddressPolicy::default()).unwrap_err();
        assert!(matches!(error, KubeconfigError::Refused(_)), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_at_its_deadline() {
        let connection =
            Connection::open(&kubeconfig("demo"), Deadlines::default(), &AddressPolicy::default()).unwrap();
        let error = connection.call(std::future::pending::<kube::Result<()>>()).await.unwrap_err();
        assert!(!error.answered(), "{error}");
    }
}
