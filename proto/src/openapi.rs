//! The OpenAPI 3.1 document of the REST API, from the descriptors: what the gateway serves at `/openapi.json`.
//!
//! Paths come from [`crate::rest`], schemas from the shapes behind [`crate::json`], descriptions from the comments of
//! the `.proto` files. Extensions: `x-krake-sensitive` (a secret), `x-krake-immutable` (set at creation alone).

mod examples;
mod operation;
mod schema;
mod service;
mod wording;

use serde_json::{Map, Value, json};

use crate::rest::ROUTES;
use operation::Operations;

/// The document as a value.
pub fn document() -> Value {
    let mut operations = Operations::default();
    let mut paths: Map<String, Value> = service::paths();
    for route in ROUTES.iter() {
        let operation = operations.operation(route);
        let path = paths.entry(route.template.clone()).or_insert_with(|| operations.path(route));
        path[route.method.as_str().to_ascii_lowercase()] = operation;
    }
    let mut schemas = operations.schemas.found;
    schemas.extend(service::schemas());
    sorted(&json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Krake",
            "version": env!("CARGO_PKG_VERSION"),
            "description": service::ABOUT,
            "license": { "name": "Apache 2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The gateway that serves this document." }],
        "security": [],
        "tags": service::tags(),
        "paths": paths,
        "components": {
            "parameters": operation::parameters(),
            "responses": operation::responses(),
            "schemas": schemas,
        },
    }))
}

/// The document as text: members in alphabetical order, so that equal documents are equal texts.
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&document()).expect("a value is always JSON");
    text.push('\n');
    text
}

/// Whatever order `serde_json` was built to keep.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            Value::Object(members.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests;
