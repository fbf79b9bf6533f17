//! Example bodies: of a kind, from its option `example`; of a custom route.

use serde_json::{Value, json};

use crate::rest::{Body, Route, Verb};

/// The body that a route's documentation shows.
pub(super) fn body(route: &Route) -> Option<Value> {
    match (&route.body, route.verb) {
        (Body::Field(_), Verb::Create) => {
            let mut body: Value = serde_json::from_str(route.kind.example).ok()?;
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
