//! Bodies to copy, one per kind and custom route.

use serde_json::{Value, json};

use crate::rest::{Body, Route, Verb};

/// The body that a route's documentation shows.
pub(super) fn body(route: &Route) -> Option<Value> {
    match (&route.body, route.verb) {
        (Body::Field(_), Verb::Create) => {
            let mut body = resource(route.shown_kind())?;
            body["api"] = route.kind.api.into();
            body["kind"] = route.shown_kind().into();
            Some(body)
        }
        (Body::Request, _) if route.template.ends_with("/applications/{name}/binding") => Some(json!({
            "cluster": { "api": "kubernetes", "kind": "Cluster", "namespace": "demo", "name": "north" },
        })),
        _ => None,
    }
}

fn resource(kind: &str) -> Option<Value> {
    let value = match kind {
        "Application" => json!({
            "metadata": { "name": "echo", "labels": { "tier": "edge" } },
            "spec": {
                "manifest": [{
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": { "name": "greeting" },
                    "data": { "text": "hello" },
                }],
                "constraints": {
                    "cluster": { "labels": ["location is DE"], "metrics": ["load < 0.8"] },
                    "migration": true,
                },
            },
        }),
        "Cluster" => json!({
            "metadata": { "name": "north", "labels": { "location": "DE" } },
            "spec": {
                "kubeconfig": {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{ "name": "north", "cluster": { "server": "https://north.example:6443" } }],
                    "users": [{ "name": "krake", "user": { "token": "…" } }],
                    "contexts": [{ "name": "krake", "context": { "cluster": "north", "user": "krake" } }],
                    "current-context": "krake",
                },
                "constraints": { "cloud": {} },
                "metrics": [{ "name": "wind", "weight": 1.0 }],
            },
        }),
        "Metric" | "GlobalMetric" => json!({
            "metadata": { "name": "wind" },
            "spec": { "min": 0.0, "max": 1.0, "provider": { "name": "weather", "metric": "wind_power" } },
        }),
        "MetricsProvider" | "GlobalMetricsProvider" => json!({
            "metadata": { "name": "weather" },
            "spec": { "type": "prometheus", "prometheus": { "url": "http://prometheus.example:9090" } },
        }),
        _ => return None,
    };
    Some(value)
}
