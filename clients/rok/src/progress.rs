//! How far an object is on its way to what `--wait` waits for. Pure.

use krake_proto::Resource;
use krake_proto::krake::kubernetes::v1::{
    Application, ApplicationState, ApplicationStatus, Cluster, ClusterState, Phase,
};
use krake_proto::krake::meta::v1::{Condition, Reason};

use crate::args::{ClusterWait, CreateWait, DeleteWait, UpdateWait};
use crate::trouble;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// It is stored.
    Stored,
    /// A cluster is chosen for the present generation.
    Placed,
    /// It does what it is there for, in the present generation.
    Working,
    /// Its deletion has begun.
    Deleting,
    /// It is gone.
    Deleted,
}

impl From<CreateWait> for Goal {
    fn from(state: CreateWait) -> Self {
        match state {
            CreateWait::Pending => Goal::Stored,
            CreateWait::Creating => Goal::Placed,
            CreateWait::Running => Goal::Working,
        }
    }
}

impl From<UpdateWait> for Goal {
    fn from(state: UpdateWait) -> Self {
        match state {
            UpdateWait::Reconciling => Goal::Placed,
            UpdateWait::Running => Goal::Working,
        }
    }
}

impl From<ClusterWait> for Goal {
    fn from(ClusterWait::Online: ClusterWait) -> Self {
        Goal::Working
    }
}

impl From<DeleteWait> for Goal {
    fn from(state: DeleteWait) -> Self {
        match state {
            DeleteWait::Deleting => Goal::Deleting,
            DeleteWait::Deleted => Goal::Deleted,
        }
    }
}

/// Where an object is on its way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Reached,
    /// Not there yet.
    OnTheWay,
    /// Only the user can help.
    Hopeless,
}

/// A kind that can be waited for.
pub(crate) trait Progress: Resource {
    /// Whether the object has a cluster, or whatever it needs, for its present generation.
    fn placed(&self) -> bool {
        true
    }

    /// Whether the object does what it is there for.
    fn working(&self) -> Verdict {
        Verdict::Reached
    }

    /// What people want to know while they wait: state and reason, on one line.
    fn situation(&self) -> String {
        let finalizers = self.metadata().map(|metadata| metadata.finalizers.join(", ")).unwrap_or_default();
        if finalizers.is_empty() { "stored".to_owned() } else { format!("kept by {finalizers}") }
    }

    /// Where the object is on its way to the goal.
    fn verdict(&self, goal: Goal) -> Verdict {
        let being_deleted = self.metadata().is_some_and(|metadata| metadata.deleted.is_some());
        let reached = match goal {
            Goal::Stored => true,
            Goal::Deleting => being_deleted,
            Goal::Deleted => false,
            Goal::Placed | Goal::Working if being_deleted => return Verdict::Hopeless,
            Goal::Placed => self.placed(),
            Goal::Working => return self.working(),
        };
        if reached { Verdict::Reached } else { Verdict::OnTheWay }
    }
}

impl Progress for Application {
    fn placed(&self) -> bool {
        self.status.as_ref().is_some_and(|status| {
            !status.bindings.is_empty() && status.scheduled_generation == generation(self)
        })
    }

    fn working(&self) -> Verdict {
        let Some(status) = &self.status else { return Verdict::OnTheWay };
        match status.state() {
            ApplicationState::Running if self.placed() && all_copies_run(status, generation(self)) => {
                Verdict::Reached
            }
            ApplicationState::Completed => Verdict::Reached,
            ApplicationState::Failed => Verdict::Hopeless,
            _ => Verdict::OnTheWay,
        }
    }

    fn situation(&self) -> String {
        let Some(status) = &self.status else { return "PENDING".to_owned() };
        let state = status.state().as_str_name().trim_start_matches("APPLICATION_STATE_");
        let clusters = status.bindings.iter().filter_map(|binding| binding.cluster.as_ref());
        let clusters: Vec<&str> = clusters.map(|cluster| cluster.name.as_str()).collect();
        let place = if clusters.is_empty() { String::new() } else { format!(" on {}", clusters.join(", ")) };
        let of_copies = status.copies.iter().flat_map(|copy| &copy.conditions);
        let conditions = status.conditions.iter().chain(of_copies);
        format!("{state}{place}{}", why(status.reason.as_ref(), conditions))
    }
}

fn generation(application: &Application) -> i64 {
    application.metadata.as_ref().map_or(0, |metadata| metadata.generation)
}

fn all_copies_run(status: &ApplicationStatus, generation: i64) -> bool {
    status.bindings.iter().all(|binding| {
        let uid = binding.cluster.as_ref().map(|cluster| &cluster.uid);
        status.copies.iter().any(|copy| {
            copy.cluster.as_ref().map(|cluster| &cluster.uid) == uid
                && copy.phase() == Phase::Running
                && copy.observed_generation == generation
        })
    })
}

impl Progress for Cluster {
    fn working(&self) -> Verdict {
        match self.status.as_ref().map(|status| status.state()) {
            Some(ClusterState::Online) => Verdict::Reached,
            Some(ClusterState::Failed) => Verdict::Hopeless,
            _ => Verdict::OnTheWay,
        }
    }

    fn situation(&self) -> String {
        let Some(status) = &self.status else { return "PENDING".to_owned() };
        let state = status.state().as_str_name().trim_start_matches("CLUSTER_STATE_");
        format!("{state}{}", why(status.reason.as_ref(), &status.conditions))
    }
}

/// Why, in parentheses, if there is anything to say.
fn why<'a>(reason: Option<&Reason>, conditions: impl IntoIterator<Item = &'a Condition>) -> String {
    trouble::why(reason, conditions).map(|why| format!(" ({why})")).unwrap_or_default()
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
