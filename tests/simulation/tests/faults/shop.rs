//! The application of a case: three objects, in a namespace where others have objects too.

use krake_proto::krake::kubernetes::v1::{
    Application, ApplicationSpec, Cluster, ClusterConstraints, ClusterSpec, Constraints, Manifest,
    MigrationStrategy,
};
use krake_proto::krake::meta::v1::{Document, Metadata, document::Content};
use serde_json::{Value, json};

use crate::case::Strategy;

/// Name of each application.
pub(crate) const APPLICATION: &str = "shop";
/// Label of clusters: which of the two of its case it is.
const SITE: &str = "site";

/// Paths of the objects of an application.
pub(crate) const OBJECTS: [&str; 3] = [SETTINGS, WORKLOAD, "/api/v1/namespaces/shop/services/web"];
pub(crate) const SETTINGS: &str = "/api/v1/namespaces/shop/configmaps/settings";
pub(crate) const WORKLOAD: &str = "/apis/apps/v1/namespaces/shop/deployments/web";
/// Plurals of their kinds.
pub(crate) const KINDS: [&str; 3] = ["configmaps", "deployments", "services"];
/// Kinds of which a whole namespace is looked through for what is left.
pub(crate) const COLLECTIONS: [&str; 3] = [
    "/api/v1/namespaces/shop/configmaps",
    "/apis/apps/v1/namespaces/shop/deployments",
    "/api/v1/namespaces/shop/services",
];

/// The manifest, in the order of [`OBJECTS`].
pub(crate) fn manifest() -> [Value; 3] {
    let labels = json!({"app": "web"});
    [
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "shop"},
            "data": {"currency": "EUR"},
        }),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "web", "image": "web:1"}]},
                },
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 80}]},
        }),
    ]
}

/// What there is of others: a namespace, an object without an owner, and one of another Krake that has the same names.
pub(crate) fn foreign() -> Vec<(&'static str, Value)> {
    let other = json!({
        krake_kubernetes::object::INSTALLATION_LABEL: "another-krake",
        krake_kubernetes::object::APPLICATION_LABEL: "another-application",
    });
    vec![
        (
            "/api/v1/namespaces/shop",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        ),
        (
            "/api/v1/namespaces/shop/configmaps/bakery",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bakery", "namespace": "shop"},
                "data": {"bread": "rye"}}),
        ),
        (
            "/apis/apps/v1/namespaces/shop/deployments/oven",
            json!({"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "oven", "namespace": "shop", "labels": other},
                "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "oven"}}, "template": {
                    "metadata": {"labels": {"app": "oven"}},
                    "spec": {"containers": [{"name": "oven", "image": "oven:1"}]}}}}),
        ),
    ]
}

fn document(text: String) -> Option<Document> {
    Some(Document { content: Some(Content::Json(text)) })
}

fn metadata(namespace: &str, name: &str) -> Metadata {
    Metadata { namespace: namespace.into(), name: name.into(), ..Default::default() }
}

/// The application of a case, in the namespace of the case. `site` is the cluster that it must be on, if there is one.
pub(crate) fn application(namespace: &str, strategy: Strategy, site: Option<&str>) -> Application {
    let document = |object: Value| Manifest { document: document(object.to_string()), ..Default::default() };
    let constraints = site.map(|site| Constraints {
        cluster: Some(ClusterConstraints { labels: vec![format!("{SITE} is {site}")], ..Default::default() }),
        migration: None,
    });
    let strategy = match strategy {
        Strategy::CreateFirst => MigrationStrategy::CreateFirst,
        Strategy::DeleteFirst => MigrationStrategy::DeleteFirst,
    };
    let spec = ApplicationSpec {
        manifest: manifest().into_iter().map(document).collect(),
        constraints,
        migration_strategy: strategy.into(),
        ..Default::default()
    };
    Application { metadata: Some(metadata(namespace, APPLICATION)), spec: Some(spec), status: None }
}

/// A cluster of a case.
pub(crate) fn cluster(namespace: &str, site: &str, kubeconfig: String) -> Cluster {
    let mut metadata = metadata(namespace, site);
    metadata.labels.insert(SITE.into(), site.into());
    let spec = ClusterSpec { kubeconfig: document(kubeconfig), ..Default::default() };
    Cluster { metadata: Some(metadata), spec: Some(spec), status: None }
}
