//! Routes as OpenAPI operations: parameters, bodies, answers.

use serde_json::{Map, Value, json};

use super::schema::{Schemas, reference};
use super::{examples, service, wording};
use crate::rest::{Body, Query, Route, Scope, Verb};

/// Makes operations, and collects the schemas that they refer to.
#[derive(Default)]
pub(super) struct Operations {
    pub(super) schemas: Schemas,
}

impl Operations {
    /// The part that all methods of a path share.
    pub(super) fn path(&self, route: &Route) -> Value {
        let parameters: Vec<Value> =
            route.parameters().map(|name| parameter(&format!("path-{name}"))).collect();
        if parameters.is_empty() { json!({}) } else { json!({ "parameters": parameters }) }
    }

    /// One route.
    pub(super) fn operation(&mut self, route: &Route) -> Value {
        let (summary, description) = wording::of(route);
        let mut operation = json!({
            "operationId": operation_id(route),
            "summary": summary,
            "description": description,
            "tags": [route.kind.api],
            "responses": self.answers(route),
        });
        let mut parameters: Vec<Value> =
            route.query().iter().map(|query| parameter(&format!("query-{}", query.name()))).collect();
        if route.verb == Verb::List {
            parameters.push(parameter("header-Last-Event-ID"));
        }
        if matches!(route.verb, Verb::Update | Verb::Delete) {
            parameters.push(parameter("header-If-Match"));
        }
        parameters.push(parameter("header-X-Request-Timeout"));
        operation["parameters"] = Value::Array(parameters);
        if let Some(body) = self.body(route) {
            operation["requestBody"] = body;
        }
        operation
    }

    fn resource(&mut self, route: &Route) -> Value {
        let message = crate::POOL.get_message_by_name(route.kind.message).expect("every kind is a message");
        self.schemas.resource(&message, route.shown_kind())
    }

    fn body(&mut self, route: &Route) -> Option<Value> {
        let mut content = match &route.body {
            Body::None => return None,
            Body::Field(_) => json!({ "schema": self.resource(route) }),
            Body::Request => {
                let in_path: Vec<&str> = route.parameters().collect();
                json!({ "schema": self.schemas.request(&route.rpc.input(), &in_path) })
            }
        };
        if let Some(example) = examples::body(route) {
            content["examples"] = json!({ "usual": { "value": example } });
        }
        Some(json!({ "required": true, "content": { "application/json": content } }))
    }

    fn answers(&mut self, route: &Route) -> Value {
        let mut answers = Map::new();
        answers.insert("200".into(), self.success(route));
        let problems: &[u16] = match route.verb {
            Verb::Create => &[409, 413, 415, 422],
            Verb::Get => &[404],
            Verb::List => &[410, 422],
            Verb::Update => &[400, 404, 409, 412, 413, 415, 422],
            Verb::UpdateStatus | Verb::Custom => &[400, 404, 409, 413, 415, 422],
            Verb::Delete => &[404, 409, 412],
        };
        for status in [401, 403, 502, 503, 504].iter().chain(problems) {
            answers.insert(status.to_string(), answer(&status.to_string()));
        }
        answers.insert("default".into(), answer("Problem"));
        Value::Object(answers)
    }

    fn success(&mut self, route: &Route) -> Value {
        let resource = self.resource(route);
        if route.verb != Verb::List {
            let content = json!({ "application/json": { "schema": resource } });
            let tag = json!({ "description": "`metadata.resource_version` and the epoch of the store, for `If-Match`.", "schema": { "type": "string" } });
            return json!({
                "description": "The resource as it is then.",
                "headers": { "ETag": tag },
                "content": content,
            });
        }
        let shown = route.shown_kind();
        let list = self.schemas.named(&format!("{shown}List"), |_| service::list(route.kind.api, shown));
        let event = self.schemas.named(&format!("{shown}Event"), |_| service::event(shown));
        json!({
            "description": "The list; with `watch` the stream of changes.",
            "content": {
                "application/json": { "schema": list },
                "application/x-ndjson": { "schema": event },
                "text/event-stream": { "schema": { "type": "string" } },
            },
        })
    }
}

/// Unique: the RPC, with a part for its scope.
fn operation_id(route: &Route) -> String {
    let rpc = route.rpc.name();
    match route.scope {
        Scope::Namespaced => rpc.to_owned(),
        Scope::Global if route.verb == Verb::List => format!("List{}", route.shown_plural()),
        Scope::Global => rpc.replacen(route.kind.kind, route.shown_kind(), 1),
        Scope::All => rpc.replacen(route.kind.plural_rpc, &format!("All{}", route.kind.plural_rpc), 1),
    }
}

fn parameter(name: &str) -> Value {
    json!({ "$ref": format!("#/components/parameters/{name}") })
}

fn answer(name: &str) -> Value {
    json!({ "$ref": format!("#/components/responses/{name}") })
}

/// Names of resources and namespaces, as [`crate::name::resource_name`] has them.
const NAME: &str = "^[A-Za-z0-9_]([A-Za-z0-9_.:-]*[A-Za-z0-9_])?$";

/// `components.parameters`.
pub(super) fn parameters() -> Value {
    let name_schema = json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": NAME });
    let path = |name: &str, about: &str| json!({ "name": name, "in": "path", "required": true, "description": about, "schema": name_schema });
    let header = |name: &str, about: &str| json!({ "name": name, "in": "header", "description": about, "schema": { "type": "string" } });
    let mut parameters = Map::new();
    parameters.insert(
        "path-namespace".into(),
        path("namespace", "The namespace; it exists as soon as it is used."),
    );
    parameters.insert("path-name".into(), path("name", "Name of the resource."));
    parameters.insert(
        "header-If-Match".into(),
        header(
            "If-Match",
            "The resource must still be as it was read: its ETag. `metadata.resource_version` alone is accepted too, but \
             after a restore of the store it can match another state of the resource.",
        ),
    );
    let about = "Maximum seconds until the answer begins, a wait for a state (`blocking`) included: greater than 0, at most \
                 300. Then 504; a write may have taken effect. Default 30, with `blocking` 60.";
    parameters.insert("header-X-Request-Timeout".into(), header("X-Request-Timeout", about));
    let about = "Where a stream of Server-Sent Events goes on: the id of the last event.";
    parameters.insert("header-Last-Event-ID".into(), header("Last-Event-ID", about));
    for query in Query::ALL {
        let (schema, about) = query_schema(query);
        let mut parameter =
            json!({ "name": query.name(), "in": "query", "description": about, "schema": schema });
        if matches!(query, Query::Watch) {
            parameter["allowEmptyValue"] = true.into();
        }
        parameters.insert(format!("query-{}", query.name()), parameter);
    }
    Value::Object(parameters)
}

fn query_schema(query: Query) -> (Value, &'static str) {
    let text = json!({ "type": "string" });
    // Upstream's client writes `True`.
    let boolean = json!({ "type": "string", "enum": ["true", "True", "1", "false", "False", "0"] });
    match query {
        Query::Watch => (text, "Stream changes from now on. Its presence alone counts, whatever its value."),
        Query::Heartbeat => (
            json!({ "type": "integer", "minimum": 0, "default": 10 }),
            "Seconds between empty lines of a watch; 0 turns them off.",
        ),
        Query::ResourceVersion => (
            json!({ "type": "integer", "format": "int64", "minimum": 0 }),
            "Watch: begin after this revision, in place of now.",
        ),
        Query::Epoch => (
            text,
            "Watch: the history that `resource_version` belongs to; the watch fails if it is another now.",
        ),
        Query::LabelSelector => (
            text,
            "Only resources whose labels satisfy this Kubernetes label selector, for example `tier=edge`.",
        ),
        Query::Blocking => (
            text,
            "Answer when the resource is in this state, `deleted` for its end, in lower case or upper case. 504 if that \
             takes longer than `X-Request-Timeout`, or 60 s without it.",
        ),
        Query::Force => (boolean, "True: erase at once, whatever finalizers say."),
        Query::Cascade => (
            boolean,
            "True: delete what belongs to the resource, even where its owner references say release.",
        ),
    }
}

/// `components.responses`.
pub(super) fn responses() -> Value {
    let named = [
        ("400", "The request changes nothing, or an immutable field."),
        ("401", "No user has these credentials."),
        ("403", "The caller may not do this."),
        ("404", "There is no such resource."),
        ("409", "The resource exists already, has changed meanwhile, or does not allow this now."),
        (
            "410",
            "The changes since this revision are no longer known, since it is too old or the store was restored: list \
             again, and watch from the list's `resource_version`.",
        ),
        ("412", "The resource is not as `If-Match` says, or the store was restored since it was read."),
        ("413", "The body is larger than 4 MiB."),
        ("415", "The body is not JSON."),
        ("422", "A field, parameter or header is wrong; `detail` and `violations` name it."),
        (
            "502",
            "The connection to the state service broke before its answer. A write may have taken effect.",
        ),
        ("503", "The state service or its store is unavailable: try again."),
        ("504", "The answer, or the wanted state, did not come in time. A write may have taken effect."),
        ("Problem", "The request failed."),
    ];
    let response = |about: &str| json!({ "description": about, "content": { "application/problem+json": { "schema": reference("Problem") } } });
    Value::Object(named.into_iter().map(|(name, about)| (name.to_owned(), response(about))).collect())
}
