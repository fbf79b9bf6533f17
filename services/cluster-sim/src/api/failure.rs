//! Answers that are no: a code, and the `Status` object that Kubernetes has for it.

pub(crate) mod injected;

use serde_json::{Value, json};

use crate::api::kinds::{self, Kind};

/// A refused request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) code: u16,
    reason: &'static str,
    message: String,
    details: Option<Value>,
    /// Seconds, for header `Retry-After`.
    pub(crate) retry_after: Option<u64>,
}

impl Failure {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, retry_after: None }
    }

    fn with(self, details: Value) -> Self {
        Self { details: Some(details), ..self }
    }

    /// Of an object: its kind's plural (with the group behind it) and its name.
    fn about(self, kind: &Kind, name: &str) -> Self {
        let details = match kind.group.as_str() {
            "" => json!({"name": name, "kind": kind.plural}),
            group => json!({"name": name, "group": group, "kind": kind.plural}),
        };
        self.with(details)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// The server serves no such group: said in plain text.
    pub(crate) fn no_page() -> Self {
        Self::new(404, "", "404 page not found")
    }

    /// Whether the answer is plain text in place of a `Status`.
    pub(crate) fn is_plain(&self) -> bool {
        self.code == 404 && self.reason.is_empty()
    }

    /// The server knows no such path.
    pub(crate) fn not_served() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").with(json!({}))
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", kind.resource())).about(kind, name)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message).with(json!({}))
    }

    pub(crate) fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.resource());
        Self::new(409, "AlreadyExists", message).about(kind, name)
    }

    pub(crate) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.resource());
        Self::new(409, "Conflict", message).about(kind, name)
    }

    /// A deletion whose preconditions do not hold: named by the kind, where other conflicts are by its plural.
    pub(crate) fn precondition(kind: &Kind, name: &str, why: &str) -> Self {
        let mut failure = Self::conflict(kind, name, why);
        if let Some(details) = &mut failure.details {
            details["kind"] = json!(kind.kind);
        }
        failure
    }

    pub(crate) fn modified(kind: &Kind, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    /// A conflict that was asked for.
    pub(crate) fn injected_conflict() -> Self {
        Self::new(
            409,
            "Conflict",
            "Operation cannot be fulfilled: the object has been modified (an injected fault)",
        )
    }

    /// Fields that an apply would take from others: (who, field).
    pub(crate) fn field_conflicts(conflicts: &[(String, String)]) -> Self {
        let plural = if conflicts.len() == 1 { "" } else { "s" };
        let list: Vec<String> = conflicts.iter().map(|(who, field)| format!("{who}: {field}")).collect();
        let message = format!(
            "Apply failed with {} conflict{plural}: conflict with {}",
            conflicts.len(),
            list.join(", ")
        );
        let causes: Vec<Value> = conflicts
            .iter()
            .map(|(who, field)| {
                let message = format!("conflict with {who}");
                json!({"reason": "FieldManagerConflict", "message": message, "field": field})
            })
            .collect();
        Self::new(409, "Conflict", message).with(json!({"causes": causes}))
    }

    /// What is asked for lies behind what is remembered.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(crate) fn unsupported_media_type() -> Self {
        Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type").with(json!({}))
    }

    /// Fields with something wrong: (field, reason, what).
    pub(crate) fn invalid(kind: &Kind, name: &str, causes: &[(String, &str, String)]) -> Self {
        Self::invalid_as(&kind.kind, kind, name, causes)
    }

    /// The same with the plural of the kind in place of its name.
    pub(crate) fn invalid_resource(kind: &Kind, name: &str, causes: &[(String, &str, String)]) -> Self {
        Self::invalid_as(&kind.plural, kind, name, causes)
    }

    fn invalid_as(called: &str, kind: &Kind, name: &str, causes: &[(String, &str, String)]) -> Self {
        let list: Vec<String> = causes.iter().map(|(field, _, what)| format!("{field}: {what}")).collect();
        let list = if let [only] = list.as_slice() { only.clone() } else { format!("[{}]", list.join(", ")) };
        let causes: Vec<Value> = causes
            .iter()
            .map(|(field, reason, what)| json!({"reason": reason, "message": what, "field": field}))
            .collect();
        let mut details = json!({"kind": called, "causes": causes});
        if !kind.group.is_empty() {
            details["group"] = json!(kind.group);
        }
        if !name.is_empty() {
            details["name"] = json!(name);
        }
        let qualified = kinds::resource(called, &kind.group);
        Self::new(422, "Invalid", format!("{qualified} \"{name}\" is invalid: {list}")).with(details)
    }

    /// A dry run of something else than everything.
    pub(crate) fn wrong_dry_run() -> Self {
        let what = "Unsupported value: supported values: \"All\"";
        Self::wrong_option("CreateOptions", "dryRun", "FieldValueNotSupported", what)
    }

    /// A field validation that there is not.
    pub(crate) fn wrong_field_validation(given: &str) -> Self {
        let what = format!(
            "Unsupported value: \"{given}\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
        );
        Self::wrong_option("CreateOptions", "fieldValidation", "FieldValueNotSupported", &what)
    }

    /// A patch that makes of an object what its kind does not have. `shown` is the patch, or what it makes.
    pub(crate) fn invalid_patch(shown: &str, why: &str) -> Self {
        let what = format!("Invalid value: {}: {why}", Value::from(shown));
        let causes = json!([{"reason": "FieldValueInvalid", "message": what, "field": "patch"}]);
        Self::new(422, "Invalid", format!(" \"\" is invalid: patch: {what}")).with(json!({"causes": causes}))
    }

    fn wrong_option(options: &str, field: &str, reason: &str, what: &str) -> Self {
        let causes = json!([{"reason": reason, "message": what, "field": field}]);
        Self::new(422, "Invalid", format!("{options}.meta.k8s.io \"\" is invalid: {field}: {what}"))
            .with(json!({"group": "meta.k8s.io", "kind": options, "causes": causes}))
    }

    /// An apply without field manager.
    pub(crate) fn no_field_manager() -> Self {
        let what = "Required value: is required for apply patch";
        Self::wrong_option("PatchOptions", "fieldManager", "FieldValueRequired", what)
    }

    pub(crate) fn terminating_namespace(kind: &Kind, name: &str, namespace: &str) -> Self {
        let message = format!(
            "{} \"{name}\" is forbidden: unable to create new content in namespace {namespace} because it is \
             being terminated",
            kind.resource()
        );
        let cause = json!([{"reason": "NamespaceTerminating", "field": "metadata.namespace",
            "message": format!("namespace {namespace} is being terminated")}]);
        let mut failure = Self::new(403, "Forbidden", message).about(kind, name);
        if let Some(details) = &mut failure.details {
            details["causes"] = cause;
        }
        failure
    }

    pub(crate) fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        Self::new(403, "Forbidden", format!("{} \"{name}\" is forbidden: {why}", kind.resource()))
            .about(kind, name)
    }

    pub(crate) fn too_many_requests(retry_after: u64) -> Self {
        let message = "the server has received too many requests and has asked us to try again later";
        let failure =
            Self::new(429, "TooManyRequests", message).with(json!({"retryAfterSeconds": retry_after}));
        Self { retry_after: Some(retry_after), ..failure }
    }

    /// As API servers say it of what goes wrong inside of them; such answers have no reason.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// An apply whose object does not fit the schema of its kind.
    pub(crate) fn untyped_patch(kind: &Kind, object: &Value, why: &str) -> Self {
        Self::internal(format!("failed to create typed patch object {}: {why}", applied(kind, object)))
    }

    /// An apply whose object fits the schema of its kind, and cannot be decoded.
    pub(crate) fn unconverted_patch(kind: &Kind, object: &Value, why: &str) -> Self {
        Self::internal(format!("failed to convert new object {} {why}", applied(kind, object)))
    }

    /// What real servers do and this one does not.
    pub(crate) fn not_simulated(what: impl AsRef<str>) -> Self {
        Self::new(
            501,
            "NotImplemented",
            format!("the simulated API server does not do this: {}", what.as_ref()),
        )
    }

    pub(crate) fn unavailable() -> Self {
        Self::new(503, "ServiceUnavailable", "the server is currently unable to handle the request")
            .with(json!({}))
    }

    /// The message alone.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The `Status` object.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }
}

/// How messages about an apply name its object.
fn applied(kind: &Kind, object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let Kind { group, version, kind, .. } = kind;
    format!("({}/{}; {group}/{version}, Kind={kind})", text("namespace"), text("name"))
}
