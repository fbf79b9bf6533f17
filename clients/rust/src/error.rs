//! How calls fail, by what the caller can do about it.

use krake_proto::error::{self as wire, ErrorReason, Violation};
use thiserror::Error;
use tonic::{Code, Status};

/// A call that failed. [`Error::reason`] is what programs decide on; the text is for people.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The server refused, or did not answer.
    #[error("{}", shown(.0))]
    Status(Box<Status>),
    /// The server answered something that is no message of this API: one of the two is too old. Trying again does not
    /// help.
    #[error("the server's {what} cannot be read: {source}")]
    Malformed {
        /// Which message.
        what: String,
        /// What the decoder says.
        source: prost::DecodeError,
    },
}

impl Error {
    /// Why the server refused; none when it did not answer, or when something in between did.
    pub fn reason(&self) -> Option<ErrorReason> {
        self.status().and_then(wire::reason)
    }

    /// The gRPC status, if there is one.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Error::Status(status) => Some(status),
            Error::Malformed { .. } => None,
        }
    }

    /// Whether the same call may succeed later, unchanged. A conflict is not such: read again first.
    pub fn retryable(&self) -> bool {
        let Some(status) = self.status() else { return false };
        match wire::reason(status) {
            Some(
                ErrorReason::StoreUnavailable
                | ErrorReason::ShuttingDown
                | ErrorReason::WatcherTooSlow
                | ErrorReason::PermissionsChanged
                | ErrorReason::DeadlineExceeded
                | ErrorReason::TooManyCalls,
            ) => true,
            Some(_) => false,
            // Not from Krake: the connection, a proxy or the client's own deadline.
            None => matches!(
                status.code(),
                Code::Unavailable
                    | Code::DeadlineExceeded
                    | Code::ResourceExhausted
                    | Code::Cancelled
                    | Code::Unknown
                    | Code::Internal
            ),
        }
    }

    /// Whether a precondition did not hold: read again, decide again.
    pub fn is_conflict(&self) -> bool {
        self.reason() == Some(ErrorReason::Conflict)
    }

    /// Whether a write failed because the world has moved on since it was decided: the object is another one, is gone, or is
    /// being deleted. Watches report what it is now, and that is to be decided on.
    pub fn is_outdated(&self) -> bool {
        matches!(
            self.reason(),
            Some(ErrorReason::Conflict | ErrorReason::NotFound | ErrorReason::BeingDeleted)
        )
    }

    /// Whether another holder leads, or this process does not: stop acting.
    pub fn is_fenced(&self) -> bool {
        self.reason() == Some(ErrorReason::Fenced)
    }

    /// Whether there is no such object.
    pub fn is_not_found(&self) -> bool {
        self.reason() == Some(ErrorReason::NotFound)
    }

    /// Whether there already is such an object.
    pub fn is_already_exists(&self) -> bool {
        self.reason() == Some(ErrorReason::AlreadyExists)
    }

    /// The `resource_version` that the object has, if this is a conflict that tells it.
    pub fn current_resource_version(&self) -> Option<i64> {
        self.status().and_then(|status| wire::metadata(status, "resource_version"))?.parse().ok()
    }

    /// Which fields are wrong, and how.
    pub fn violations(&self) -> Vec<Violation> {
        self.status().map(wire::violations).unwrap_or_default()
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Error::Status(Box::new(status))
    }
}

/// One line per wrong field; else the server's words; else the code's meaning.
fn shown(status: &Status) -> String {
    let violations = wire::violations(status);
    if !violations.is_empty() {
        return violations.iter().map(Violation::to_string).collect::<Vec<_>>().join("\n");
    }
    match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Code::Unavailable, ErrorReason::StoreUnavailable, true)]
    #[case(Code::Unavailable, ErrorReason::ShuttingDown, true)]
    #[case(Code::Aborted, ErrorReason::WatcherTooSlow, true)]
    #[case(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded, true)]
    #[case(Code::ResourceExhausted, ErrorReason::TooManyCalls, true)]
    #[case(Code::ResourceExhausted, ErrorReason::TooLarge, false)]
    #[case(Code::Aborted, ErrorReason::Conflict, false)]
    #[case(Code::NotFound, ErrorReason::NotFound, false)]
    #[case(Code::Internal, ErrorReason::Internal, false)]
    fn krakes_errors_are_judged_by_their_reason(
        #[case] code: Code,
        #[case] reason: ErrorReason,
        #[case] expected: bool,
    ) {
        let error = Error::from(wire::status(code, reason, "text"));
        assert_eq!(error.retryable(), expected);
        assert_eq!(error.reason(), Some(reason));
    }

    #[rstest]
    #[case(Code::Aborted, ErrorReason::Conflict, true)]
    #[case(Code::NotFound, ErrorReason::NotFound, true)]
    #[case(Code::FailedPrecondition, ErrorReason::BeingDeleted, true)]
    #[case(Code::AlreadyExists, ErrorReason::AlreadyExists, false)]
    #[case(Code::FailedPrecondition, ErrorReason::Fenced, false)]
    #[case(Code::Unavailable, ErrorReason::StoreUnavailable, false)]
    fn a_write_is_outdated_if_the_world_has_moved_on(
        #[case] code: Code,
        #[case] reason: ErrorReason,
        #[case] expected: bool,
    ) {
        assert_eq!(Error::from(wire::status(code, reason, "text")).is_outdated(), expected);
    }

    #[rstest]
    #[case(Code::Unavailable, true)]
    #[case(Code::DeadlineExceeded, true)]
    #[case(Code::Unimplemented, false)]
    #[case(Code::PermissionDenied, false)]
    fn other_errors_are_judged_by_their_code(#[case] code: Code, #[case] expected: bool) {
        let error = Error::from(Status::new(code, "text"));
        assert_eq!(error.retryable(), expected);
        assert_eq!(error.reason(), None);
        assert!(!error.is_not_found() && !error.is_conflict());
    }

    #[test]
    fn people_read_field_and_message() {
        let wrong =
            [Violation::new("metadata.name", "is empty"), Violation::new("spec.manifest[0]", "has no kind")];
        let error = Error::from(wire::invalid(&wrong));
        assert_eq!(error.to_string(), "metadata.name: is empty\nspec.manifest[0]: has no kind");
        assert_eq!(error.violations(), wrong);
        assert!(!Error::from(Status::new(Code::NotFound, "")).to_string().is_empty());
    }

    #[test]
    fn a_conflict_tells_the_present_version() {
        let status = wire::status_with(
            Code::Aborted,
            ErrorReason::Conflict,
            "stale",
            [("resource_version", "7".into())],
        );
        let error = Error::from(status);
        assert!(error.is_conflict());
        assert_eq!(error.current_resource_version(), Some(7));
    }
}
