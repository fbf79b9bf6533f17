//! The store on etcd (3.4 and later): one key space below a fixed prefix of an etcd cluster.

mod access;
mod answer;
mod balance;
mod batch;
mod calls;
mod commit;
mod history;
mod lease;
mod members;
mod progress;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{
    Client, ConnectOptions, Error, GetOptions, GetResponse, KvClient, LeaseClient, MaintenanceClient,
    WatchClient,
};
use futures::stream::BoxStream;
use krake_runtime::reachable::Contact;
use tokio_util::task::AbortOnDropHandle;
use tonic::Code;

use super::cursor::Cursor;
use super::{
    ASIDE_MARK, Backend, Batch, Bid, Conflict, Entry, Key, Lineage, Listing, MAX_TXN_OPS, Page, Revision,
    Standing, Store, StoreError, Txn, WatchError,
};
pub use access::{EtcdAccess, Secret};
use answer::{Refusal, Root, header_revision, refusal};
use balance::Balance;
use calls::Calls;
use commit::Commits;
use history::History;
use lease::EtcdLeases;
use members::{Members, probe};
use progress::{Progress, Requests};
use watch::EtcdWatch;

/// The longest key prefix: it is part of what [`Txn::size`] allows for each operation.
const MAX_PREFIX_BYTES: usize = 64;

/// The largest answer accepted. A page that would be larger is asked for again with fewer entries; a fragment of a
/// watch is about 2 MiB, or one change with its previous value.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// Silence on a connection with open calls after which it is pinged, and the time that the answer may take.
/// Together they stay below the default deadline of a call, so that the next call finds a new connection.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(2));

/// Measurements of the lineage for one answer. The smallest is taken: a measurement is too large if etcd was
/// interrupted while it read its revision and its raft index.
const LINEAGE_MEASUREMENTS: usize = 3;

/// Key that is read and watched where only the header of the answer counts: below what an etcd user must be granted
/// anyway.
const PROBE: Key = Key::from_static("/krake/");

/// How to reach etcd and how long to wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdOptions {
    /// The members' client URLs, `http://host:port` or `https://host:port`; at least one.
    pub endpoints: Vec<String>,
    /// Stands before every key in etcd and is not seen above the store; at most 64 bytes, may be empty.
    pub prefix: String,
    /// Credentials and authorities.
    pub access: EtcdAccess,
    /// The time to make a connection.
    pub connect_timeout: Duration,
    /// The deadline of every call.
    pub request_timeout: Duration,
}

impl EtcdOptions {
    /// The default deadlines: 2 s to connect, 5 s for a call.
    #[must_use]
    pub fn new(endpoints: Vec<String>, prefix: impl Into<String>) -> Self {
        Self {
            endpoints,
            prefix: prefix.into(),
            access: EtcdAccess::default(),
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(5),
        }
    }
}

/// A store on an etcd cluster that others may use too, each below a prefix of their own. Compaction is of the whole
/// cluster.
#[derive(Clone)]
pub struct EtcdStore {
    kv: KvClient,
    commits: Arc<Commits>,
    leases: LeaseClient,
    maintenance: MaintenanceClient,
    /// On a connection of its own: a watch that is not read fills the flow-control window of its connection.
    watch: WatchClient,
    /// Whom `watch` belongs to.
    watches: Client,
    root: Root,
    calls: Calls,
    progress: Arc<Progress>,
    members: Arc<Members>,
    history: History,
    /// Goes on asking etcd to let the user in.
    _log_in: Option<Arc<AbortOnDropHandle<()>>>,
    _balance: Option<Arc<AbortOnDropHandle<()>>>,
}

impl EtcdStore {
    /// Prepares the connections; they are made by the first call, so etcd may come up later.
    /// Fails with [`StoreError::Invalid`] for options that cannot work, a user that etcd refuses included.
    pub async fn connect(options: EtcdOptions) -> Result<Self, StoreError> {
        // Boxed, because etcd's clients are large futures.
        Box::pin(Self::prepare(options)).await
    }

    async fn prepare(options: EtcdOptions) -> Result<Self, StoreError> {
        if options.prefix.len() > MAX_PREFIX_BYTES {
            let reason = format!("the etcd key prefix is longer than {MAX_PREFIX_BYTES} bytes");
            return Err(StoreError::Invalid { reason });
        }
        // No pings without open calls: etcd takes them for an attack and closes the connection.
        let mut connect = ConnectOptions::new()
            .with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1)
            .with_keep_alive_while_idle(false)
            .with_connect_timeout(options.connect_timeout)
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some(tls) = options.access.tls(&options.endpoints)? {
            connect = connect.with_tls(tls);
        }
        let client = async || {
            let client = Client::connect(&options.endpoints, Some(connect.clone())).await;
            client.map_err(invalid)
        };
        let (calls, watches) = (Box::pin(client()).await?, Box::pin(client()).await?);
        let limits = Calls::new(options.request_timeout, options.endpoints.len());
        let anonymous = connect.clone();
        let log_in = match options.access.user {
            Some(user) => {
                connect = connect.with_user(&user.0, user.1.expose());
                let clients = vec![calls.clone(), watches.clone()];
                Box::pin(access::authenticate(user, clients, limits)).await?
            }
            None => None,
        };
        let balanced = vec![calls.clone(), watches.clone()];
        let balance = Balance::keep(&options.endpoints, &anonymous, balanced).await.map_err(invalid)?;
        let kv = calls.kv_client().max_decoding_message_size(MAX_ANSWER_BYTES);
        let root = Root::new(&options.prefix);
        Ok(Self {
            commits: Arc::new(Commits::new(kv.clone(), root.clone(), limits)),
            leases: calls.lease_client(),
            maintenance: calls.maintenance_client(),
            history: History::new(kv.clone(), root.clone(), limits),
            kv,
            watch: watches.watch_client().max_decoding_message_size(MAX_ANSWER_BYTES),
            watches,
            root,
            calls: limits,
            progress: Arc::new(Progress::new()),
            members: Arc::new(Members {
                endpoints: options.endpoints,
                anonymous,
                connect,
                deadline: options.request_timeout,
            }),
            _log_in: log_in.map(Arc::new),
            _balance: balance.map(Arc::new),
        })
    }

    async fn read(&self, key: &[u8], options: GetOptions) -> Result<GetResponse, Refusal> {
        let get = |mut kv: KvClient| {
            let (key, options) = (key.to_vec(), options.clone());
            async move { kv.get(key, Some(options)).await }
        };
        self.calls.within(&self.kv, get).await
    }

    /// One measurement; `None` from a server that does not tell its status, as a proxy may.
    async fn measure_lineage(&self) -> Result<Option<Lineage>, StoreError> {
        let status = self.calls.send(&self.maintenance, |mut client| async move { client.status().await });
        let answer = match tokio::time::timeout(self.calls.deadline(), status).await {
            Ok(Ok(answer)) => answer.0,
            Ok(Err(Error::GRpcStatus(status)))
                if matches!(status.code(), Code::Unimplemented | Code::PermissionDenied) =>
            {
                return Ok(None);
            }
            Ok(Err(error)) => {
                let refusal = refusal(&error);
                return Err(self.error(refusal, Revision(0)).await);
            }
            Err(_) => return Err(self.calls.late()),
        };
        let at = header_revision(answer.header.as_ref())?;
        let store = answer.header.map(|header| header.cluster_id).unwrap_or_default();
        let index = i64::try_from(answer.raft_applied_index).unwrap_or(i64::MAX);
        // Servers before 3.4 and imitations of etcd leave the index out.
        Ok((index > 0).then(|| Lineage { store, drift: index.saturating_sub(at.0), at }))
    }

    fn leases(&self) -> EtcdLeases {
        EtcdLeases {
            kv: self.kv.clone(),
            leases: self.leases.clone(),
            root: self.root.clone(),
            calls: self.calls,
        }
    }

    /// One page of a list; smaller where the answer would be too large.
    async fn page(&self, prefix: &Key, page: Page, options: GetOptions) -> Result<Listing, StoreError> {
        page.check()?;
        let (mut start, end) = self.root.range(prefix);
        if let Some(after) = page.after.filter(|after| after >= prefix) {
            start = self.root.outer(&after);
            start.push(0);
        }
        let at = page.at.unwrap_or_default();
        let mut limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
        loop {
            let options = options.clone().with_range(end.clone()).with_revision(at.0).with_limit(limit);
            match self.read(&start, options).await {
                Ok(answer) => {
                    let revision = page.at.map_or_else(|| header_revision(answer.0.header.as_ref()), Ok)?;
                    let entries = answer.0.kvs.into_iter().map(|pair| self.root.entry(pair)).collect();
                    return Ok(Listing { entries, revision, more: answer.0.more });
                }
                Err(Refusal::AnswerTooLarge) if limit > 1 => limit = (limit / 2).min(1024),
                Err(refusal) => return Err(self.error(refusal, at).await),
            }
        }
    }

    fn watch_range(&self, prefix: &Key, after: Revision) -> EtcdWatch {
        EtcdWatch::new(
            (self.watches.clone(), self.watch.clone()),
            self.root.clone(),
            self.history.clone(),
            prefix,
            after,
            self.calls.deadline(),
        )
    }

    /// The error of a read that was refused because its revision is compacted.
    async fn oldest(&self) -> StoreError {
        let mut failed = StoreError::Unavailable { reason: String::new() };
        // A watch that fails may have met a dead member.
        for _ in 0..self.calls.attempts() {
            match self.watch_range(&PROBE, Revision(0)).oldest().await {
                Ok(oldest) => return StoreError::Compacted { oldest },
                Err(reason) => failed = StoreError::Unavailable { reason },
            }
        }
        failed
    }

    /// The error of a call that named the revision `asked`, if any.
    async fn error(&self, refusal: Refusal, asked: Revision) -> StoreError {
        match refusal {
            Refusal::Other(error) => error,
            Refusal::Future => StoreError::Future { asked },
            Refusal::AnswerTooLarge => {
                StoreError::TooLarge { reason: format!("one entry exceeds {MAX_ANSWER_BYTES} bytes") }
            }
            // A refused read does not tell what is left; a watch from the beginning does.
            Refusal::Compacted => self.oldest().await,
        }
    }
}

/// The same transaction, which puts [`ASIDE_MARK`] too if the watch of [`ROOT`](super::ROOT) would not see it otherwise.
/// etcd's own limit leaves no room for it in a transaction of the maximum number of operations: readers then find out by
/// other means.
fn marked(txn: Txn) -> Txn {
    let is_seen = txn.ops.iter().any(|op| !op.key().is_aside());
    if is_seen || txn.ops.len() >= MAX_TXN_OPS { txn } else { txn.put(ASIDE_MARK, Bytes::new()) }
}

/// The error of options that cannot work.
fn invalid(error: Error) -> StoreError {
    match refusal(&error) {
        Refusal::Other(error) => error,
        _ => StoreError::Invalid { reason: error.to_string() },
    }
}

#[async_trait]
impl Store for EtcdStore {
    fn backend(&self) -> Backend {
        Backend { name: "etcd", batches: Some(self.commits.sizes()) }
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        match self.history.revision().await {
            Ok(revision) => Ok(revision),
            Err(refusal) => Err(self.error(refusal, Revision(0)).await),
        }
    }

    fn expect_history(&self, key: Key, value: Bytes) {
        self.history.expect(key, value);
    }

    async fn contact(&self) -> Contact {
        let key = self.root.outer(&PROBE);
        match probe(self.kv.clone(), &key, self.calls.deadline()).await {
            // The connection may have been that of a member which is down: the balancer picks those as often as others.
            Contact::Unreachable => self.members.contact(&key).await,
            contact => contact,
        }
    }

    async fn lineage(&self) -> Result<Option<Lineage>, StoreError> {
        let mut least: Option<Lineage> = None;
        for _ in 0..LINEAGE_MEASUREMENTS {
            let Some(lineage) = self.measure_lineage().await? else { return Ok(None) };
            let smaller = |least: &Lineage| lineage.drift >= least.drift;
            least = least.filter(smaller).or(Some(lineage));
        }
        Ok(least)
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        key.check()?;
        match self.read(&self.root.outer(key), GetOptions::new()).await {
            Ok(answer) => Ok(self.root.first(answer.0)),
            Err(refusal) => Err(self.error(refusal, Revision(0)).await),
        }
    }

    async fn list(&self, prefix: &Key, page: Page) -> Result<Listing, StoreError> {
        self.page(prefix, page, GetOptions::new()).await
    }

    async fn keys(&self, prefix: &Key, page: Page) -> Result<Listing, StoreError> {
        self.page(prefix, page, GetOptions::new().with_keys_only()).await
    }

    async fn commit(&self, txn: Txn) -> Result<Result<Revision, Conflict>, StoreError> {
        txn.check()?;
        self.commits.commit(marked(txn)).await
    }

    fn watch(&self, prefix: &Key, after: Revision) -> BoxStream<'static, Result<Batch, WatchError>> {
        self.watch_range(prefix, after).into_stream()
    }

    fn watch_progress(&self, prefix: &Key, after: Revision) -> BoxStream<'static, Result<Batch, WatchError>> {
        let requests = Requests::new(self.progress.clone(), self.members.clone());
        self.watch_range(prefix, after).with_progress(requests).into_stream()
    }

    async fn request_progress(&self) -> Result<bool, StoreError> {
        Ok(self.progress.request())
    }

    async fn compact(&self, to: Revision) -> Result<(), StoreError> {
        if to < Revision(1) {
            return Ok(());
        }
        let compact = |mut kv: KvClient| async move { kv.compact(to.0, None).await };
        match self.calls.within(&self.kv, compact).await {
            Ok(_) | Err(Refusal::Compacted) => Ok(()),
            Err(refusal) => Err(answer::refused_to_compact(self.error(refusal, to).await)),
        }
    }

    async fn campaign(&self, bid: Bid) -> Result<Standing, StoreError> {
        self.leases().campaign(bid).await
    }

    async fn resign(&self, key: Key, holder: Bytes) -> Result<(), StoreError> {
        self.leases().resign(key, holder).await
    }
}
