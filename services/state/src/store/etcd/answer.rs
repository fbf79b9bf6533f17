//! What etcd answers, in the terms of the store. Pure.

use etcd_client::proto::{
    PbEvent, PbKeyValue, PbRangeResponse, PbResponseHeader, PbTxnOpResponse, PbTxnResponse,
};
use etcd_client::{Error, EventType};
use tonic::Code;

use super::super::{Batch, Change, ChangeKind, Conflict, Entry, Key, Revision, StoreError, Txn};

/// How one commit ended.
pub(super) type Outcome = Result<Result<Revision, Conflict>, StoreError>;

/// Why etcd refused a call. `Compacted` and `Future` do not tell the revisions that [`StoreError`] tells.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The revision asked for is compacted.
    Compacted,
    /// The revision asked for does not exist yet.
    Future,
    /// The answer is larger than this client accepts.
    AnswerTooLarge,
    /// Anything else.
    Other(StoreError),
}

/// What to do about an etcd that has reached its quota: it takes no writes then, deletions included.
const FULL: &str = "compact and defragment it (etcdctl compact, etcdctl defrag), or raise its --quota-backend-bytes, and end \
                    the alarm (etcdctl alarm disarm)";

/// Whether etcd says by `message` that it does not know who calls: nobody is logged in yet, the process that gave the token is
/// gone, or users and roles were changed since. All that mends itself, or is mended by a person, while calls are repeated.
pub(super) fn is_about_the_user(message: &str) -> bool {
    ["user name is empty", "invalid auth token", "auth store is old", "authentication failed"]
        .iter()
        .any(|text| message.contains(text))
}

/// Sorts an error by what the caller can do. The texts are those of etcd's `rpctypes` and of tonic.
pub(super) fn refusal(error: &Error) -> Refusal {
    match error {
        Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => {
            Refusal::Other(StoreError::Invalid { reason: error.to_string() })
        }
        Error::GRpcStatus(status) => {
            let message = status.message();
            let reason = describe(error);
            match status.code() {
                Code::OutOfRange if message.contains("has been compacted") => Refusal::Compacted,
                Code::OutOfRange if message.contains("is a future revision") => Refusal::Future,
                Code::OutOfRange if message.contains("message length too large") => Refusal::AnswerTooLarge,
                Code::InvalidArgument
                    if message.contains("too large") || message.contains("too many operations") =>
                {
                    Refusal::Other(StoreError::TooLarge { reason })
                }
                Code::ResourceExhausted if message.contains("larger than max") => {
                    Refusal::Other(StoreError::TooLarge { reason })
                }
                Code::ResourceExhausted if message.contains("database space exceeded") => {
                    Refusal::Other(unavailable(format!("{reason}: {FULL}")))
                }
                Code::InvalidArgument if is_about_the_user(message) => Refusal::Other(unavailable(reason)),
                Code::InvalidArgument => Refusal::Other(StoreError::Invalid { reason }),
                _ => Refusal::Other(unavailable(reason)),
            }
        }
        _ => Refusal::Other(unavailable(describe(error))),
    }
}

/// The same error with what to do where etcd lets only root compact, as its newer releases do.
pub(super) fn refused_to_compact(error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable { reason } if reason.contains("permission denied") => unavailable(format!(
            "{reason}: this etcd lets only users with the role root compact its history; start it with \
             --auto-compaction-retention=1h"
        )),
        other => other,
    }
}

/// An error for log lines and error texts.
pub(super) fn describe(error: &Error) -> String {
    if let Error::GRpcStatus(status) = error {
        return format!("etcd answered {:?}: {}", status.code(), status.message());
    }
    // The outer texts say no more than "transport error"; the cause is at the end of the chain.
    let Error::TransportError(transport) = error else { return error.to_string() };
    let mut cause: &dyn std::error::Error = transport;
    while let Some(source) = cause.source() {
        cause = source;
    }
    format!("{error} ({cause})")
}

/// The key space below a fixed prefix of etcd's, as the store shows it.
#[derive(Debug, Clone)]
pub(super) struct Root(Vec<u8>);

impl Root {
    pub(super) fn new(prefix: &str) -> Self {
        Self(prefix.as_bytes().to_vec())
    }

    /// The key in etcd.
    pub(super) fn outer(&self, key: &Key) -> Vec<u8> {
        [&self.0, key.as_bytes()].concat()
    }

    /// The range of keys in etcd that start with `prefix`: first key and end, in etcd's form.
    pub(super) fn range(&self, prefix: &Key) -> (Vec<u8>, Vec<u8>) {
        let start = self.outer(prefix);
        let end = match start.iter().rposition(|byte| *byte < u8::MAX) {
            Some(last) => start[..last].iter().copied().chain([start[last] + 1]).collect(),
            None => vec![0],
        };
        (if start.is_empty() { vec![0] } else { start }, end)
    }

    /// An entry as the store shows it.
    pub(super) fn entry(&self, pair: PbKeyValue) -> Entry {
        Entry {
            key: self.inner(pair.key),
            value: pair.value.into(),
            created: Revision(pair.create_revision),
            modified: Revision(pair.mod_revision),
        }
    }

    fn inner(&self, mut key: Vec<u8>) -> Key {
        if key.starts_with(&self.0) {
            key.drain(..self.0.len());
        }
        key.into()
    }

    /// The revision and the change that an event tells, or `None` if etcd left out the value before it: then that
    /// value was compacted while the event was on its way.
    pub(super) fn change(&self, event: PbEvent) -> Option<(Revision, Change)> {
        let pair = event.kv?;
        let revision = Revision(pair.mod_revision);
        let previous = event.prev_kv.map(|pair| self.entry(pair));
        let deleted = event.r#type == EventType::Delete as i32;
        if previous.is_none() && (deleted || pair.create_revision < pair.mod_revision) {
            return None;
        }
        if deleted {
            return Some((
                revision,
                Change { key: self.inner(pair.key), kind: ChangeKind::Delete, previous },
            ));
        }
        let entry = self.entry(pair);
        Some((revision, Change { key: entry.key.clone(), kind: ChangeKind::Put(entry), previous }))
    }

    /// The outcome of a transaction.
    pub(super) fn outcome(&self, txn: &Txn, answer: PbTxnResponse) -> Outcome {
        let revision = header_revision(answer.header.as_ref())?;
        self.outcome_at(txn, answer, revision)
    }

    /// The outcomes of the transactions that are nested in another one, in their order. Only the outer answer tells
    /// the revision. It holds for refused ones too: none of the others wrote what they have guards on.
    pub(super) fn outcomes(&self, txns: &[Txn], answer: PbTxnResponse) -> Result<Vec<Outcome>, StoreError> {
        let revision = header_revision(answer.header.as_ref())?;
        if answer.responses.len() != txns.len() {
            return Err(garbled("it has another number of nested transactions"));
        }
        let nested = txns.iter().zip(answer.responses).map(|(txn, nested)| match nested.response {
            Some(PbTxnOpResponse::ResponseTxn(nested)) => self.outcome_at(txn, nested, revision),
            _ => Err(garbled("a nested transaction has no answer")),
        });
        Ok(nested.collect())
    }

    /// A refused transaction has read the keys of its guards, in their order.
    fn outcome_at(&self, txn: &Txn, answer: PbTxnResponse, revision: Revision) -> Outcome {
        if answer.succeeded {
            return Ok(Ok(revision));
        }
        let reads = answer.responses.into_iter().map(|read| match read.response {
            Some(PbTxnOpResponse::ResponseRange(range)) => self.first(range),
            _ => None,
        });
        txn.guards
            .iter()
            .zip(reads)
            .find(|(guard, current)| !guard.holds(current.as_ref()))
            .map(|(guard, current)| Ok(Err(Conflict { key: guard.key().clone(), current, revision })))
            .unwrap_or_else(|| Err(garbled("the guards of a refused transaction all hold")))
    }

    /// The first entry of a read.
    pub(super) fn first(&self, range: PbRangeResponse) -> Option<Entry> {
        range.kvs.into_iter().next().map(|pair| self.entry(pair))
    }
}

/// The revision in the header of an answer.
pub(super) fn header_revision(header: Option<&PbResponseHeader>) -> Result<Revision, StoreError> {
    header.map(|header| Revision(header.revision)).ok_or_else(|| garbled("it has no header"))
}

fn garbled(what: &str) -> StoreError {
    unavailable(format!("the answer of etcd makes no sense: {what}"))
}

/// An error that leaves open what happened.
pub(super) fn unavailable(reason: impl Into<String>) -> StoreError {
    StoreError::Unavailable { reason: reason.into() }
}

/// Puts the changes of a watch together to whole revisions. etcd cuts large answers anywhere (`fragment`), also within a
/// revision, so a revision is whole when a later one begins or when an answer is not continued.
#[derive(Debug, Default)]
pub(super) struct Regroup {
    open: Option<Batch>,
}

impl Regroup {
    /// Whether no revision is waiting for the rest of it.
    pub(super) fn is_whole(&self) -> bool {
        self.open.is_none()
    }

    /// Takes the changes of one answer and gives the batches that are whole now.
    pub(super) fn push(&mut self, changes: Vec<(Revision, Change)>, continued: bool) -> Vec<Batch> {
        let mut whole = Vec::new();
        for (revision, change) in changes {
            match &mut self.open {
                Some(open) if open.revision == revision => open.changes.push(change),
                open => whole.extend(open.replace(Batch { revision, changes: vec![change] })),
            }
        }
        if !continued {
            whole.extend(self.open.take());
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deletions(revisions: &[i64]) -> Vec<(Revision, Change)> {
        let change =
            |at: &i64| Change { key: format!("k{at}").into(), kind: ChangeKind::Delete, previous: None };
        revisions.iter().map(|at| (Revision(*at), change(at))).collect()
    }

    fn shape(batches: &[Batch]) -> Vec<(i64, usize)> {
        batches.iter().map(|batch| (batch.revision.0, batch.changes.len())).collect()
    }

    #[test]
    fn a_revision_is_held_back_until_it_is_whole() {
        let mut regroup = Regroup::default();
        assert_eq!(shape(&regroup.push(deletions(&[5, 5]), true)), []);
        assert_eq!(shape(&regroup.push(deletions(&[5, 6]), true)), [(5, 3)]);
        assert_eq!(shape(&regroup.push(deletions(&[6, 7, 8]), false)), [(6, 2), (7, 1), (8, 1)]);
        assert_eq!(shape(&regroup.push(deletions(&[9]), false)), [(9, 1)]);
    }

    #[test]
    fn the_end_of_a_range_is_after_all_keys_with_the_prefix() {
        let range = |root: &str, prefix: Vec<u8>| Root::new(root).range(&prefix.into());
        assert_eq!(range("/r/", b"a/".to_vec()), (b"/r/a/".to_vec(), b"/r/a0".to_vec()));
        assert_eq!(range("", vec![b'a', 255, 255]), (vec![b'a', 255, 255], b"b".to_vec()));
        assert_eq!(range("", vec![255]), (vec![255], vec![0]));
        assert_eq!(range("", vec![]), (vec![0], vec![0]));
    }

    #[test]
    fn a_change_whose_previous_value_is_gone_is_not_told() {
        let root = Root::new("/r/");
        let event = |version_of: (i64, i64), previous: bool, deleted: bool| {
            let pair = PbKeyValue {
                key: b"/r/a".to_vec(),
                create_revision: version_of.0,
                mod_revision: version_of.1,
                ..Default::default()
            };
            let prev_kv = previous.then(|| PbKeyValue { mod_revision: 3, ..pair.clone() });
            PbEvent { r#type: i32::from(deleted), kv: Some(pair), prev_kv }
        };
        assert!(root.change(event((7, 7), false, false)).is_some(), "a creation has no previous value");
        assert!(root.change(event((3, 7), true, false)).is_some());
        assert!(root.change(event((3, 7), false, false)).is_none());
        assert!(root.change(event((0, 7), false, true)).is_none());
        let (revision, change) = root.change(event((0, 7), true, true)).unwrap();
        assert_eq!((revision, change.key, change.kind), (Revision(7), "a".into(), ChangeKind::Delete));
    }

    #[test]
    fn an_answer_is_described_in_one_plain_line() {
        let status = tonic::Status::with_details(Code::Unavailable, "no leader", "details".into());
        assert_eq!(describe(&Error::GRpcStatus(status)), "etcd answered Unavailable: no leader");
    }

    #[test]
    fn errors_are_sorted_by_what_the_caller_can_do() {
        let refused = |code: Code, text: &str| refusal(&Error::GRpcStatus(tonic::Status::new(code, text)));
        let too_large = refused(Code::InvalidArgument, "etcdserver: request is too large");
        assert!(matches!(too_large, Refusal::Other(StoreError::TooLarge { .. })));
        let compacted = refused(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted");
        assert!(matches!(compacted, Refusal::Compacted));
        let future = refused(Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision");
        assert!(matches!(future, Refusal::Future));
        let logged_out = refused(Code::InvalidArgument, "etcdserver: user name is empty");
        assert!(matches!(logged_out, Refusal::Other(error) if error.retryable()));
        for code in
            [Code::Unavailable, Code::DeadlineExceeded, Code::Unknown, Code::Cancelled, Code::Internal]
        {
            assert!(
                matches!(refused(code, "etcdserver: no leader"), Refusal::Other(error) if error.retryable())
            );
        }
    }
}
