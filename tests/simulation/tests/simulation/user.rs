//! The user: registers clusters and metrics, and then creates, changes, moves and deletes, as a script says.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use krake_client::{Api, Client, DeleteOptions, Error, Mask};
use krake_proto::Resource;
use krake_proto::krake::core::v1::metrics_provider_spec::Type;
use krake_proto::krake::core::v1::{
    Metric, MetricRef, MetricSource, MetricSpec, MetricsProvider, MetricsProviderSpec, StaticProvider,
};
use krake_proto::krake::kubernetes::v1::{
    Application, ApplicationSpec, Cluster, ClusterConstraints, ClusterSpec, Constraints, Manifest,
    MigrationStrategy,
};
use krake_proto::krake::meta::v1::{Document, Metadata, document::Content};
use serde_json::json;

use crate::hosts::{CLUSTERS, World};
use crate::network;

/// Namespace of everything.
pub(crate) const NAMESPACE: &str = "demo";

/// Something that the user does.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Create(Wish),
    Update(Wish),
    Delete(String),
    /// The values of the metrics that rank the clusters, in their order.
    Rank([f64; 3]),
    DeleteCluster(&'static str),
    RegisterCluster(&'static str),
}

/// What the user wants of an application.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) name: String,
    pub(crate) replicas: u32,
    /// The clusters that come into question.
    pub(crate) sites: Vec<&'static str>,
    pub(crate) delete_first: bool,
}

/// Does what the script says, each deed at its time or as soon as the one before is done.
pub(crate) async fn run(
    world: Arc<World>,
    script: Vec<(Duration, Deed)>,
) -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::new(&network::connect_options())?;
    let begin = tokio::time::Instant::now();
    set_up(&client).await;
    for (time, deed) in script {
        tokio::time::sleep_until(begin + time).await;
        insist(async || act(&client, &deed).await).await;
    }
    *world.idle.lock().unwrap() = true;
    std::future::pending().await
}

/// Tries until it is done. What was done before without an answer is as good.
async fn insist(deed: impl AsyncFn() -> Result<(), Error>) {
    while let Err(error) = deed().await {
        if error.is_already_exists() || error.is_not_found() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn metadata(namespace: &str, name: &str) -> Option<Metadata> {
    Some(Metadata { namespace: namespace.into(), name: name.into(), ..Default::default() })
}

fn document(value: serde_json::Value) -> Option<Document> {
    Some(Document { content: Some(Content::Json(value.to_string())) })
}

fn provider(values: [f64; 3]) -> MetricsProvider {
    let names = CLUSTERS.into_iter().map(|name| format!("rank-{name}"));
    let metrics: HashMap<String, f64> = names.zip(values).collect();
    let r#type = Some(Type::Static(StaticProvider { metrics: metrics.into_iter().collect() }));
    MetricsProvider { metadata: metadata("", "ranks"), spec: Some(MetricsProviderSpec { r#type }) }
}

fn cluster(name: &str) -> Cluster {
    let config = json!({
        "clusters": [{"name": "c", "cluster": {"server": format!("http://kube-{name}")}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    });
    let rank = MetricRef { name: format!("rank-{name}"), weight: 1.0, namespaced: false };
    let spec = ClusterSpec { kubeconfig: document(config), metrics: vec![rank], ..Default::default() };
    let mut metadata = metadata(NAMESPACE, name).unwrap_or_default();
    metadata.labels.insert("site".into(), name.into());
    Cluster { metadata: Some(metadata), spec: Some(spec), status: None }
}

fn application(wish: &Wish) -> Application {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": wish.name, "namespace": "default"},
        "spec": {
            "replicas": wish.replicas,
            "selector": {"matchLabels": {"app": wish.name}},
            "template": {
                "metadata": {"labels": {"app": wish.name}},
                "spec": {"containers": [{"name": "main", "image": "main"}]},
            },
        },
    });
    let labels = vec![format!("site in ({})", wish.sites.join(", "))];
    let cluster = Some(ClusterConstraints { labels, ..Default::default() });
    let strategy =
        if wish.delete_first { MigrationStrategy::DeleteFirst } else { MigrationStrategy::CreateFirst };
    let spec = ApplicationSpec {
        manifest: vec![Manifest { document: document(deployment), ..Default::default() }],
        constraints: Some(Constraints { cluster, migration: None }),
        migration_strategy: strategy.into(),
        ..Default::default()
    };
    Application { metadata: metadata(NAMESPACE, &wish.name), spec: Some(spec), status: None }
}

async fn set_up(client: &Client) {
    let create = async |deed: &dyn Fn() -> Deed| insist(async || act(client, &deed()).await).await;
    insist(async || client.api().create(&provider([0.5; 3])).await.map(drop)).await;
    for name in CLUSTERS {
        let source = MetricSource { name: "ranks".into(), metric: format!("rank-{name}") };
        let spec =
            MetricSpec { min: Some(0.0), max: Some(1.0), provider: Some(source), ..Default::default() };
        let metric = Metric { metadata: metadata("", &format!("rank-{name}")), spec: Some(spec) };
        insist(async || client.api().create(&metric).await.map(drop)).await;
        create(&|| Deed::RegisterCluster(name)).await;
    }
}

async fn act(client: &Client, deed: &Deed) -> Result<(), Error> {
    let (applications, clusters): (Api<Application>, Api<Cluster>) = (client.api(), client.api());
    let options = DeleteOptions::default();
    match deed {
        Deed::Create(wish) => applications.create(&application(wish)).await.map(drop),
        Deed::Update(wish) => applications.update(&application(wish), Mask::fields(["spec"])).await.map(drop),
        Deed::Delete(name) => applications.delete(NAMESPACE, name, &options).await.map(drop),
        Deed::Rank(values) => client.api().update(&provider(*values), Mask::fields(["spec"])).await.map(drop),
        Deed::DeleteCluster(name) => clusters.delete(NAMESPACE, name, &options).await.map(drop),
        Deed::RegisterCluster(name) => {
            // As long as the former one of this name is being drained, there is no place for a new one.
            if let Some(former) = clusters.get_opt(NAMESPACE, name).await? {
                let metadata = former.metadata().cloned().unwrap_or_default();
                return if metadata.deleted.is_some() { Err(busy()) } else { Ok(()) };
            }
            clusters.create(&cluster(name)).await.map(drop)
        }
    }
}

fn busy() -> Error {
    tonic::Status::unavailable("the former cluster is not gone yet").into()
}
