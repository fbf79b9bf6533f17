//! Commits on etcd: concurrent independent ones share a transaction, which costs etcd little more than one of them.

use std::collections::VecDeque;

use etcd_client::{Compare, CompareOp, KvClient, Txn as EtcdTxn, TxnOp, TxnResponse};
use futures::future::join_all;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::super::measured::batch_sizes;
use super::super::{Guard, Op, StoreError, Txn};
use super::answer::{Outcome, Refusal, Root, unavailable};
use super::batch::{may_share, next_batch};
use super::calls::Calls;

/// Shared transactions on their way at once: etcd works on one while the answer of the other travels. The next batch
/// forms meanwhile.
const TRANSACTIONS_IN_FLIGHT: usize = 2;

/// Commits that may wait, a few batches' worth; further ones wait to be queued.
const WAITING_COMMITS: usize = 1024;

/// The commits of one store. Dropping the last handle ends their task.
pub(super) struct Commits {
    queue: mpsc::Sender<Waiting>,
    writer: Writer,
    _sender: AbortOnDropHandle<()>,
}

/// A commit whose caller waits for the answer, or has gone.
struct Waiting {
    txn: Txn,
    answer: oneshot::Sender<Outcome>,
}

impl Commits {
    /// Must be called on the runtime that the commits are made on.
    pub(super) fn new(kv: KvClient, root: Root, calls: Calls) -> Self {
        let writer = Writer { kv, root, calls, sizes: batch_sizes() };
        let (queue, arriving) = mpsc::channel(WAITING_COMMITS);
        let sender = tokio::spawn(send_batches(writer.clone(), arriving));
        Self { queue, writer, _sender: AbortOnDropHandle::new(sender) }
    }

    /// Commits in each transaction.
    pub(super) fn sizes(&self) -> Histogram {
        self.writer.sizes.clone()
    }

    /// Commits a transaction that was checked. A caller that goes away leaves the others of its batch alone.
    pub(super) async fn commit(&self, txn: Txn) -> Outcome {
        if !may_share(&txn) {
            return self.writer.alone(&txn).await;
        }
        let answered = async {
            let (answer, answered) = oneshot::channel();
            self.queue.send(Waiting { txn, answer }).await.ok()?;
            answered.await.ok()
        };
        match timeout(self.writer.calls.deadline(), answered).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => Err(unavailable("the task that sends commits has ended")),
            Err(_) => {
                Err(unavailable(format!("no answer to a commit within {:?}", self.writer.calls.deadline())))
            }
        }
    }
}

/// Sends what waits as soon as there is room for one more transaction. Runs until the store is dropped.
async fn send_batches(writer: Writer, mut arriving: mpsc::Receiver<Waiting>) {
    let (mut waiting, mut arrived) = (VecDeque::new(), Vec::new());
    let mut in_flight = JoinSet::new();
    loop {
        while in_flight.len() < TRANSACTIONS_IN_FLIGHT {
            let batch = take_batch(&mut waiting);
            if batch.is_empty() {
                break;
            }
            in_flight.spawn(writer.clone().commit(batch));
        }
        let room = WAITING_COMMITS - waiting.len();
        tokio::select! {
            count = arriving.recv_many(&mut arrived, room), if room > 0 => {
                if count == 0 {
                    return;
                }
                waiting.extend(arrived.drain(..));
            }
            Some(ended) = in_flight.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a batch of commits failed");
                }
            }
        }
    }
}

/// Takes the next batch out of the queue, and those whose callers have gone.
fn take_batch(waiting: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    waiting.retain(|commit| !commit.answer.is_closed());
    let mut chosen = next_batch(waiting.iter().map(|commit| &commit.txn)).into_iter().peekable();
    let mut batch = Vec::new();
    let mut left = VecDeque::with_capacity(waiting.len());
    for (place, commit) in waiting.drain(..).enumerate() {
        if chosen.next_if_eq(&place).is_some() {
            batch.push(commit);
        } else {
            left.push_back(commit);
        }
    }
    *waiting = left;
    batch
}

/// What a transaction needs to be sent.
#[derive(Clone)]
struct Writer {
    kv: KvClient,
    root: Root,
    calls: Calls,
    /// Commits in each transaction that was sent.
    sizes: Histogram,
}

impl Writer {
    /// Commits a batch and answers its callers.
    async fn commit(self, batch: Vec<Waiting>) {
        let (txns, answers): (Vec<Txn>, Vec<_>) =
            batch.into_iter().map(|commit| (commit.txn, commit.answer)).unzip();
        let outcomes = match self.together(&txns).await {
            Ok(outcomes) => outcomes,
            // Nothing was applied. What is wrong with one of them, or only with their sum, must not hurt the others.
            Err(StoreError::Invalid { .. } | StoreError::TooLarge { .. }) if txns.len() > 1 => {
                join_all(txns.iter().map(|txn| self.alone(txn))).await
            }
            Err(error) => vec![Err(error); txns.len()],
        };
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            // A caller that has gone needs no answer.
            let _ = answer.send(outcome);
        }
    }

    /// Commits one transaction.
    async fn alone(&self, txn: &Txn) -> Outcome {
        self.sizes.observe(1.0);
        match self.send(|| self.request(txn)).await {
            Ok(answer) => self.root.outcome(txn, answer.0),
            // Only the answer to a refused transaction, with what its keys hold, can be that large.
            Err(Refusal::AnswerTooLarge) => {
                let reason = "the entries that the guards are on are too large together".to_owned();
                Err(StoreError::TooLarge { reason })
            }
            Err(refusal) => Err(failure(refusal)),
        }
    }

    /// Commits independent transactions as one.
    async fn together(&self, txns: &[Txn]) -> Result<Vec<Outcome>, StoreError> {
        if let [txn] = txns {
            return Ok(vec![self.alone(txn).await]);
        }
        self.sizes.observe(f64::from(u32::try_from(txns.len()).unwrap_or(u32::MAX)));
        let request = || {
            let children: Vec<TxnOp> = txns.iter().map(|txn| TxnOp::txn(self.request(txn))).collect();
            EtcdTxn::new().and_then(children)
        };
        match self.send(request).await {
            Ok(answer) => self.root.outcomes(txns, answer.0),
            // Too large an answer comes here too: some of them may have been applied.
            Err(refusal) => Err(failure(refusal)),
        }
    }

    async fn send(&self, request: impl Fn() -> EtcdTxn) -> Result<TxnResponse, Refusal> {
        let commit = |mut kv: KvClient| {
            let request = request();
            async move { kv.txn(request).await }
        };
        self.calls.within(&self.kv, commit).await
    }

    /// The guards, the operations, and what is read if a guard fails.
    fn request(&self, txn: &Txn) -> EtcdTxn {
        let compares: Vec<Compare> = txn.guards.iter().map(|guard| self.compare(guard)).collect();
        let reads: Vec<TxnOp> =
            txn.guards.iter().map(|guard| TxnOp::get(self.root.outer(guard.key()), None)).collect();
        let ops: Vec<TxnOp> = txn.ops.iter().map(|op| self.op(op)).collect();
        EtcdTxn::new().when(compares).and_then(ops).or_else(reads)
    }

    fn compare(&self, guard: &Guard) -> Compare {
        let key = self.root.outer(guard.key());
        match guard {
            Guard::Absent(_) => Compare::create_revision(key, CompareOp::Equal, 0),
            Guard::Exists(_) => Compare::create_revision(key, CompareOp::Greater, 0),
            Guard::At(_, revision) => Compare::mod_revision(key, CompareOp::Equal, revision.0),
            Guard::CreatedAt(_, revision) => Compare::create_revision(key, CompareOp::Equal, revision.0),
        }
    }

    fn op(&self, op: &Op) -> TxnOp {
        match op {
            Op::Put(key, value) => TxnOp::put(self.root.outer(key), value.clone(), None),
            Op::Delete(key) => TxnOp::delete(self.root.outer(key), None),
        }
    }
}

/// The error of a transaction, which may have been applied unless it is said to be invalid or too large.
fn failure(refusal: Refusal) -> StoreError {
    match refusal {
        Refusal::Other(error) => error,
        Refusal::Compacted | Refusal::Future | Refusal::AnswerTooLarge => {
            unavailable(format!("unexpected answer of etcd to a transaction: {refusal:?}"))
        }
    }
}
