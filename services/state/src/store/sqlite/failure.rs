//! Failures of SQLite in the words of the store, each with what to do.

use std::path::Path;

use rusqlite::{Error, ErrorCode};

use super::super::StoreError;

/// The store cannot answer now.
pub(super) fn unavailable(reason: impl Into<String>) -> StoreError {
    StoreError::Unavailable { reason: reason.into() }
}

/// What a failure on `file` means to the caller. Nothing was changed, unless it was a commit whose end the disk did not
/// confirm.
pub(super) fn failure(error: &Error, file: &Path) -> StoreError {
    if error.sqlite_error_code() == Some(ErrorCode::TooBig) {
        return StoreError::TooLarge { reason: error.to_string() };
    }
    unavailable(describe(error, file))
}

/// A failure as operators need it: the file, what happened, what to do.
pub(super) fn describe(error: &Error, file: &Path) -> String {
    let file = file.display();
    let what_to_do = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full; make room, and the store goes on by itself",
        Some(ErrorCode::SystemIoFailure) => {
            "the disk failed, or a limit on it is reached; look at the system's log and at the free space"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program has locked it; end that program's transaction"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "the file is damaged; stop Krake, move the file and its -wal away and restore a back-up with \
             `krake-state restore --from FILE`"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "this process may not write it; check the owner and the mode of the file and of its folder"
        }
        _ => return format!("{file}: {error}"),
    };
    format!("{file}: {what_to_do} ({error})")
}
