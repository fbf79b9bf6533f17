//! Today's services over what an earlier version stored, and the clusters that its copies are on.

use std::sync::Arc;
use std::time::Duration;

use krake_client::{Client, ConnectOptions};
use krake_cluster_sim::{Cluster, Fleet, Options};
use krake_proto::Resource;
use krake_proto::json::document;
use krake_proto::krake::kubernetes::v1 as api;
use krake_proto::krake::kubernetes::v1::{
    Application, ApplicationSpec, BindApplicationRequest, Binding, Manifest,
};
use krake_proto::krake::meta::v1::Metadata;
use krake_runtime::controller::ControllerConfig;
use krake_runtime::leadership::ElectionConfig;
use krake_runtime::serve::ServeOptions;
use krake_runtime::shutdown::Shutdown;
use krake_state::Authentication;
use krake_state::backup::{restore, verify};
use krake_state::store::{MemoryStore, SqliteOptions, SqliteStore, Store};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::clusters::{self, BASE, Request, Requests};

/// Longest time that a test waits for something that must come: many times what a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(240);
/// Pods that take so long do not become ready.
const FOREVER: Duration = Duration::from_secs(24 * 3600);
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Which of the files that the earlier version wrote is used.
#[derive(Clone, Copy)]
pub(crate) enum Origin {
    SqliteFile,
    BackUp,
}

/// All of it.
pub(crate) struct World {
    pub(crate) client: Client,
    clusters: Vec<Cluster>,
    requests: Requests,
    shutdown: Shutdown,
    parts: JoinSet<anyhow::Result<()>>,
    _folder: TempDir,
}

impl World {
    pub(crate) async fn start(origin: Origin) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = TempDir::new().unwrap();
        let (shutdown, requests) = (Shutdown::new(), Requests::default());
        let mut parts = JoinSet::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let callers = Authentication { allow_anonymous: true, static_user: None };
        let (store, stop) = (store(origin, &folder).await, shutdown.clone());
        let on_ready = move || ready.send(()).unwrap_or_default();
        parts.spawn(krake_state::serve(listener, store, callers, ServeOptions::default(), on_ready, stop));
        is_ready.await.unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fleet = Fleet::new(Options { ready_after: Duration::from_millis(300), ..Options::new(BASE) });
        let clusters = ["north", "south"].map(|name| clusters::furnish(&fleet, name)).to_vec();
        // There the handover stays where it was.
        clusters[1].set_ready_after(FOREVER);
        let stop = shutdown.clone();
        parts.spawn(async move { Ok(fleet.serve(listener, stop).await?) });

        let controller = || {
            let mut config = ControllerConfig::new(ConnectOptions::new(&url));
            config.election = ElectionConfig::unopposed();
            config
        };
        parts.spawn(krake_gc::run(krake_gc::Config::new(controller()), shutdown.clone()));
        let mut adapter = krake_kubernetes::Config::new(controller());
        adapter.opener = clusters::opener(address, requests.clone());
        parts.spawn(krake_kubernetes::run(adapter, shutdown.clone()));
        let client = Client::new(&ConnectOptions::new(&url)).unwrap();
        World { client, clusters, requests, shutdown, parts, _folder: folder }
    }

    pub(crate) fn cluster(&self, name: &str) -> &Cluster {
        self.clusters.iter().find(|cluster| cluster.name() == name).unwrap()
    }

    /// The requests with an effect so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The objects on all clusters.
    pub(crate) fn objects(&self) -> Vec<Value> {
        self.clusters.iter().flat_map(clusters::objects).collect()
    }

    /// The same by their names and uids, and whether they go.
    pub(crate) fn identities(&self) -> Vec<Value> {
        let identity = |object: Value| {
            let metadata = &object["metadata"];
            json!([metadata["name"], metadata["uid"], metadata["deletionTimestamp"]])
        };
        let is_known = |object: &Value| !object["metadata"]["name"].as_str().unwrap().starts_with("item-");
        self.objects().into_iter().filter(is_known).map(identity).collect()
    }

    pub(crate) async fn get(&self, name: &str) -> Application {
        self.client.api().get("shop", name).await.unwrap()
    }

    /// Waits until something is so of an application.
    pub(crate) async fn until(&self, name: &str, condition: impl Fn(&Application) -> bool) {
        let waiting = async {
            while !condition(&self.get(name).await) {
                tokio::time::sleep(PAUSE).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("{name} does not get there: {:#?}", self.get(name).await);
        }
    }

    /// Creates an application of one object, bound to a cluster.
    pub(crate) async fn create(&self, name: &str, cluster: &str) {
        let object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}});
        let manifest = Manifest { document: Some(document(&object)), ..Default::default() };
        let application = Application {
            metadata: Some(Metadata { namespace: "shop".into(), name: name.into(), ..Default::default() }),
            spec: Some(ApplicationSpec { manifest: vec![manifest], ..Default::default() }),
            status: None,
        };
        self.client.api().create(&application).await.unwrap();
        self.bind(name, cluster).await;
    }

    /// Binds an application for its present spec.
    pub(crate) async fn bind(&self, name: &str, cluster: &str) {
        let generation = self.get(name).await.metadata.unwrap().generation;
        let cluster: api::Cluster = self.client.api().get("shop", cluster).await.unwrap();
        let cluster = api::Cluster::KIND.reference(&cluster.metadata.unwrap());
        let request = BindApplicationRequest {
            namespace: "shop".into(),
            name: name.into(),
            bindings: vec![Binding { cluster: Some(cluster), ..Default::default() }],
            generation,
            ..Default::default()
        };
        self.client.applications().bind_application(request).await.unwrap();
    }

    pub(crate) async fn stop(mut self) {
        self.shutdown.request();
        let all = async {
            while let Some(ended) = self.parts.join_next().await {
                ended.unwrap().unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("all parts end");
    }
}

/// The store that the earlier version left.
async fn store(origin: Origin, folder: &TempDir) -> Arc<dyn Store> {
    match origin {
        Origin::SqliteFile => {
            let file = folder.path().join("store.sqlite");
            std::fs::write(&file, clusters::stored("store.sqlite")).unwrap();
            Arc::new(SqliteStore::open(SqliteOptions::new(file)).await.unwrap())
        }
        Origin::BackUp => {
            let file = folder.path().join("store.backup");
            std::fs::write(&file, clusters::stored("store.backup")).unwrap();
            let store = MemoryStore::new();
            restore(&store, &verify(&file).unwrap(), false).await.unwrap();
            Arc::new(store)
        }
    }
}
