//! How calls fail: gRPC status with `ErrorInfo` and field violations (AIP-193), made and read in one place.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

pub use crate::krake::meta::v1::ErrorReason;

/// `ErrorInfo.domain` of every error that Krake makes.
pub const DOMAIN: &str = "krake";

const PREFIX: &str = "ERROR_REASON_";

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Path of the field, from the resource, for example `spec.constraints.cluster.labels[0]`.
    pub field: String,
    /// What is wrong and what is allowed.
    pub description: String,
}

impl Violation {
    /// A violation of `field`.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Violation { field: field.into(), description: description.into() }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.description)
    }
}

/// An error with a reason.
pub fn status(code: Code, reason: ErrorReason, message: impl Into<String>) -> Status {
    status_with(code, reason, message, [])
}

/// An error with a reason and metadata for programs, for example the present `resource_version` of a conflict.
pub fn status_with<const N: usize>(
    code: Code,
    reason: ErrorReason,
    message: impl Into<String>,
    metadata: [(&str, String); N],
) -> Status {
    let metadata: HashMap<String, String> =
        metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let details = ErrorDetails::with_error_info(name(reason), DOMAIN, metadata);
    Status::with_error_details(code, message, details)
}

/// `INVALID_ARGUMENT` with one or more field violations; the message repeats them for clients that show only that.
pub fn invalid(violations: &[Violation]) -> Status {
    refused(ErrorReason::InvalidField, violations)
}

/// `INVALID_ARGUMENT` with field violations and a reason of its own.
pub fn refused(reason: ErrorReason, violations: &[Violation]) -> Status {
    let text: Vec<String> = violations.iter().map(Violation::to_string).collect();
    let mut details = ErrorDetails::with_error_info(name(reason), DOMAIN, HashMap::new());
    for violation in violations {
        details.add_bad_request_violation(&violation.field, &violation.description);
    }
    Status::with_error_details(Code::InvalidArgument, text.join("; "), details)
}

/// The reason of an error that Krake made.
pub fn reason(status: &Status) -> Option<ErrorReason> {
    let info = status.get_details_error_info()?;
    if info.domain != DOMAIN {
        return None;
    }
    ErrorReason::from_str_name(&format!("{PREFIX}{}", info.reason))
}

/// One entry of an error's metadata, for example `resource_version`.
pub fn metadata(status: &Status, key: &str) -> Option<String> {
    status.get_details_error_info()?.metadata.remove(key)
}

/// The field violations of an error.
pub fn violations(status: &Status) -> Vec<Violation> {
    let details = status.get_details_bad_request();
    details
        .into_iter()
        .flat_map(|details| details.field_violations)
        .map(|violation| Violation { field: violation.field, description: violation.description })
        .collect()
}

fn name(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix(PREFIX).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_metadata_and_violations_survive_the_wire() {
        let conflict = status_with(
            Code::Aborted,
            ErrorReason::Conflict,
            "stale",
            [("resource_version", "7".to_owned())],
        );
        assert_eq!(reason(&conflict), Some(ErrorReason::Conflict));
        assert_eq!(metadata(&conflict, "resource_version").as_deref(), Some("7"));
        let wrong = [Violation::new("metadata.name", "is empty"), Violation::new("spec", "is missing")];
        let invalid = invalid(&wrong);
        assert_eq!(violations(&invalid), wrong);
        assert_eq!(invalid.message(), "metadata.name: is empty; spec: is missing");
        assert_eq!(reason(&Status::internal("other")), None);
    }
}
