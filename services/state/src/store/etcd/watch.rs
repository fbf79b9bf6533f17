//! A watch on etcd that outlives its connections and speaks in whole revisions.

use std::collections::VecDeque;
use std::time::Duration;

use etcd_client::{Client, WatchClient, WatchOptions, WatchResponse, WatchStream};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::super::cursor::Cursor;
use super::super::{ASIDE, ASIDE_MARK, Batch, Change, Key, ROOT, Revision, WatchError};
use super::answer::{Regroup, Root, describe, header_revision, is_about_the_user};
use super::history::History;
use super::progress::Requests;

/// Silence after which etcd is asked for an answer. It must be shorter than the ping interval of the connection:
/// etcd closes connections that are pinged more than once in 5 s while it has nothing to send.
const HEARTBEAT: Duration = Duration::from_millis(1500);

/// The first and the longest wait before a lost watch is opened again; it doubles in between. A lost connection is made
/// again at once, and a server that is away costs little.
const REOPEN_DELAY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Why one etcd watch ended.
enum Ended {
    /// The connection or the server failed: to be opened again.
    Lost(String),
    /// The history is compacted up to here.
    Compacted(Revision),
}

/// The place that a watch has reached, and its etcd watch while there is one.
pub(super) struct EtcdWatch {
    client: WatchClient,
    /// Whom `client` belongs to: what logs in again.
    session: Client,
    root: Root,
    history: History,
    prefix: Key,
    /// First key and end of the range in etcd.
    range: (Vec<u8>, Vec<u8>),
    /// The time to open an etcd watch.
    deadline: Duration,
    /// Everything up to here is in `ready` or was taken from it.
    seen: Revision,
    ready: VecDeque<Batch>,
    regroup: Regroup,
    /// Both halves: some servers end a watch whose sending half is dropped.
    stream: Option<WatchStream>,
    /// Losses since etcd last sent something.
    losses: u32,
    /// Where progress is to be reported.
    requests: Option<Requests>,
}

impl EtcdWatch {
    pub(super) fn new(
        (session, client): (Client, WatchClient),
        root: Root,
        history: History,
        prefix: &Key,
        after: Revision,
        deadline: Duration,
    ) -> Self {
        let mut range = root.range(prefix);
        if *prefix == ROOT {
            // Keys aside come after all others, and are large.
            range.1 = root.outer(&ASIDE);
        }
        let prefix = prefix.clone();
        let (ready, regroup) = (VecDeque::new(), Regroup::default());
        Self {
            client,
            session,
            root,
            history,
            prefix,
            range,
            deadline,
            seen: after,
            ready,
            regroup,
            stream: None,
            losses: 0,
            requests: None,
        }
    }

    /// The same watch, which reports progress when it is requested.
    pub(super) fn with_progress(self, requests: Requests) -> Self {
        Self { requests: Some(requests), ..self }
    }

    /// The revision up to which the history is compacted, told by the refusal of this watch. Used by reads, whose
    /// refusal does not tell it.
    pub(super) async fn oldest(mut self) -> Result<Revision, String> {
        let deadline = self.deadline;
        let refused = async move {
            loop {
                match self.receive().await {
                    Ok(_) => {}
                    Err(Ended::Compacted(oldest)) => return Ok(oldest),
                    Err(Ended::Lost(reason)) => return Err(reason),
                }
            }
        };
        let late = |_| Err(format!("etcd did not tell within {deadline:?} how far it is compacted"));
        timeout(deadline, refused).await.unwrap_or_else(late)
    }

    /// The next answer, from a newly opened etcd watch if there is none.
    async fn receive(&mut self) -> Result<WatchResponse, Ended> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            closed => {
                let opened = open(&mut self.client, &self.range, self.seen, self.deadline).await?;
                // Its connection leads to one process of etcd, which stays in one history as long as it runs.
                self.history.check(self.seen).await.map_err(Ended::Lost)?;
                closed.insert(opened)
            }
        };
        let answer = loop {
            let requested = async {
                match &mut self.requests {
                    Some(requests) => requests.requested().await,
                    None => std::future::pending().await,
                }
            };
            let received = tokio::select! {
                biased;
                received = timeout(HEARTBEAT, stream.message()) => received,
                () = requested => {
                    request_progress(stream).await;
                    continue;
                }
            };
            match received {
                Ok(Ok(Some(answer))) => break answer,
                Ok(Ok(None)) => return Err(Ended::Lost("etcd ended the watch".to_owned())),
                Ok(Err(error)) => return Err(Ended::Lost(describe(&error))),
                Err(_) => request_progress(stream).await,
            }
        };
        if answer.canceled() {
            return Err(match answer.compact_revision() {
                0 => Ended::Lost(format!("etcd canceled the watch: {}", answer.cancel_reason())),
                oldest => Ended::Compacted(Revision(oldest)),
            });
        }
        Ok(answer)
    }

    /// Makes batches of an answer. Answers without events (created, progress) only show that etcd is alive, unless this
    /// watch reports progress and trusts the server: old versions of etcd send its revision ahead of pending events.
    fn take(&mut self, answer: WatchResponse) -> Result<(), Ended> {
        if !answer.created() && self.losses > 0 {
            info!(revision = %self.seen, losses = self.losses, "the etcd watch is back");
            self.losses = 0;
        }
        if let (Some(requests), Some(header)) = (&mut self.requests, answer.header()) {
            requests.served_by(header.member_id());
        }
        if let Some(reached) = self.progress(&answer) {
            self.seen = reached;
            self.ready.push_back(Batch { revision: reached, changes: Vec::new() });
            return Ok(());
        }
        let continued = answer.0.fragment;
        let seen = self.seen;
        let new = |modified: Option<i64>| modified.is_some_and(|modified| Revision(modified) > seen);
        let changes: Option<Vec<(Revision, Change)>> = answer
            .0
            .events
            .into_iter()
            .filter(|event| new(event.kv.as_ref().map(|pair| pair.mod_revision)))
            .map(|event| self.root.change(event))
            .collect();
        // Opening it again makes etcd say how far the history is compacted.
        let changes = changes
            .ok_or_else(|| Ended::Lost("a previous value was compacted before it was sent".to_owned()))?;
        let batches = self.regroup.push(changes, continued);
        if let Some(last) = batches.last() {
            self.seen = last.revision;
        }
        let shown: Vec<Batch> = batches.into_iter().filter_map(|batch| self.shown(batch)).collect();
        self.ready.extend(shown);
        Ok(())
    }

    /// A batch without what the watch does not show. One of which nothing is left is a report of progress.
    fn shown(&self, mut batch: Batch) -> Option<Batch> {
        batch.changes.retain(|change| change.key != ASIDE_MARK && change.key.is_watched_below(&self.prefix));
        (!batch.changes.is_empty() || self.requests.is_some()).then_some(batch)
    }

    /// The revision that a report of progress shows, if it shows a later one than the changes.
    fn progress(&self, answer: &WatchResponse) -> Option<Revision> {
        let is_report = answer.0.events.is_empty() && !answer.created() && self.regroup.is_whole();
        let is_trusted = self.requests.as_ref().is_some_and(Requests::is_trusted);
        let reached = header_revision(answer.0.header.as_ref()).ok()?;
        (is_report && is_trusted && reached > self.seen).then_some(reached)
    }

    /// Forgets the etcd watch with what it had sent of an unfinished revision, and waits a little.
    async fn lost(&mut self, reason: &str) {
        self.stream = None;
        self.regroup = Regroup::default();
        if let Some(requests) = &mut self.requests {
            requests.lost();
        }
        self.losses = self.losses.saturating_add(1);
        let wait = (REOPEN_DELAY.0 * 2_u32.saturating_pow((self.losses - 1).min(10))).min(REOPEN_DELAY.1);
        if self.losses == 1 {
            warn!(reason, revision = %self.seen, "lost the etcd watch, opening it again");
        } else {
            debug!(reason, losses = self.losses, ?wait, "cannot open the etcd watch");
        }
        if is_about_the_user(reason) {
            self.log_in().await;
        }
        tokio::time::sleep(wait).await;
    }
}

impl EtcdWatch {
    /// Gets a new token. etcd's client does so for calls that are refused, and not for watches: etcd opens them and cancels
    /// them then.
    async fn log_in(&self) {
        match timeout(self.deadline, self.session.refresh_token()).await {
            Ok(Ok(())) => debug!("logged in again for the etcd watch"),
            Ok(Err(error)) if self.losses == 1 => {
                warn!(reason = describe(&error), "cannot log in to etcd again")
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

impl Cursor for EtcdWatch {
    async fn next(&mut self) -> Result<Batch, WatchError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(batch);
            }
            let ended = match self.receive().await {
                Ok(answer) => self.take(answer).err(),
                Err(ended) => Some(ended),
            };
            match ended {
                None => {}
                Some(Ended::Compacted(oldest)) => return Err(WatchError::Compacted { oldest }),
                Some(Ended::Lost(reason)) => self.lost(&reason).await,
            }
        }
    }
}

/// Asks etcd for a report of progress. A full queue of requests means that earlier ones are not sent either; the pings of
/// the connection find out whether that is for good.
async fn request_progress(stream: &mut WatchStream) {
    drop(timeout(HEARTBEAT, stream.request_progress()).await);
}

/// Opens an etcd watch for what comes after `seen`.
///
/// It starts at `seen` itself, whose events are skipped: etcd accepts a start at the revision to which it is compacted,
/// although the deletions of that revision are forgotten, and so only this makes it refuse a start just after a
/// forgotten revision. 0 would mean "now".
async fn open(
    client: &mut WatchClient,
    range: &(Vec<u8>, Vec<u8>),
    seen: Revision,
    deadline: Duration,
) -> Result<WatchStream, Ended> {
    let options = WatchOptions::new()
        .with_range(range.1.clone())
        .with_start_revision(seen.0.max(1))
        .with_prev_key()
        .with_fragment();
    match timeout(deadline, client.watch(range.0.clone(), Some(options))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Ended::Lost(describe(&error))),
        Err(_) => Err(Ended::Lost(format!("etcd did not open the watch within {deadline:?}"))),
    }
}
