//! The position of a watch in the history of the store, and what follows an interruption. No I/O.

use std::collections::HashSet;

use http::StatusCode;
use krake_proto::envelope::{Event, WatchRequest, WatchResponse, WatchStart};
use krake_proto::error::{self, ErrorReason};
use tonic::Status;

use crate::answer;
use crate::problem::Problem;
use crate::version::Version;

/// Consequence of an interruption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Resume after the last whole revision.
    Resume,
    /// Another attempt cannot help, or would leave changes out.
    End,
}

/// The place of a watch in the history of the store.
#[derive(Debug)]
pub(super) struct Position {
    /// Everything up to this revision was delivered; `None` before the first whole revision.
    revision: Option<i64>,
    /// The history that it belongs to; empty = not known yet.
    epoch: String,
    /// Changes of later revisions that partial messages have delivered.
    ahead: HashSet<Change>,
    /// The last revision that `ahead` holds changes of; 0 if it is empty.
    ahead_until: i64,
}

/// One event: uid and version of its object, and its type.
type Change = (String, i64, i32);

impl Position {
    /// Before the first message of a watch.
    pub(super) fn new(request: &WatchRequest) -> Self {
        let revision = match request.start {
            Some(WatchStart::After(revision)) => Some(revision),
            _ => None,
        };
        Position { revision, epoch: request.epoch.clone(), ahead: HashSet::new(), ahead_until: 0 }
    }

    /// Records a message and removes the events that were delivered before.
    ///
    /// # Errors
    /// When it belongs to another history of the store.
    pub(super) fn take(&mut self, mut message: WatchResponse) -> Result<WatchResponse, Problem> {
        if self.epoch.is_empty() {
            self.epoch.clone_from(&message.epoch);
        } else if !message.epoch.is_empty() && message.epoch != self.epoch {
            let text = "The store was restored from a back-up: list again, and watch from there.";
            return Err(Problem::new(StatusCode::GONE, text));
        }
        if !self.ahead.is_empty() {
            message.events.retain(|event| change(event).is_none_or(|change| !self.ahead.contains(&change)));
        }
        if message.partial {
            self.ahead.extend(message.events.iter().filter_map(change));
            self.ahead_until = self.ahead_until.max(message.resource_version);
        } else {
            // A replica that lags behind may name an older revision: what is ahead of it may still come again.
            self.revision = self.revision.max(Some(message.resource_version));
            if self.revision >= Some(self.ahead_until) {
                self.ahead.clear();
            }
        }
        Ok(message)
    }

    /// Whether the watch can go on after its stream failed, or could not be opened again. Only the reason counts: an
    /// error without one comes from the network or a proxy, and passes.
    pub(super) fn interrupted(&self, status: &Status) -> Next {
        match error::reason(status) {
            _ if self.revision.is_none() => Next::End,
            Some(
                ErrorReason::RevisionCompacted
                | ErrorReason::PermissionsChanged
                | ErrorReason::Unauthenticated
                | ErrorReason::Forbidden
                | ErrorReason::InvalidField
                | ErrorReason::NotBuilt,
            ) => Next::End,
            _ => Next::Resume,
        }
    }

    /// Everything up to here was delivered; `None` before the first whole revision.
    pub(super) fn version(&self) -> Option<Version> {
        self.revision.map(|revision| Version { revision, epoch: self.epoch.clone() })
    }

    /// The request that resumes from here.
    pub(super) fn resume(&self, request: &WatchRequest) -> WatchRequest {
        let start = self.revision.map_or_else(|| request.start.clone(), |at| Some(WatchStart::After(at)));
        WatchRequest { start, epoch: self.epoch.clone(), ..request.clone() }
    }
}

fn change(event: &Event) -> Option<Change> {
    let metadata = answer::metadata(&event.object).ok()?;
    Some((metadata.uid, metadata.resource_version, event.r#type))
}

#[cfg(test)]
mod tests {
    use krake_proto::krake::core::v1::Metric;
    use krake_proto::krake::meta::v1::{EventType, Metadata};
    use prost::Message;
    use rstest::rstest;
    use tonic::Code;

    use super::*;

    fn message(uids: &[&str], revision: i64, partial: bool) -> WatchResponse {
        let event = |uid: &&str| {
            let metadata =
                Metadata { uid: (*uid).to_owned(), resource_version: revision, ..Default::default() };
            let object = Metric { metadata: Some(metadata), spec: None }.encode_to_vec().into();
            Event { r#type: EventType::Modified.into(), object }
        };
        let events = uids.iter().map(event).collect();
        WatchResponse { events, resource_version: revision, epoch: "e".to_owned(), synced: false, partial }
    }

    fn shown(message: &WatchResponse) -> Vec<String> {
        message.events.iter().map(|event| answer::metadata(&event.object).unwrap().uid).collect()
    }

    fn following() -> Position {
        let mut position = Position::new(&WatchRequest::default());
        position.take(message(&[], 10, false)).unwrap();
        position
    }

    fn after(position: &Position) -> (Option<WatchStart>, String) {
        let request = position.resume(&WatchRequest::default());
        (request.start, request.epoch)
    }

    #[test]
    fn it_goes_on_after_the_last_whole_revision_and_repeats_nothing() {
        let mut position = following();
        position.take(message(&["a"], 11, false)).unwrap();
        assert_eq!(shown(&position.take(message(&["a", "b"], 12, true)).unwrap()), ["a", "b"]);
        assert_eq!(after(&position), (Some(WatchStart::After(11)), "e".to_owned()));
        let again = position.take(message(&["a", "b"], 12, true)).unwrap();
        assert_eq!(shown(&again), [""; 0]);
        assert_eq!(shown(&position.take(message(&["c"], 12, false)).unwrap()), ["c"]);
        assert_eq!(after(&position).0, Some(WatchStart::After(12)));
        position.take(message(&[], 7, false)).unwrap();
        assert_eq!(after(&position).0, Some(WatchStart::After(12)), "never backwards");
    }

    #[rstest]
    #[case::older(7)]
    #[case::the_same(10)]
    #[case::between(11)]
    fn a_bookmark_of_a_replica_that_lags_behind_repeats_nothing(#[case] bookmark: i64) {
        let mut position = following();
        position.take(message(&["a"], 12, true)).unwrap();
        position.take(message(&[], bookmark, false)).unwrap();
        assert_eq!(shown(&position.take(message(&["a", "b"], 12, false)).unwrap()), ["b"]);
        position.take(message(&["a"], 13, true)).unwrap();
        assert_eq!(shown(&position.take(message(&["a"], 13, false)).unwrap()), [""; 0]);
    }

    #[test]
    fn another_history_is_a_gap() {
        let mut position = following();
        let restored = WatchResponse { epoch: "other".to_owned(), ..message(&["a"], 3, false) };
        assert_eq!(position.take(restored).unwrap_err().status, StatusCode::GONE);
    }

    #[rstest]
    #[case(Status::unavailable("connection lost"), Next::Resume)]
    #[case(Status::internal("h2 protocol error"), Next::Resume)]
    #[case(error::status(Code::Unavailable, ErrorReason::ShuttingDown, ""), Next::Resume)]
    #[case(error::status(Code::Unavailable, ErrorReason::StoreUnavailable, ""), Next::Resume)]
    #[case(error::status(Code::Aborted, ErrorReason::WatcherTooSlow, ""), Next::Resume)]
    #[case(error::status(Code::OutOfRange, ErrorReason::RevisionCompacted, ""), Next::End)]
    #[case(error::status(Code::Unauthenticated, ErrorReason::Unauthenticated, ""), Next::End)]
    #[case(error::status(Code::PermissionDenied, ErrorReason::Forbidden, ""), Next::End)]
    fn only_what_leaves_a_gap_ends_it(#[case] status: Status, #[case] expected: Next) {
        assert_eq!(following().interrupted(&status), expected);
        assert_eq!(Position::new(&WatchRequest::default()).interrupted(&status), Next::End, "no place yet");
    }
}
