//! Refusals as RFC 9457 problems, with upstream's types, titles and statuses, chosen by the reason of the error.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use krake_proto::error::{self, ErrorReason, Violation};
use krake_runtime::serve::NoRoom;
use serde_json::{Map, Value, json};
use tonic::{Code, Status};

use crate::call::{is_broken, is_unsent};
use crate::python;

/// Texts in place of those of the connection, which may name an inner address: the log has them.
const UNREACHABLE: &str = "The state service cannot be reached. Nothing was sent to it; try again.";
const UNAVAILABLE: &str = "The state service is unavailable. Try again.";
const BROKEN: &str = "The connection to the state service broke before its answer was complete.";
const LATE: &str = "The state service did not answer in time.";
const FAILED: &str = "The state service failed. The log of the gateway has the cause.";
const STORE_UNAVAILABLE: &str = "The store is unavailable.";
/// Follows the detail of a write whose outcome is not known.
const MAY_BE_DONE: &str = " The write may have taken effect: read the object before you repeat it.";
/// In place of the text of gRPC, which names a field that REST does not have.
const GONE: &str = "The changes since that revision are no longer known, since it is too old or the store was restored \
                    from a back-up: list again, and watch from the resource_version of the list.";

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json; charset=utf-8");

/// Upstream's names of problems, on which its clients decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Title {
    NotFoundError,
    ResourceAlreadyExists,
    UpdateError,
    TransactionError,
}

impl Title {
    /// Upstream's name, and the part of its documentation about it.
    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Title::NotFoundError => ("NOT_FOUND_ERROR", "not-found-error"),
            Title::ResourceAlreadyExists => ("RESOURCE_ALREADY_EXISTS", "resource-already-exists"),
            Title::UpdateError => ("UPDATE_ERROR", "update-error"),
            Title::TransactionError => ("TRANSACTION_ERROR", "transaction-error"),
        }
    }
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) title: Option<Title>,
    pub(crate) detail: String,
    /// Wrong fields: for programs, beside upstream's text.
    pub(crate) violations: Vec<Violation>,
    /// Methods that the path knows, of a 405.
    pub(crate) allow: Option<String>,
    /// Whether the request, if it is a write, may have taken effect.
    pub(crate) may_be_done: bool,
}

/// Which object a request is about, for upstream's texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    /// Empty for global objects.
    pub(crate) namespace: String,
    /// Whether bodies show the fields of the spec beside the metadata, and so in violations too.
    pub(crate) flat: bool,
}

impl Subject {
    /// The violations that a refusal names, with the paths of the body.
    fn violations(&self, status: &Status) -> Vec<Violation> {
        let mut violations = error::violations(status);
        for violation in violations.iter_mut().filter(|_| self.flat) {
            if let Some(shown) = violation.field.strip_prefix("spec.") {
                violation.field = shown.to_owned();
            }
        }
        violations
    }
}

impl Problem {
    /// A problem without a title.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let (violations, allow) = (Vec::new(), None);
        Problem { status, title: None, detail: detail.into(), violations, allow, may_be_done: false }
    }

    /// Upstream's text of a refusal without details.
    pub(crate) fn plain(status: StatusCode) -> Self {
        let reason = status.canonical_reason().unwrap_or_default();
        Self::new(status, format!("{}: {reason}", status.as_u16()))
    }

    fn titled(status: StatusCode, title: Title, detail: impl Into<String>) -> Self {
        Problem { title: Some(title), ..Self::new(status, detail) }
    }

    /// Wrong fields of a body.
    pub(crate) fn invalid(violations: Vec<Violation>) -> Self {
        let detail = python::nested(&violations);
        Problem { violations, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    /// A wrong query parameter.
    pub(crate) fn query(name: &str, text: &str) -> Self {
        // With upstream's spaces.
        let detail = format!(r#"{{"query": {{"{name}": [{}]}}}}"#, Value::from(text));
        let violations = vec![Violation::new(format!("query.{name}"), text)];
        Problem { violations, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    /// A wrong header.
    pub(crate) fn header(name: &str, text: &str) -> Self {
        let detail = format!(r#"{{"headers": {{"{name}": [{}]}}}}"#, Value::from(text));
        let violations = vec![Violation::new(format!("headers.{name}"), text)];
        Problem { violations, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    /// There is no room for the answer.
    pub(crate) fn no_room(no_room: &NoRoom) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, format!("There is no room for the answer: {no_room}."))
    }

    /// The answer did not begin within the time that the caller allowed.
    pub(crate) fn late(limit: Duration) -> Self {
        let limit = limit.as_secs_f64();
        let text = format!("The answer was not ready within {limit} s (X-Request-Timeout).");
        Self::of_unknown_outcome(StatusCode::GATEWAY_TIMEOUT, text)
    }

    /// A failure after the request may have reached the store.
    fn of_unknown_outcome(status: StatusCode, detail: impl Into<String>) -> Self {
        Problem { may_be_done: true, ..Self::new(status, detail) }
    }

    /// The problem of this request: that it may have taken effect is said if it is a write.
    pub(crate) fn of_request(mut self, writes: bool) -> Self {
        if std::mem::take(&mut self.may_be_done) && writes {
            self.detail.push_str(MAY_BE_DONE);
        }
        self
    }

    /// A field that must stay as it is.
    pub(crate) fn immutable(field: &str) -> Self {
        let name = field.rsplit('.').next().unwrap_or(field);
        let detail = format!("Trying to update an immutable field: {name}");
        Self::titled(StatusCode::BAD_REQUEST, Title::UpdateError, detail)
    }

    /// The problem of a refusal of the state service.
    pub(crate) fn of(status: &Status, subject: &Subject) -> Self {
        match error::reason(status) {
            Some(reason) => Self::of_reason(reason, status, subject),
            None => Self::of_connection(status),
        }
    }

    /// An error without a reason: of the connection, of a proxy, or of the state service before it knew the request.
    fn of_connection(status: &Status) -> Self {
        if is_unsent(status) {
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, UNREACHABLE);
        }
        if is_broken(status) {
            return Self::of_unknown_outcome(StatusCode::BAD_GATEWAY, BROKEN);
        }
        let code = of_code(status.code());
        let text = match code {
            StatusCode::GATEWAY_TIMEOUT => return Self::of_unknown_outcome(code, LATE),
            StatusCode::SERVICE_UNAVAILABLE => UNAVAILABLE,
            StatusCode::INTERNAL_SERVER_ERROR => FAILED,
            // About the request.
            _ => status.message(),
        };
        Self::new(code, text)
    }

    fn of_reason(reason: ErrorReason, status: &Status, subject: &Subject) -> Self {
        let text = status.message();
        let Subject { kind, name, namespace, .. } = subject;
        let violations = subject.violations(status);
        match reason {
            ErrorReason::InvalidField | ErrorReason::InvalidPageToken => Self::invalid(violations),
            ErrorReason::ImmutableField => {
                let field = violations.first().map(|violation| violation.field.clone()).unwrap_or_default();
                Problem { violations, ..Self::immutable(&field) }
            }
            ErrorReason::NothingToUpdate => {
                Self::titled(StatusCode::BAD_REQUEST, Title::UpdateError, "The body contained no update.")
            }
            ErrorReason::NotFound if name.is_empty() => {
                Self::titled(StatusCode::NOT_FOUND, Title::NotFoundError, text)
            }
            ErrorReason::NotFound => {
                let namespace = python::optional(namespace);
                let text = format!("'{kind}' '{name}' does not exist in namespace {namespace}");
                Self::titled(StatusCode::NOT_FOUND, Title::NotFoundError, text)
            }
            ErrorReason::AlreadyExists => {
                let place =
                    if namespace.is_empty() { String::new() } else { format!(" in namespace '{namespace}'") };
                let text = format!("{kind} '{name}' already exists{place}");
                Self::titled(StatusCode::CONFLICT, Title::ResourceAlreadyExists, text)
            }
            ErrorReason::Conflict | ErrorReason::Fenced => {
                Self::titled(StatusCode::CONFLICT, Title::TransactionError, text)
            }
            ErrorReason::FinalizersInUse | ErrorReason::BeingDeleted | ErrorReason::InUse => {
                Self::titled(StatusCode::CONFLICT, Title::UpdateError, text)
            }
            ErrorReason::RevisionCompacted => Self::new(StatusCode::GONE, GONE),
            ErrorReason::Unauthenticated => {
                Self::new(StatusCode::UNAUTHORIZED, "401: No user has been authenticated.")
            }
            ErrorReason::Forbidden => Self::plain(StatusCode::FORBIDDEN),
            ErrorReason::TooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, text),
            ErrorReason::NotBuilt => Problem { violations, ..Self::new(StatusCode::NOT_IMPLEMENTED, text) },
            ErrorReason::StoreUnavailable => {
                Self::of_unknown_outcome(StatusCode::SERVICE_UNAVAILABLE, STORE_UNAVAILABLE)
            }
            ErrorReason::ShuttingDown | ErrorReason::WatcherTooSlow | ErrorReason::PermissionsChanged => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
            }
            ErrorReason::DeadlineExceeded | ErrorReason::TooManyCalls => {
                Self::new(of_code(status.code()), text)
            }
            ErrorReason::Internal | ErrorReason::Unspecified => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
        }
    }

    /// The answer; `documentation` is where upstream's types are explained.
    pub(crate) fn response(&self, documentation: &str) -> Response {
        let mut response = (self.status, self.body(documentation).to_string()).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
        if let Some(allow) = self.allow.as_ref().and_then(|allow| HeaderValue::try_from(allow).ok()) {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        response
    }

    /// The answer's JSON.
    pub(crate) fn body(&self, documentation: &str) -> Value {
        let mut body = Map::new();
        let texts = self.title.map(Title::texts);
        let r#type = match texts {
            Some((_, slug)) if !documentation.is_empty() => format!("{documentation}#{slug}"),
            _ => "about:blank".to_owned(),
        };
        body.insert("type".into(), r#type.into());
        if let Some((title, _)) = texts {
            body.insert("title".into(), title.into());
        }
        body.insert("status".into(), self.status.as_u16().into());
        body.insert("detail".into(), self.detail.as_str().into());
        if !self.violations.is_empty() {
            let violation = |violation: &Violation| json!({"field": violation.field, "description": violation.description});
            body.insert("violations".into(), self.violations.iter().map(violation).collect());
        }
        Value::Object(body)
    }
}

/// The status for errors without a reason.
fn of_code(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument => StatusCode::UNPROCESSABLE_ENTITY,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        // Larger than the state service reads at all.
        Code::OutOfRange => StatusCode::PAYLOAD_TOO_LARGE,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable | Code::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn subject(namespace: &str) -> Subject {
        Subject { kind: "Application", name: "app".into(), namespace: namespace.into(), flat: false }
    }

    #[rstest]
    #[case(ErrorReason::NotFound, 404, Some("NOT_FOUND_ERROR"))]
    #[case(ErrorReason::AlreadyExists, 409, Some("RESOURCE_ALREADY_EXISTS"))]
    #[case(ErrorReason::NothingToUpdate, 400, Some("UPDATE_ERROR"))]
    #[case(ErrorReason::ImmutableField, 400, Some("UPDATE_ERROR"))]
    #[case(ErrorReason::FinalizersInUse, 409, Some("UPDATE_ERROR"))]
    #[case(ErrorReason::Conflict, 409, Some("TRANSACTION_ERROR"))]
    #[case(ErrorReason::InvalidField, 422, None)]
    #[case(ErrorReason::RevisionCompacted, 410, None)]
    #[case(ErrorReason::Unauthenticated, 401, None)]
    #[case(ErrorReason::Forbidden, 403, None)]
    #[case(ErrorReason::StoreUnavailable, 503, None)]
    #[case(ErrorReason::NotBuilt, 501, None)]
    #[case(ErrorReason::TooLarge, 413, None)]
    fn the_reason_chooses_status_and_title(
        #[case] reason: ErrorReason,
        #[case] status: u16,
        #[case] title: Option<&str>,
    ) {
        let refused = error::status(Code::Unknown, reason, "text");
        let body = Problem::of(&refused, &subject("ns")).body("http://docs/problem.html");
        assert_eq!(body["status"], status);
        assert_eq!(body.get("title").and_then(Value::as_str), title);
        let slug = title.map(|title| title.to_lowercase().replace('_', "-"));
        let expected =
            slug.map_or("about:blank".to_owned(), |slug| format!("http://docs/problem.html#{slug}"));
        assert_eq!(body["type"], expected.as_str());
    }

    #[test]
    fn texts_are_upstreams() {
        let text = |reason, namespace: &str| {
            Problem::of(&error::status(Code::Unknown, reason, "text"), &subject(namespace)).detail
        };
        assert_eq!(text(ErrorReason::NotFound, "ns"), "'Application' 'app' does not exist in namespace 'ns'");
        assert_eq!(text(ErrorReason::NotFound, ""), "'Application' 'app' does not exist in namespace None");
        assert_eq!(
            text(ErrorReason::AlreadyExists, "ns"),
            "Application 'app' already exists in namespace 'ns'"
        );
        assert_eq!(text(ErrorReason::AlreadyExists, ""), "Application 'app' already exists");
        assert_eq!(text(ErrorReason::NothingToUpdate, ""), "The body contained no update.");
        let name = [Violation::new("metadata.name", "is \"b\", the request is for \"a\"")];
        let immutable = Problem::of(&error::refused(ErrorReason::ImmutableField, &name), &subject("ns"));
        assert_eq!(immutable.detail, "Trying to update an immutable field: name");
        let query = Problem::query("heartbeat", "Must be greater than or equal to 0.");
        assert_eq!(query.detail, r#"{"query": {"heartbeat": ["Must be greater than or equal to 0."]}}"#);
    }

    #[test]
    fn only_a_write_is_said_to_have_taken_effect_perhaps() {
        let unknown = [
            Problem::late(Duration::from_secs(2)),
            Problem::of(&Status::deadline_exceeded("no answer"), &subject("ns")),
            Problem::of(
                &error::status(Code::Unavailable, ErrorReason::StoreUnavailable, "text"),
                &subject("ns"),
            ),
        ];
        for problem in unknown {
            assert!(problem.clone().of_request(true).detail.contains("may have taken effect"), "{problem:?}");
            assert_eq!(problem.clone().of_request(false).detail, problem.detail);
        }
        let refused = Problem::plain(StatusCode::FORBIDDEN);
        assert_eq!(refused.clone().of_request(true), refused);
    }

    #[test]
    fn errors_of_the_connection_have_no_title() {
        let lost = Problem::of(&Status::unavailable("cannot reach http://state"), &subject("ns"));
        assert_eq!((lost.status, lost.title), (StatusCode::SERVICE_UNAVAILABLE, None));
        assert!(!lost.detail.contains("http"), "{}", lost.detail);
        let late = Problem::of(&Status::deadline_exceeded("no answer"), &subject("ns"));
        assert_eq!(late.status, StatusCode::GATEWAY_TIMEOUT);
    }
}
