//! A state service on a port of its own, with the SDK connected to it.

use std::sync::Arc;
use std::time::SystemTime;

use krake_client::{Client, ConnectOptions};
use krake_proto::krake::core::v1::{Metric, MetricSource, MetricSpec, Role, RoleRule, RoleSpec, Verb};
use krake_proto::krake::kubernetes::v1::{Application, ApplicationSpec, Cluster, ClusterSpec, Manifest};
use krake_proto::krake::meta::v1::{Document, Metadata, OwnerReference, document::Content};
use krake_proto::{Kind, Resource};
use krake_runtime::metrics::Metrics;
use krake_runtime::serve::ServeOptions;
use krake_runtime::shutdown::Shutdown;
use krake_state::store::Store;
use krake_state::{Authentication, Callers, Clock};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::PATIENCE;

/// A running service; it ends when this is dropped.
pub(crate) struct Server {
    pub(crate) client: Client,
    pub(crate) url: String,
    pub(crate) metrics: Metrics,
    shutdown: Shutdown,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Server {
    /// Serves `store` to anonymous callers.
    pub(crate) async fn start(store: Arc<dyn Store>) -> Self {
        Self::start_for(store, Authentication { allow_anonymous: true, static_user: None }).await
    }

    /// The same, at a time of the test's own.
    pub(crate) async fn start_at(clock: Clock, store: Arc<dyn Store>) -> Self {
        Self::start_with(clock, store, Authentication { allow_anonymous: true, static_user: None }).await
    }

    /// Serves `store` to whom `callers` lets in.
    pub(crate) async fn start_for(store: Arc<dyn Store>, callers: impl Into<Callers>) -> Self {
        Self::start_with(Arc::new(SystemTime::now), store, callers).await
    }

    async fn start_with(clock: Clock, store: Arc<dyn Store>, callers: impl Into<Callers>) -> Self {
        Self::start_by(clock, store, callers, ServeOptions::default()).await
    }

    /// Serves `store` to whom `callers` lets in, as `options` say.
    pub(crate) async fn start_by(
        clock: Clock,
        store: Arc<dyn Store>,
        callers: impl Into<Callers>,
        options: ServeOptions,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (shutdown, metrics) = (Shutdown::new(), Metrics::new());
        let serving = tokio::spawn(krake_state::serve_at(
            clock,
            listener,
            store,
            callers.into(),
            ServeOptions { metrics: metrics.clone(), ..options },
            || {},
            shutdown.clone(),
        ));
        let client = Client::new(&ConnectOptions::new(&url)).unwrap();
        Server { client, url, metrics, shutdown, serving }
    }

    /// Waits until the service ends by itself, with an error, and tells it.
    pub(crate) async fn failed(mut self) -> String {
        let ended = timeout(PATIENCE, &mut self.serving).await.expect("the service ends").unwrap();
        format!("{:#}", ended.unwrap_err())
    }

    /// Ends the service, and all connections with it.
    pub(crate) async fn stop(&mut self) {
        self.shutdown.request();
        (&mut self.serving).await.unwrap().unwrap();
    }

    /// A client with a connection of its own, which an unread watch stops without stopping others.
    pub(crate) fn connect(&self) -> Client {
        Client::new(&ConnectOptions::new(&self.url)).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

pub(crate) fn named(namespace: &str, name: &str) -> Option<Metadata> {
    Some(Metadata { namespace: namespace.into(), name: name.into(), ..Default::default() })
}

/// A reference to an object as the owner of others, which go with it.
pub(crate) fn as_owner<K: Resource>(object: &K) -> OwnerReference {
    let reference = K::KIND.reference(object.metadata().unwrap());
    OwnerReference {
        api: reference.api,
        kind: reference.kind,
        namespace: reference.namespace,
        name: reference.name,
        uid: reference.uid,
        ..Default::default()
    }
}

pub(crate) fn document(value: serde_json::Value) -> Option<Document> {
    Some(Document { content: Some(Content::Json(value.to_string())) })
}

pub(crate) fn application(name: &str) -> Application {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}});
    let manifest = vec![Manifest { document: document(pod), ..Default::default() }];
    Application {
        metadata: named("demo", name),
        spec: Some(ApplicationSpec { manifest, ..Default::default() }),
        status: None,
    }
}

pub(crate) fn cluster(name: &str) -> Cluster {
    let config = json!({
        "clusters": [{"name": "c", "cluster": {"server": "https://h:6443"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    });
    let spec = ClusterSpec { kubeconfig: document(config), ..Default::default() };
    Cluster { metadata: named("demo", name), spec: Some(spec), status: None }
}

pub(crate) fn metric(namespace: &str, name: &str, max: f64) -> Metric {
    let provider = Some(MetricSource { name: "prometheus".into(), metric: "heat".into() });
    let spec = MetricSpec { min: Some(0.0), max: Some(max), provider, ..Default::default() };
    Metric { metadata: named(namespace, name), spec: Some(spec) }
}

pub(crate) fn role(namespace: &str, name: &str, verbs: &[Verb]) -> Role {
    let rule = RoleRule {
        api: "kubernetes".into(),
        resources: vec!["applications".into()],
        namespaces: vec!["demo".into()],
        verbs: verbs.iter().map(|verb| (*verb).into()).collect(),
    };
    Role { metadata: named(namespace, name), spec: Some(RoleSpec { rules: vec![rule] }) }
}

/// The stored form of an encoded resource.
pub(crate) fn stored(kind: &Kind, message: &[u8]) -> Vec<u8> {
    let name = kind.message.as_bytes();
    [b"KRK\x01\x00", &[u8::try_from(name.len()).unwrap()][..], name, message].concat()
}
