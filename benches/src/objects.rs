//! The objects that the benchmarks store.

use std::sync::LazyLock;

use bytes::Bytes;
use krake_proto::condition::types;
use krake_proto::krake::core::v1::MetricRef;
use krake_proto::krake::kubernetes::v1::{
    Application, ApplicationSpec, Cluster, ClusterSpec, ClusterStatus, Manifest,
};
use krake_proto::krake::meta::v1::{Condition, ConditionStatus, Document, Metadata, document::Content};
use prost::Message;
use serde_json::{Value, json};

/// Encoded size of an application, in bytes.
pub(crate) const SIZE: usize = 1536;

/// An application of [`SIZE`] bytes: a Deployment with a long environment. Cheap, so that it does not slow down whoever
/// sends it: all have the same manifest.
pub(crate) fn application(namespace: &str, name: &str) -> Application {
    static TEMPLATE: LazyLock<Application> = LazyLock::new(template);
    Application { metadata: Some(metadata(namespace, name)), ..TEMPLATE.clone() }
}

fn template() -> Application {
    let (namespace, name) = ("bench", "application");
    let padding = SIZE.saturating_sub(with_padding(namespace, name, 0).encoded_len());
    // Lengths are written in one byte more each once they pass 127, so this may be too long by a few bytes.
    let excess = with_padding(namespace, name, padding).encoded_len().saturating_sub(SIZE);
    with_padding(namespace, name, padding - excess)
}

fn with_padding(namespace: &str, name: &str, padding: usize) -> Application {
    let mut environment: Vec<Value> =
        (0..12).map(|index| json!({"name": format!("SETTING_{index}"), "value": "some value"})).collect();
    environment.push(json!({"name": "LONG", "value": "x".repeat(padding)}));
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [
                    {"name": "main", "image": "registry.example/main:1.0", "env": environment},
                ]},
            },
        },
    });
    Application {
        metadata: Some(metadata(namespace, name)),
        spec: Some(ApplicationSpec {
            manifest: vec![Manifest { document: Some(document(&deployment)), ..Default::default() }],
            ..Default::default()
        }),
        status: None,
    }
}

/// A cluster that every namespace may use, with an address at which nobody answers.
pub(crate) fn cluster(namespace: &str, name: &str, metrics: &[&str]) -> Cluster {
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "none"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    });
    let metrics =
        metrics.iter().map(|name| MetricRef { name: (*name).to_owned(), weight: 1.0, namespaced: false });
    Cluster {
        metadata: Some(metadata(namespace, name)),
        spec: Some(ClusterSpec {
            kubeconfig: Some(document(&kubeconfig)),
            allowed_namespaces: vec!["*".to_owned()],
            metrics: metrics.collect(),
            ..Default::default()
        }),
        status: None,
    }
}

/// What the adapter would report of a healthy cluster.
pub(crate) fn online(namespace: &str, name: &str) -> Cluster {
    let yes = |r#type: &str| Condition {
        r#type: r#type.into(),
        status: ConditionStatus::True.into(),
        ..Default::default()
    };
    let conditions = vec![yes(types::REACHABLE), yes(types::NODES_HEALTHY)];
    Cluster {
        metadata: Some(metadata(namespace, name)),
        spec: None,
        status: Some(ClusterStatus { conditions, ..Default::default() }),
    }
}

/// A value as large as an application.
pub(crate) fn value() -> Bytes {
    Bytes::from(vec![b'x'; SIZE])
}

/// Who an object is.
pub(crate) fn metadata(namespace: &str, name: &str) -> Metadata {
    Metadata { namespace: namespace.to_owned(), name: name.to_owned(), ..Default::default() }
}

fn document(value: &Value) -> Document {
    Document { content: Some(Content::Json(value.to_string())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applications_are_as_large_as_the_values_of_the_peers() {
        for name in ["a", "application-123456"] {
            let size = application("bench", name).encoded_len();
            assert!(size.abs_diff(SIZE) <= 16, "{size}");
        }
        assert_eq!(value().len(), SIZE);
    }
}
