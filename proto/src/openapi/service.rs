//! Paths of the gateway that belong to no kind, and schemas that the answers of all kinds share.

use serde_json::{Map, Value, json};

use super::schema::reference;
use crate::KINDS;

/// Description of the whole API.
pub(super) const ABOUT: &str = "One API in front of many Kubernetes clusters: applications with constraints go in, and \
run on the cluster that is best by the operator's own metrics.\n\nResources are created by POST, read by GET, replaced by \
PUT and deleted by DELETE. Every success is 200. Fields that a PUT leaves out keep their value. Lists become watches by \
the query parameter `watch`: one JSON object a line, empty lines as heartbeats, or Server-Sent Events for clients that accept \
`text/event-stream`. Errors are problems (RFC 9457). Unknown fields in requests are ignored; known fields that are given \
twice, fields of two types of a union, and integers of more than 64 bits are refused (422). Names of enum values are \
case-sensitive; times are UTC.";

/// One tag per API group, in their order.
pub(super) fn tags() -> Value {
    let mut groups: Vec<&str> = KINDS.iter().map(|kind| kind.api).collect();
    groups.dedup();
    let tag =
        |name: &&str| json!({ "name": name, "description": format!("Kinds of the API group `{name}`.") });
    let service = json!({ "name": "service", "description": "About the API itself." });
    groups.iter().map(tag).chain([service]).collect()
}

/// The paths that are not about a kind.
pub(super) fn paths() -> Map<String, Value> {
    let version = json!({
        "type": "object",
        "properties": { "version": { "type": "string" } },
        "required": ["version"],
    });
    let user = json!({
        "type": "object",
        "properties": {
            "user": { "type": "string", "description": "Name of the caller." },
            "roles": {
                "type": "array",
                "items": { "type": "string" },
                "description": "Names of the caller's roles, in alphabetical order.",
            },
        },
        "required": ["user", "roles"],
    });
    let document = json!({ "type": "object", "required": ["openapi", "info", "paths"] });
    [
        ("/", get("GetVersion", "Returns the version", 200, version)),
        ("/me", get("GetMe", "Returns the caller", 200, user)),
        ("/release", get("Release", "Releases the Krake", 202, json!({ "type": "string" }))),
        ("/openapi.json", get("GetOpenApi", "Returns this document", 200, document)),
    ]
    .into_iter()
    .map(|(path, operation)| (path.to_owned(), json!({ "get": operation })))
    .collect()
}

fn get(id: &str, summary: &str, status: u16, schema: Value) -> Value {
    json!({
        "operationId": id,
        "summary": summary,
        "tags": ["service"],
        "responses": {
            status.to_string(): {
                "description": "The answer.",
                "content": { "application/json": { "schema": schema } },
            },
            "default": { "$ref": "#/components/responses/Problem" },
        },
    })
}

/// Schemas of answers that no message describes.
pub(super) fn schemas() -> Map<String, Value> {
    let problem = json!({
        "type": "object",
        "description": "Why a request failed (RFC 9457).",
        "properties": {
            "type": {
                "type": "string",
                "format": "uri-reference",
                "description": "For programs; `about:blank` if the status is enough.",
            },
            "title": { "type": "string", "description": "Name of the problem, for example NOT_FOUND_ERROR." },
            "status": { "type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status." },
            "detail": { "type": "string", "description": "For people: what is wrong, with the field." },
            "violations": {
                "type": "array",
                "description": "Every field that is wrong, with 422.",
                "items": {
                    "type": "object",
                    "properties": {
                        "field": { "type": "string", "description": "For example `spec.constraints.cluster.labels[0]`." },
                        "description": { "type": "string", "description": "What is wrong with it." },
                    },
                    "required": ["field", "description"],
                },
            },
            "instance": { "type": "string", "format": "uri-reference", "description": "Which occurrence it is." },
        },
    });
    [("Problem".to_owned(), problem)].into_iter().collect()
}

/// The answer to a list of resources.
pub(super) fn list(api: &str, shown: &str) -> Value {
    json!({
        "type": "object",
        "description": format!("All resources of kind {shown} that were asked for, ordered by namespace and name."),
        "properties": {
            "api": { "type": "string", "const": api },
            "kind": { "type": "string", "const": format!("{shown}List") },
            "metadata": {
                "type": "object",
                "description": "About the list.",
                "properties": {
                    "resource_version": revision("Revision that the list shows: watch from here."),
                    "epoch": { "type": "string", "description": "History that the revision belongs to." },
                },
            },
            "items": { "type": "array", "items": reference(shown) },
        },
        "required": ["api", "kind", "metadata", "items"],
    })
}

/// One line of a watch.
pub(super) fn event(shown: &str) -> Value {
    json!({
        "type": "object",
        "description": "One change, on one line.",
        "properties": {
            "type": {
                "type": "string",
                "enum": ["ADDED", "MODIFIED", "DELETED", "LEFT_FILTER", "ERROR"],
                "description": "What happened. DELETED: erased from the store. LEFT_FILTER: exists, but no longer matches \
                                the watch. ERROR: the watch has ended; `object` is the problem.",
            },
            "object": { "anyOf": [reference(shown), reference("Problem")] },
            "resource_version": revision(
                "Safe to resume from; on the last change of each revision, and with ERROR. An ERROR without it: list again, \
                 and watch from there.",
            ),
            "epoch": {
                "type": "string",
                "description": "With ERROR: history that `resource_version` belongs to, for the parameter `epoch`.",
            },
        },
        "required": ["type", "object"],
    })
}

fn revision(about: &str) -> Value {
    json!({ "type": "integer", "format": "int64", "description": about })
}
