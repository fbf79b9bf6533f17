//! From decisions to what is written. Pure: the controller sends what this says.

use jiff::Timestamp;
use krake_proto::Resource;
use krake_proto::krake::kubernetes::v1 as api;
use krake_proto::krake::meta::v1::{Condition, ConditionReason, ConditionStatus, ConditionType, ResourceRef};

use crate::decide::{BindReason, Choice, Deadlock, Decision, KeepReason, Outcome, ScoredCluster};
use crate::project::Placed;

/// What is to be written for one application.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Act {
    /// First: the binding, if it changes or is to be confirmed.
    pub(crate) bind: Option<api::BindApplicationRequest>,
    /// Then: the condition SCHEDULED, if it is to say that there is no cluster.
    pub(crate) condition: Option<Condition>,
    /// When to decide again though nothing changed.
    pub(crate) again: Option<Timestamp>,
    /// The bound cluster is not there; whether it was erased is to be asked.
    pub(crate) ask: Option<String>,
}

impl Act {
    /// Whether nothing is to be written or asked.
    pub(crate) fn is_nothing(&self) -> bool {
        self.bind.is_none() && self.condition.is_none() && self.ask.is_none()
    }
}

/// What follows from a decision about `placed`.
pub(crate) fn act(placed: &Placed, decision: &Decision) -> Act {
    let mut act = Act { bind: None, condition: None, again: None, ask: None };
    match decision {
        Decision::Bind(choice) => act.bind = Some(bind(placed, choice)),
        Decision::Keep { reason: KeepReason::ApplicationDeleted, .. } => {}
        Decision::Keep { reason: KeepReason::ClusterUnknown, .. } => {
            act.ask = placed.application.binding.as_ref().map(|binding| binding.cluster_uid.clone());
        }
        Decision::Keep { confirm_generation, .. } => act.bind = confirm(placed, *confirm_generation),
        Decision::KeepUntil { time, confirm_generation, .. } => {
            act.bind = confirm(placed, *confirm_generation);
            act.again = Some(*time);
        }
        Decision::Unschedulable(deadlock) => {
            act.bind = match deadlock.outcome {
                Outcome::Wait => None,
                Outcome::Stay(_) if deadlock.confirm_generation => Some(same(placed)),
                Outcome::Stay(_) => None,
                Outcome::Release => Some(api::BindApplicationRequest { bindings: vec![], ..same(placed) }),
            };
            act.condition = no_cluster(placed, deadlock, act.bind.is_some());
        }
    }
    act
}

/// Records the present generation, and takes back an earlier "no cluster", without moving anything.
fn confirm(placed: &Placed, generation: bool) -> Option<api::BindApplicationRequest> {
    let doubted = matches!(&placed.scheduled, Some((status, ..)) if *status != ConditionStatus::True);
    (generation || doubted).then(|| same(placed))
}

/// A request for the binding that is there.
fn same(placed: &Placed) -> api::BindApplicationRequest {
    let application = &placed.application;
    api::BindApplicationRequest {
        namespace: application.key.namespace.clone(),
        name: application.key.name.clone(),
        bindings: placed.bound.clone().into_iter().collect(),
        generation: application.generation,
        replaces: application.binding.iter().map(|binding| binding.cluster_uid.clone()).collect(),
        cluster: None,
        decision: None,
    }
}

fn bind(placed: &Placed, choice: &Choice) -> api::BindApplicationRequest {
    let rejected = choice
        .rejected
        .iter()
        .map(|(rejection, count)| (rejection.describe(&placed.application.constraints), *count));
    let decision = api::Decision {
        chosen: Some(scored(&choice.cluster)),
        runner_up: choice.runner_up.as_ref().map(scored),
        top: choice.top.iter().map(scored).collect(),
        rejected: rejected.collect(),
        world_revision: choice.world_revision,
        reason: words(placed, choice),
    };
    let binding = api::Binding { cluster: Some(reference(&choice.cluster)), ..Default::default() };
    api::BindApplicationRequest { bindings: vec![binding], decision: Some(decision), ..same(placed) }
}

fn words(placed: &Placed, choice: &Choice) -> String {
    let score = |cluster: &ScoredCluster| format!("{} ({:.3})", cluster.key, cluster.score);
    match choice.reason {
        BindReason::FirstPlacement => {
            format!("first placement: {} is the best candidate", score(&choice.cluster))
        }
        BindReason::BetterCluster => match &choice.runner_up {
            Some(next) => format!("{} is better than {}", score(&choice.cluster), score(next)),
            None => format!("{} is better", score(&choice.cluster)),
        },
        BindReason::NoLongerMatches(rejection) => {
            let why = rejection.describe(&placed.application.constraints);
            format!("the cluster no longer satisfies the constraints: {why}")
        }
        BindReason::ClusterDraining => "the cluster is being drained".to_owned(),
        BindReason::ClusterDeleted => "the cluster is being deleted, or is gone".to_owned(),
        BindReason::ClusterOffline => "the cluster is OFFLINE for too long".to_owned(),
    }
}

fn scored(cluster: &ScoredCluster) -> api::ScoredCluster {
    api::ScoredCluster { cluster: Some(reference(cluster)), score: cluster.score }
}

fn reference(cluster: &ScoredCluster) -> ResourceRef {
    let kind = api::Cluster::KIND;
    ResourceRef {
        api: kind.api.into(),
        kind: kind.kind.into(),
        namespace: cluster.key.namespace.clone(),
        name: cluster.key.name.clone(),
        uid: cluster.uid.clone(),
    }
}

/// The condition that says why there is no cluster; none if it says so already.
fn no_cluster(placed: &Placed, deadlock: &Deadlock, rebound: bool) -> Option<Condition> {
    let generation = placed.application.generation;
    let said = placed.scheduled.as_ref().is_some_and(|(status, observed, message)| {
        *status == ConditionStatus::False && *observed == generation && *message == deadlock.message
    });
    (!said || rebound).then(|| Condition {
        r#type: ConditionType::Scheduled.into(),
        status: ConditionStatus::False.into(),
        reason: ConditionReason::NoSuitableResource.into(),
        message: deadlock.message.clone(),
        observed_generation: generation,
        last_transition_time: None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use krake_client::NamespacedName;

    use super::*;
    use crate::world::{Application, Binding};

    fn placed(bound: bool) -> Placed {
        let cluster = ResourceRef { uid: "old".into(), ..Default::default() };
        let binding = Binding { cluster_uid: "old".into(), bound: Timestamp::UNIX_EPOCH };
        Placed {
            application: Application {
                key: NamespacedName::new("demo", "a"),
                uid: "u".into(),
                generation: 3,
                scheduled_generation: 2,
                constraints: Arc::default(),
                migration: true,
                deleted: false,
                binding: bound.then_some(binding),
            },
            resource_version: 9,
            scheduled: None,
            bound: bound.then(|| api::Binding { cluster: Some(cluster), ..Default::default() }),
        }
    }

    fn deadlock(outcome: Outcome, confirm_generation: bool) -> Decision {
        let rejected = BTreeMap::new();
        let message = "none fits".to_owned();
        let deadlock = Deadlock { outcome, message, rejected, confirm_generation, world_revision: 1 };
        Decision::Unschedulable(Box::new(deadlock))
    }

    #[test]
    fn a_binding_states_what_it_was_decided_on() {
        let cluster =
            ScoredCluster { key: NamespacedName::new("demo", "new"), uid: "new".into(), score: 0.5 };
        let choice = Choice {
            cluster: cluster.clone(),
            reason: BindReason::BetterCluster,
            replaces: Some("old".into()),
            runner_up: None,
            top: vec![cluster],
            rejected: BTreeMap::new(),
            world_revision: 11,
        };
        let request = act(&placed(true), &Decision::Bind(Box::new(choice))).bind.unwrap();
        assert_eq!((request.generation, request.replaces), (3, vec!["old".to_owned()]));
        assert_eq!(request.bindings[0].cluster.as_ref().unwrap().uid, "new");
        assert_eq!(request.decision.unwrap().world_revision, 11);
    }

    #[test]
    fn staying_is_confirmed_once_and_otherwise_writes_nothing() {
        let keep = |confirm_generation| Decision::Keep { reason: KeepReason::Best, confirm_generation };
        let confirmed = act(&placed(true), &keep(true)).bind.unwrap();
        assert_eq!(confirmed.bindings[0].cluster.as_ref().unwrap().uid, "old");
        assert!(act(&placed(true), &keep(false)).is_nothing());
        let mut doubted = placed(true);
        doubted.scheduled = Some((ConditionStatus::False, 3, "none fits".into()));
        assert!(act(&doubted, &keep(false)).bind.is_some(), "an old complaint is taken back");
    }

    #[test]
    fn without_a_cluster_the_condition_says_so_once_and_a_binding_goes_only_with_its_cluster() {
        let waiting = act(&placed(false), &deadlock(Outcome::Wait, false));
        assert!(waiting.bind.is_none());
        assert_eq!(waiting.condition.unwrap().reason(), ConditionReason::NoSuitableResource);
        let mut told = placed(false);
        told.scheduled = Some((ConditionStatus::False, 3, "none fits".into()));
        assert!(act(&told, &deadlock(Outcome::Wait, false)).is_nothing());
        let stays = act(&placed(true), &deadlock(Outcome::Stay(BindReason::ClusterOffline), false));
        assert!(stays.bind.is_none() && stays.condition.is_some());
        let released = act(&placed(true), &deadlock(Outcome::Release, false)).bind.unwrap();
        assert!(released.bindings.is_empty());
        assert_eq!(released.replaces, ["old"]);
    }

    #[test]
    fn a_cluster_that_is_not_there_is_asked_for_and_never_taken_for_gone() {
        let unknown = Decision::Keep { reason: KeepReason::ClusterUnknown, confirm_generation: false };
        let act = act(&placed(true), &unknown);
        assert_eq!(act.ask.as_deref(), Some("old"));
        assert!(act.bind.is_none());
    }
}
