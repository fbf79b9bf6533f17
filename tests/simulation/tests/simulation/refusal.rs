//! How the FAKE API server refuses: `Status` objects as Kubernetes gives them.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::response::Response;
use serde_json::{Value, json};

use crate::objects::Target;

/// A refusal with a code and a reason of Kubernetes. It names what was asked for, if that is an object.
pub(crate) fn refusal(code: u16, reason: &str, message: &str, details: &Value) -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "details": details, "code": code});
    Response::builder()
        .status(StatusCode::from_u16(code).unwrap())
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from(status.to_string()))
        .unwrap()
}

/// What is said of a path that no API has.
pub(crate) fn not_served() -> Response {
    Response::builder()
        .status(StatusCode::NOT_FOUND)
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(Body::from("404 page not found\n"))
        .unwrap()
}

/// The refusal of a request, whatever it asks for. `target` is `None` for the documents that list kinds.
pub(crate) fn of_mood(
    code: u16,
    retry_after: Option<u8>,
    target: Option<&Target>,
    is_create: bool,
) -> Response {
    let details = target.map_or_else(|| json!({}), Target::details);
    let subject = target.map_or_else(String::new, Target::subject);
    let modified =
        "the object has been modified; please apply your changes to the latest version and try again";
    match code {
        401 => refusal(401, "Unauthorized", "Unauthorized", &Value::Null),
        403 => {
            let message = format!("{subject} is forbidden: User \"krake\" cannot do this");
            refusal(403, "Forbidden", &message, &details)
        }
        404 => match target {
            Some(target) if target.name.is_some() => {
                refusal(404, "NotFound", &format!("{subject} not found"), &details)
            }
            // An object can be created in a namespace only.
            Some(target) if is_create => {
                let message = format!("namespaces \"{}\" not found", target.namespace);
                let details = json!({"name": target.namespace, "kind": "namespaces"});
                refusal(404, "NotFound", &message, &details)
            }
            _ => not_served(),
        },
        409 => {
            let message = format!("Operation cannot be fulfilled on {subject}: {modified}");
            refusal(409, "Conflict", &message, &details)
        }
        422 => {
            let mut details = details;
            let cause =
                json!({"reason": "FieldValueForbidden", "message": "Forbidden: a mood", "field": "spec"});
            details["causes"] = json!([cause]);
            refusal(422, "Invalid", &format!("{subject} is invalid: spec: Forbidden: a mood"), &details)
        }
        429 => {
            let message = "the server has received too many requests and has asked us to try again later";
            let details = retry_after.map(|seconds| json!({"retryAfterSeconds": seconds}));
            let mut answer = refusal(429, "TooManyRequests", message, &details.unwrap_or_default());
            if let Some(seconds) = retry_after {
                answer.headers_mut().insert(RETRY_AFTER, u16::from(seconds).into());
            }
            answer
        }
        500 => {
            let details = json!({"causes": [{"message": "a mood"}]});
            refusal(500, "InternalError", "Internal error occurred: a mood", &details)
        }
        other => panic!("no mood refuses with {other}"),
    }
}
