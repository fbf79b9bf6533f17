//! The registry's errors as gRPC status (AIP-193).

use krake_proto::error::{self, ErrorReason, Violation};
use tonic::{Code, Status};

use crate::registry::Error;
use crate::store::StoreError;

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        let text = error.to_string();
        let plain = |code, reason| error::status(code, reason, text.clone());
        match error {
            Error::Invalid(violations) => error::invalid(&violations),
            Error::Immutable(violation) => error::refused(ErrorReason::ImmutableField, &[violation]),
            Error::NothingToUpdate => plain(Code::InvalidArgument, ErrorReason::NothingToUpdate),
            Error::NotFound { .. } => plain(Code::NotFound, ErrorReason::NotFound),
            Error::AlreadyExists { .. } => plain(Code::AlreadyExists, ErrorReason::AlreadyExists),
            Error::Conflict { resource_version, .. } => error::status_with(
                Code::Aborted,
                ErrorReason::Conflict,
                text,
                [("resource_version", resource_version.to_string())],
            ),
            Error::Fenced { .. } => plain(Code::Aborted, ErrorReason::Fenced),
            Error::WrongTicket { .. } => plain(Code::PermissionDenied, ErrorReason::Forbidden),
            Error::FinalizersInUse(_) => plain(Code::FailedPrecondition, ErrorReason::FinalizersInUse),
            Error::InUse { .. } => plain(Code::FailedPrecondition, ErrorReason::InUse),
            Error::BeingDeleted(_) => plain(Code::FailedPrecondition, ErrorReason::BeingDeleted),
            Error::Compacted { oldest, .. } => error::status_with(
                Code::OutOfRange,
                ErrorReason::RevisionCompacted,
                text,
                [("oldest", oldest.to_string())],
            ),
            Error::OtherEpoch => plain(Code::OutOfRange, ErrorReason::RevisionCompacted),
            Error::TooSlow => plain(Code::Aborted, ErrorReason::WatcherTooSlow),
            Error::PageToken => {
                let violation =
                    Violation::new("page_token", "was not made for this request; start again without it");
                error::refused(ErrorReason::InvalidPageToken, &[violation])
            }
            Error::ShuttingDown => plain(Code::Unavailable, ErrorReason::ShuttingDown),
            // A store that went back ends the process, so the call may be made again as if the store had been away.
            Error::Store(StoreError::Unavailable { .. } | StoreError::WentBack { .. }) => {
                plain(Code::Unavailable, ErrorReason::StoreUnavailable)
            }
            // A page token or a resume point that is too old, or of another store.
            Error::Store(StoreError::Compacted { .. } | StoreError::Future { .. }) => {
                plain(Code::OutOfRange, ErrorReason::RevisionCompacted)
            }
            Error::Store(StoreError::TooLarge { .. }) => plain(Code::InvalidArgument, ErrorReason::TooLarge),
            Error::Store(StoreError::Invalid { .. }) | Error::Internal(_) => {
                tracing::error!(error = %text, "call failed");
                plain(Code::Internal, ErrorReason::Internal)
            }
        }
    }
}
