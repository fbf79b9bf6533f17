//! The watch of a cluster's nodes, and what it has shown. It is given up for a while when there are more than are counted.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::cluster::connection::Connection;
use crate::cluster::nodes::{Look, NodeFacts, NodeLedger, NodeLimits};
use crate::cluster::paging::PageSize;
use crate::cluster::watch;
use crate::error::ClusterError;
use crate::object::ClusterUid;

/// Longest time until the list is complete: one of 100,000 nodes takes 500 pages. A list whose pages bring nothing may go on
/// for ever.
const LIST_DEADLINE: Duration = Duration::from_secs(900);
/// Pause before nodes are listed again that were too many.
const PAUSE: Duration = Duration::from_secs(600);
/// The same where they may not be listed.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(60);

enum Nodes {
    Listing,
    Hidden,
    TooMany(String),
    Known(NodeLedger),
}

/// The nodes of one cluster.
pub(super) struct NodeWatch {
    cluster: ClusterUid,
    connection: Connection,
    /// Never locked: it makes the stream `Sync`, which the probe's task has to be.
    events: Mutex<BoxStream<'static, watcher::Result<Event<DynamicObject>>>>,
    nodes: Nodes,
    /// A list that is not complete yet.
    arriving: NodeLedger,
    page: PageSize,
    phase: Phase,
    limits: NodeLimits,
}

/// What is waited for beside events.
#[derive(Clone, Copy)]
enum Phase {
    /// The list has to be complete by then.
    Listing(Instant),
    /// The list was complete.
    Watching,
    /// Given up until then.
    Resting(Instant),
}

impl NodeWatch {
    /// Nothing known yet.
    pub(super) fn new(cluster: ClusterUid, connection: Connection) -> Self {
        let mut watch = Self {
            cluster,
            connection,
            events: Mutex::new(futures::stream::pending().boxed()),
            nodes: Nodes::Listing,
            arriving: NodeLedger::default(),
            page: PageSize::default(),
            phase: Phase::Watching,
            limits: NodeLimits::default(),
        };
        watch.begin();
        watch
    }

    /// Lists and watches from the beginning. What is known holds until the list is complete.
    pub(super) fn begin(&mut self) {
        let seconds = self.connection.deadlines().watch.as_secs().try_into().unwrap_or(u32::MAX);
        let config = watcher::Config::default().timeout(seconds).page_size(self.page.objects());
        self.events = Mutex::new(watcher::watcher(self.api(), config).default_backoff().boxed());
        self.arriving = NodeLedger::default();
        self.phase = Phase::Listing(Instant::now() + LIST_DEADLINE);
    }

    /// Access to the nodes.
    pub(super) fn api(&self) -> Api<DynamicObject> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Node"));
        Api::all_with(self.connection.client().clone(), &kind)
    }

    /// What is seen of the nodes.
    pub(super) fn look(&self) -> Look<'_> {
        match &self.nodes {
            Nodes::Listing => Look::Listing,
            Nodes::Hidden => Look::NodesHidden,
            Nodes::TooMany(why) => Look::TooMany(why),
            Nodes::Known(nodes) => Look::Nodes(nodes),
        }
    }

    /// Waits for the next event; returns whether it changed what is seen of the nodes. Nothing is lost when it is dropped.
    pub(super) async fn next(&mut self) -> bool {
        let phase = self.phase;
        let timer = async {
            match phase {
                Phase::Listing(end) | Phase::Resting(end) => tokio::time::sleep_until(end).await,
                Phase::Watching => std::future::pending().await,
            }
        };
        let events = self.events.get_mut().unwrap_or_else(PoisonError::into_inner);
        let event = tokio::select! {
            Some(event) = events.next() => event,
            () = timer => {
                if let Phase::Resting(_) = phase {
                    self.begin();
                    return false;
                }
                let minutes = LIST_DEADLINE.as_secs() / 60;
                return self.give_up(format!("the list of its nodes did not come to its end within {minutes} min"));
            }
        };
        if event.as_ref().is_err_and(|error| self.page.shrink_after(error)) {
            self.begin();
        }
        self.take_in(event)
    }

    /// Takes in an event; returns whether the nodes changed.
    fn take_in(&mut self, event: watcher::Result<Event<DynamicObject>>) -> bool {
        let changed = match event {
            Ok(Event::Init) => {
                self.arriving = NodeLedger::default();
                self.phase = Phase::Listing(Instant::now() + LIST_DEADLINE);
                false
            }
            Ok(Event::InitApply(node)) => {
                self.arriving.insert(facts(&node));
                false
            }
            Ok(Event::InitDone) => {
                self.phase = Phase::Watching;
                self.nodes = Nodes::Known(std::mem::take(&mut self.arriving));
                true
            }
            Ok(Event::Apply(node)) => match &mut self.nodes {
                Nodes::Known(nodes) => nodes.insert(facts(&node)),
                _ => false,
            },
            Ok(Event::Delete(node)) => match &mut self.nodes {
                Nodes::Known(nodes) => nodes.remove(&facts(&node).name),
                _ => false,
            },
            Err(error) => {
                let error = watch::cause(error);
                debug!(cluster = %self.cluster, %error, "node watch interrupted");
                let is_forbidden = matches!(error, ClusterError::Forbidden(_));
                if is_forbidden {
                    // A watch that goes on after it would tell of changes alone, and not of the nodes that there are.
                    self.rest(Nodes::Hidden, FORBIDDEN_PAUSE);
                }
                is_forbidden
            }
        };
        let known = if let Nodes::Known(nodes) = &self.nodes { nodes.excess(self.limits) } else { None };
        match self.arriving.excess(self.limits).or(known) {
            Some(why) => self.give_up(why),
            None => changed,
        }
    }

    /// Lets everything go for a while; returns that this changes what is seen.
    fn give_up(&mut self, why: String) -> bool {
        warn!(cluster = %self.cluster, why, "node watch given up");
        self.rest(Nodes::TooMany(why), PAUSE);
        true
    }

    /// Asks for nothing until a pause is over, and lists anew then.
    fn rest(&mut self, nodes: Nodes, pause: Duration) {
        self.events = Mutex::new(futures::stream::pending().boxed());
        self.arriving = NodeLedger::default();
        self.nodes = nodes;
        self.phase = Phase::Resting(Instant::now() + pause);
    }
}

fn facts(node: &DynamicObject) -> NodeFacts {
    NodeFacts::of(&serde_json::to_value(node).unwrap_or_default())
}

#[cfg(test)]
mod tests;
