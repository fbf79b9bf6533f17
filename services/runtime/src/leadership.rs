//! Leadership: of several replicas of a controller one acts, the others stand by.
//!
//! [`Leadership`] campaigns in the background and knows until when this process leads for certain: it counts from
//! before a sign of life was sent, so a process that was paused finds its lease over before it acts again. What it
//! writes carries a fence, so a write that was on its way all the same is refused once somebody else leads. And a term
//! begins only when everything that it is to act on shows what was written before it was won.

mod campaign;
mod config;
mod lease;

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures::future::try_join_all;
use krake_client::{Barrier, Client, Fence, Ticket};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use config::{Candidacy, ElectionArgs, ElectionConfig, ElectionSection};
use lease::Lease;

use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// How long work may go on after leadership is lost, before it is dropped where it stands. It cannot write any more.
const STEP_DOWN: Duration = Duration::from_secs(1);
/// How long giving up the place may take; it ends by itself otherwise.
const RESIGN: Duration = Duration::from_secs(1);
/// After this time it is told that a term has not begun.
const BEHIND: Duration = Duration::from_secs(5);
/// A lease that does not end within the life of a process.
const FOR_EVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

/// This process's place in an election; clones share it. The campaign ends with the last clone.
#[derive(Clone)]
pub struct Leadership {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    fence: Fence,
    lease: watch::Sender<Option<Lease>>,
    resign: CancellationToken,
    campaign: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (election, leading) = (self.shared.fence.election(), self.leading());
        f.debug_struct("Leadership").field("election", &election).field("leading", &leading).finish()
    }
}

impl Leadership {
    /// Campaigns in the background, through lost connections and restarts of the server, until the last handle is
    /// dropped or [`Leadership::while_leading`] has ended. Must be called within a Tokio runtime.
    pub fn campaign(client: &Client, candidacy: Candidacy) -> Self {
        let leadership = Self::new(client, &candidacy.election, None);
        let Shared { lease, resign, .. } = &*leadership.shared;
        let campaign = campaign::run(client.clone(), candidacy, lease.clone(), resign.clone());
        let task = AbortOnDropHandle::new(tokio::spawn(campaign));
        *leadership.shared.campaign.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        leadership
    }

    /// Leads without any election, and writes without a fence: for a controller of which there is only one.
    pub fn unopposed(client: &Client, election: &str) -> Self {
        Self::new(
            client,
            election,
            Some(Lease { fence: 0, ticket: Ticket::default(), until: Instant::now() + FOR_EVER }),
        )
    }

    fn new(client: &Client, election: &str, lease: Option<Lease>) -> Self {
        let fence = Fence::new(election);
        let client = if lease.is_some() { client.clone() } else { client.fenced(fence.clone()) };
        let shared = Shared {
            client,
            fence,
            lease: watch::Sender::new(lease),
            resign: CancellationToken::new(),
            campaign: Mutex::default(),
        };
        Leadership { shared: Arc::new(shared) }
    }

    /// The client to write with: its writes carry the fence of the present term of [`Leadership::while_leading`], and
    /// fail outside of it.
    pub fn client(&self) -> Client {
        self.shared.client.clone()
    }

    /// Whether this process leads at this moment, for certain. To be asked before every effect that no fence guards.
    pub fn leading(&self) -> bool {
        self.fence().is_some()
    }

    /// The fence of the present term; `None` while this process does not lead. 0 if there is no election.
    pub fn fence(&self) -> Option<i64> {
        let acting = self.shared.fence.revision()?;
        let held = self.shared.lease.borrow();
        let lease = held.as_ref().filter(|lease| lease.fence == acting)?;
        lease.holds(Instant::now()).then_some(acting)
    }

    /// Carries `work` on for as long as this process leads, and drops it where it stands when that is over: for effects
    /// that no fence guards. Nobody else can be elected before another tenth of the ttl has passed, so what `work` has
    /// begun by then comes before anything that a successor does. `None` if it did not come to its end.
    pub async fn within_lease<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let fence = self.fence()?;
        let (mut lost, mut work) = (pin!(self.lost(fence)), pin!(work));
        poll_fn(|context| {
            // At each step anew: a process that was paused knows by its clock alone that its lease is over.
            if self.fence() != Some(fence) || lost.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            work.as_mut().poll(context).map(Some)
        })
        .await
    }

    /// Runs `work` whenever this process leads, until shutdown is requested or `work` ends by itself; then gives the
    /// place up.
    ///
    /// `barriers`: those of all mirrors that `work` acts on. A term begins, and with it [`Leadership::leading`] and the
    /// right to write, only when all are passed at its fence: everything that the leader before wrote was written before
    /// that, so nothing is decided on a state that is older.
    ///
    /// Each term gets a future of its own. It should end when the handle it gets is requested: at once when leadership
    /// is lost, for it is dropped a second later; in its own time when the process ends.
    ///
    /// # Errors
    /// Those of `work`, and when the feed of a mirror has ended.
    pub async fn while_leading<F>(
        &self,
        barriers: &[Barrier],
        shutdown: &Shutdown,
        mut work: impl FnMut(Shutdown) -> F,
    ) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let result = loop {
            let (fence, ticket) = tokio::select! {
                elected = self.elected() => elected,
                () = shutdown.requested() => break Ok(()),
            };
            let caught_up = tokio::select! {
                caught_up = self.catch_up(barriers, fence) => caught_up,
                () = shutdown.requested() => break Ok(()),
            };
            match caught_up {
                Ok(true) => {}
                Ok(false) => continue,
                Err(closed) => break Err(closed),
            }
            match self.term(fence, ticket, shutdown, &mut work).await {
                Some(ended) => break ended,
                None if shutdown.is_requested() => break Ok(()),
                None => {}
            }
        };
        self.resign().await;
        result
    }

    /// Waits until nothing is behind the fence; false if leadership was lost before.
    async fn catch_up(&self, barriers: &[Barrier], fence: i64) -> anyhow::Result<bool> {
        if fence == 0 {
            // There is no election, and no leader before.
            return Ok(true);
        }
        let mut passed = pin!(try_join_all(barriers.iter().map(|barrier| barrier.pass(fence))));
        let mut told = false;
        loop {
            tokio::select! {
                passed = &mut passed => {
                    passed?;
                    return Ok(true);
                }
                why = self.lost(fence) => {
                    tracing::warn!(election = self.shared.fence.election(), fence, why, "elected for nothing");
                    return Ok(false);
                }
                () = sleep(BEHIND), if !told => {
                    told = true;
                    let election = self.shared.fence.election();
                    tracing::warn!(election, fence, "elected, but the local cache has not caught up yet: not leading yet");
                }
            }
        }
    }

    /// One term; `None` if leadership was lost.
    async fn term<F>(
        &self,
        fence: i64,
        ticket: Ticket,
        shutdown: &Shutdown,
        work: &mut impl FnMut(Shutdown) -> F,
    ) -> Option<anyhow::Result<()>>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let election = self.shared.fence.election();
        tracing::info!(election, fence, "leading");
        // Lowered in any case, also when this future is dropped.
        let _raised = Raised::new(&self.shared.fence, fence, ticket);
        let stop = shutdown.child();
        let mut work = Box::pin(work(stop.clone()));
        let why = tokio::select! {
            ended = &mut work => return Some(ended),
            why = self.lost(fence) => why,
        };
        tracing::warn!(election, fence, why, "not leading any more: stepping down");
        stop.request();
        timeout(STEP_DOWN, work).await.ok()?.err().map(Err)
    }

    /// Waits until this process leads; the fence and the ticket of its term.
    async fn elected(&self) -> (i64, Ticket) {
        let mut lease = self.shared.lease.subscribe();
        loop {
            let held = lease.borrow_and_update().clone();
            if let Some(lease) = held.filter(|lease| lease.holds(Instant::now())) {
                return (lease.fence, lease.ticket);
            }
            // The sender is in `shared`, so waiting cannot fail.
            let _ = lease.changed().await;
        }
    }

    /// Waits until the term of this fence is over, and tells why.
    async fn lost(&self, fence: i64) -> &'static str {
        let mut lease = self.shared.lease.subscribe();
        loop {
            let held = lease.borrow_and_update().clone();
            let Some(held) = held.filter(|lease| lease.fence == fence) else {
                return "another one was elected";
            };
            if !held.holds(Instant::now()) {
                return "the lease is over";
            }
            tokio::select! {
                _ = lease.changed() => {}
                () = sleep_until(held.until) => {}
                () = self.shared.fence.refused() => {
                    // What was known of the lease is wrong.
                    self.shared.lease.send_if_modified(|lease| lease.take_if(|lease| lease.fence == fence).is_some());
                    return "a write was refused";
                }
            }
        }
    }

    async fn resign(&self) {
        self.shared.resign.cancel();
        let campaign = self.shared.campaign.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(campaign) = campaign {
            // If the server does not answer in time, the place ends by itself.
            let _ = timeout(RESIGN, campaign).await;
        }
        self.shared.lease.send_replace(None);
    }

    /// Shows the gauge `leader` in `metrics`: 1 while this process leads. Once per election.
    pub fn register(&self, metrics: &Metrics) {
        let gauges = metrics.shared(|registry| {
            let gauges = Gauges::default();
            registry.register_collector(Box::new(gauges.clone()));
            gauges
        });
        gauges.places.lock().unwrap_or_else(PoisonError::into_inner).push(self.clone());
    }
}

/// A fence that is raised as long as this lives.
struct Raised<'a>(&'a Fence);

impl<'a> Raised<'a> {
    fn new(fence: &'a Fence, revision: i64, ticket: Ticket) -> Self {
        fence.raise(revision, ticket);
        Raised(fence)
    }
}

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.lower();
    }
}

/// Asks whether the process leads whenever metrics are read.
#[derive(Clone, Debug, Default)]
struct Gauges {
    places: Arc<Mutex<Vec<Leadership>>>,
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Whether this process leads the election";
        let mut metric = encoder.encode_descriptor("leader", help, None, MetricType::Gauge)?;
        for place in self.places.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let labels = [("election", place.shared.fence.election())];
            metric.encode_family(&labels)?.encode_gauge(&u64::from(place.leading()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod takeover_tests;
#[cfg(test)]
mod tests;
