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
            // A store that went back ends the process, so the call may be repeated as if the store had been unavailable.
            Error::Store(
                StoreError::Unavailable { .. } | StoreError::WentBack { .. } | StoreError::Replaced,
            ) => plain(Code::Unavailable, ErrorReason::StoreUnavailable),
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

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_test = path.file_name().unwrap().to_string_lossy().contains("tests");
            match path.is_dir() {
                true if !is_test => sources(&path, found),
                false if !is_test && path.extension().is_some_and(|extension| extension == "rs") => {
                    found.push(path);
                }
                _ => {}
            }
        }
    }

    /// The constructors of tonic's status that `source` calls outside of its tests.
    fn made_without_reason(source: &str) -> Vec<String> {
        let code = source.split("#[cfg(test)]\nmod ").next().unwrap();
        let mut found = Vec::new();
        for (place, _) in code.match_indices("Status::") {
            let is_part_of_a_name = code[..place].ends_with(char::is_alphanumeric);
            let made = &code[place + "Status::".len()..];
            let name: String = made.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            let is_call = made[name.len()..].starts_with('(');
            let reads = ["", "from_header_map"].contains(&name.as_str());
            if !is_part_of_a_name && !reads && is_call {
                found.push(name);
            }
        }
        found
    }

    /// A status of tonic's constructors has no reason.
    #[test]
    fn every_status_is_made_with_a_reason() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        for folder in ["src", "../runtime/src/serve"] {
            sources(&root.join(folder), &mut files);
        }
        assert!(files.len() > 50, "{}", files.len());
        for file in files {
            let source = std::fs::read_to_string(&file).unwrap();
            assert_eq!(made_without_reason(&source), Vec::<String>::new(), "{}", file.display());
        }
    }

    #[test]
    fn a_single_item_for_tests_hides_nothing_behind_it() {
        let source = "#[cfg(test)]\nfn help() {}\nfn f() { Status::internal(1) }\n\
                      #[cfg(test)]\nmod tests { Status::aborted(1) }";
        assert_eq!(made_without_reason(source), ["internal"]);
    }
}
