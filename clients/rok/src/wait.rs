//! `--wait`: follows one object until it is in the wanted state, and prints each step on stderr.

use std::time::Duration;

use futures::StreamExt;
use krake_client::{Api, Start, WatchEvent, WatchOptions};
use tokio::time::{Instant, timeout_at};

use crate::duration;
use crate::failure::Failure;
use crate::interruption::Interruption;
use crate::progress::{Goal, Progress, Verdict};
use crate::terminal::notice;

/// Waits for the goal, beginning with the object as it was last seen. Returns the object as it is then; nothing if it
/// is gone and that was the goal.
///
/// # Errors
/// [`Failure::Timeout`] with what the object waits for, [`Failure::Hopeless`] if the goal is out of reach.
pub(crate) async fn until<K: Progress>(
    api: &Api<K>,
    object: K,
    goal: Goal,
    limit: Duration,
) -> Result<Option<K>, Failure> {
    let deadline = Instant::now() + limit;
    let mut wait = Wait::new(object, goal);
    if let Some(end) = wait.judge()? {
        return Ok(end);
    }
    let mut events = api.watch(wait.options());
    let mut interruption = Interruption::of(&events);
    loop {
        let next = async {
            tokio::select! {
                biased;
                () = interruption.changed() => None,
                event = events.next() => Some(event),
            }
        };
        let next = timeout_at(deadline, next).await;
        interruption.report_change();
        let event = match next {
            Ok(None) => continue,
            Ok(Some(Some(event))) => event?,
            Ok(Some(None)) => return Err(Failure::Hopeless("the server ended the watch".to_owned())),
            Err(_) => {
                let limit = duration::show(limit);
                return Err(Failure::Timeout(format!("after {limit} {} is {}", wait.name(), wait.situation)));
            }
        };
        if let Some(end) = wait.event(event)? {
            return Ok(end);
        }
    }
}

/// What is known of the object.
struct Wait<K> {
    object: K,
    goal: Goal,
    /// As last told.
    situation: String,
    /// Not seen since the watch started over.
    missing: bool,
}

impl<K: Progress> Wait<K> {
    fn new(object: K, goal: Goal) -> Self {
        Wait { object, goal, situation: String::new(), missing: false }
    }

    fn namespace(&self) -> String {
        self.object.metadata().map(|metadata| metadata.namespace.clone()).unwrap_or_default()
    }

    /// Kind and name, for people.
    fn name(&self) -> String {
        let namespace = self.namespace();
        let name = self.object.metadata().map_or("", |metadata| metadata.name.as_str());
        let kind = K::KIND.shown(&namespace);
        if namespace.is_empty() { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") }
    }

    /// The object, from what was seen on.
    fn options(&self) -> WatchOptions {
        let name = self.object.metadata().map_or("", |metadata| metadata.name.as_str());
        WatchOptions { start: self.start(), live_state: true, ..WatchOptions::object(self.namespace(), name) }
    }

    fn start(&self) -> Start {
        let resource_version = self.object.metadata().map_or(0, |metadata| metadata.resource_version);
        if resource_version == 0 {
            return Start::InitialState;
        }
        Start::After { resource_version, epoch: String::new() }
    }

    fn is_ours(&self, other: &K) -> bool {
        let identity = |object: &K| object.metadata().map(|metadata| metadata.uid.clone());
        identity(&self.object) == identity(other)
    }

    /// Takes an event in; the end of waiting if it brings that.
    fn event(&mut self, event: WatchEvent<K>) -> Result<Option<Option<K>>, Failure> {
        match event {
            WatchEvent::Restarted => self.missing = true,
            WatchEvent::Applied { object, .. } if self.is_ours(&object) => {
                self.missing = false;
                self.object = object;
                return self.judge();
            }
            WatchEvent::Deleted(object) if self.is_ours(&object) => return self.gone().map(Some),
            WatchEvent::Synced { .. } if self.missing => return self.gone().map(Some),
            _ => {}
        }
        Ok(None)
    }

    fn gone(&self) -> Result<Option<K>, Failure> {
        match self.goal {
            Goal::Deleting | Goal::Deleted => Ok(None),
            _ => Err(Failure::Hopeless(format!("{} was deleted", self.name()))),
        }
    }

    /// What the object is in, and what its deletion waits for.
    fn situation(&self) -> String {
        let situation = self.object.situation();
        let deletion = self.object.metadata().and_then(|metadata| metadata.deletion.as_ref());
        match deletion.map_or("", |deletion| deletion.waits_for.as_str()) {
            "" => situation,
            waits_for => format!("{situation}, waits_for: {waits_for}"),
        }
    }

    /// Judges the object as it is now, and prints what is new.
    fn judge(&mut self) -> Result<Option<Option<K>>, Failure> {
        let situation = self.situation();
        let verdict = self.object.verdict(self.goal);
        if situation != self.situation {
            notice(&format!("{} is {situation}", self.name()));
            self.situation = situation;
        }
        match verdict {
            Verdict::Reached => Ok(Some(Some(self.object.clone()))),
            Verdict::OnTheWay => Ok(None),
            Verdict::Hopeless => {
                let deleted = self.object.metadata().is_some_and(|metadata| metadata.deleted.is_some());
                let why = if deleted { ", and is being deleted" } else { "" };
                Err(Failure::Hopeless(format!("{} is {}{why}", self.name(), self.situation)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use krake_proto::krake::kubernetes::v1::{Cluster, ClusterState};
    use krake_proto::krake::meta::v1::{Deletion, Metadata};

    fn cluster(uid: &str, state: ClusterState) -> Cluster {
        let mut cluster = Cluster {
            metadata: Some(Metadata {
                name: "c".into(),
                namespace: "n".into(),
                uid: uid.into(),
                ..Metadata::default()
            }),
            ..Cluster::default()
        };
        cluster.status.get_or_insert_default().set_state(state);
        cluster
    }

    fn applied(object: Cluster) -> WatchEvent<Cluster> {
        WatchEvent::Applied { object, initial: false }
    }

    #[test]
    fn only_the_object_itself_counts() {
        let online = |uid| cluster(uid, ClusterState::Online);
        let mut wait = Wait::new(cluster("1", ClusterState::Pending), Goal::Working);
        assert!(wait.judge().unwrap().is_none());
        assert!(wait.event(applied(online("2"))).unwrap().is_none(), "another one of that name");
        assert!(wait.event(WatchEvent::Deleted(online("2"))).unwrap().is_none());
        let end = wait.event(applied(online("1"))).unwrap().unwrap();
        assert_eq!(end, Some(online("1")));
    }

    #[test]
    fn an_object_that_is_missing_after_a_restart_is_gone() {
        let mut wait = Wait::new(cluster("1", ClusterState::Online), Goal::Deleted);
        assert!(wait.event(WatchEvent::Synced { resource_version: 1 }).unwrap().is_none());
        assert!(wait.event(WatchEvent::Restarted).unwrap().is_none());
        assert_eq!(wait.event(WatchEvent::Synced { resource_version: 9 }).unwrap(), Some(None));
        let mut wait = Wait::new(cluster("1", ClusterState::Online), Goal::Deleted);
        assert!(wait.event(WatchEvent::Restarted).unwrap().is_none());
        assert!(wait.event(applied(cluster("1", ClusterState::Online))).unwrap().is_none());
        assert!(
            wait.event(WatchEvent::Synced { resource_version: 9 }).unwrap().is_none(),
            "it is still there"
        );
    }

    #[test]
    fn what_a_deletion_waits_for_is_said() {
        let mut going = cluster("1", ClusterState::Deleting);
        let waits_for = "the copies of the applications n/a to be gone".to_owned();
        let deletion = Deletion { waits_for, ..Deletion::default() };
        going.metadata.as_mut().unwrap().deletion = Some(deletion);
        let wait = Wait::new(going, Goal::Deleted);
        let expected = "DELETING, waits_for: the copies of the applications n/a to be gone";
        assert_eq!(wait.situation(), expected);
        assert_eq!(Wait::new(cluster("1", ClusterState::Deleting), Goal::Deleted).situation(), "DELETING");
    }

    #[test]
    fn what_cannot_come_is_an_error() {
        let mut wait = Wait::new(cluster("1", ClusterState::Pending), Goal::Working);
        let gone = wait.event(WatchEvent::Deleted(cluster("1", ClusterState::Pending))).unwrap_err();
        assert_eq!(gone.to_string(), "Cluster n/c was deleted");
        let failed = wait.event(applied(cluster("1", ClusterState::Failed))).unwrap_err();
        assert_eq!((failed.to_string().as_str(), failed.exit_code()), ("Cluster n/c is FAILED", 1));
    }
}
