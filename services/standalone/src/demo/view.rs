//! What the API shows of an application, and the lines that report a change. Pure.

use krake_proto::krake::kubernetes::v1::{Application, Copy, Decision, ScoredCluster};
use krake_proto::krake::meta::v1::ResourceRef;

/// An application as the story sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct View {
    /// Such as `RUNNING`.
    pub(crate) state: String,
    /// Why it is in that state, if that is said.
    pub(crate) reason: String,
    /// Name of the cluster that it is to run on.
    pub(crate) bound: Option<String>,
    /// How that was decided.
    decision: Vec<String>,
    /// What is on clusters.
    pub(crate) copies: Vec<CopyView>,
}

/// What is on one cluster.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CopyView {
    /// Name of the cluster.
    pub(crate) cluster: String,
    /// Such as `APPLYING`.
    pub(crate) phase: String,
    pods: Option<(i32, i32)>,
    objects: String,
}

impl View {
    /// Takes what the story needs.
    pub(crate) fn of(application: &Application) -> Self {
        let Some(status) = &application.status else { return Self::default() };
        let reason = status.reason.as_ref();
        View {
            state: short(status.state().as_str_name(), "APPLICATION_STATE_"),
            reason: reason.map(|reason| reason.message.clone()).unwrap_or_default(),
            bound: status.bindings.first().map(|binding| name(binding.cluster.as_ref())),
            decision: status.decision.as_ref().map(decision).unwrap_or_default(),
            copies: status.copies.iter().map(copy).collect(),
        }
    }

    /// The copy on a cluster.
    pub(crate) fn copy_on(&self, cluster: &str) -> Option<&CopyView> {
        self.copies.iter().find(|copy| copy.cluster == cluster)
    }

    /// Whether it runs on the cluster that it is to run on, and has nothing elsewhere.
    pub(crate) fn settled(&self) -> bool {
        let here = self.bound.as_deref().and_then(|bound| self.copy_on(bound));
        self.state == "RUNNING" && self.copies.len() == 1 && here.is_some_and(|copy| copy.phase == "RUNNING")
    }

    /// In one line, for errors.
    pub(crate) fn summary(&self) -> String {
        let copies: Vec<_> =
            self.copies.iter().map(|copy| format!("{} on {}", copy.phase, copy.cluster)).collect();
        let copies = if copies.is_empty() { "no copies".to_owned() } else { copies.join(", ") };
        let reason = if self.reason.is_empty() { String::new() } else { format!(" ({})", self.reason) };
        format!("{}{reason}; {copies}", self.state)
    }

    /// What is to be told of this after `before`, a line each.
    pub(crate) fn told_after(&self, before: &View) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(bound) = self.bound.as_ref().filter(|_| self.bound != before.bound) {
            let verb = if before.bound.is_some() { "to be moved to" } else { "placed on" };
            lines.push(format!("{verb} {bound}"));
            lines.extend(self.decision.iter().map(|line| format!("    {line}")));
        }
        for copy in &self.copies {
            lines.extend(copy.told_after(before.copy_on(&copy.cluster)));
        }
        for gone in before.copies.iter().filter(|copy| self.copy_on(&copy.cluster).is_none()) {
            lines.push(format!("{}: nothing is left of the copy", gone.cluster));
        }
        if self.state != before.state && !self.state.is_empty() {
            let reason = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
            lines.push(format!("the application is {}{reason}", self.state));
        }
        lines
    }
}

impl CopyView {
    fn told_after(&self, before: Option<&CopyView>) -> Option<String> {
        let same_phase = before.is_some_and(|before| before.phase == self.phase);
        if same_phase && before.is_some_and(|before| before.pods == self.pods) {
            return None;
        }
        let pods = self.pods.map(|(running, desired)| format!("{running} of {desired} pods are available"));
        let text = match (self.phase.as_str(), pods) {
            ("INTENDED", _) => format!("making {}", self.objects),
            ("APPLYING", Some(pods)) => format!("applied, {pods}"),
            ("APPLYING", None) => "applied".to_owned(),
            ("RUNNING", Some(pods)) => format!("RUNNING, {pods}"),
            ("REMOVING", _) if same_phase => return None,
            ("REMOVING", _) => "removing the copy".to_owned(),
            (phase, _) => phase.to_owned(),
        };
        Some(format!("{}: {text}", self.cluster))
    }
}

fn copy(copy: &Copy) -> CopyView {
    let health = copy.health.as_ref().filter(|health| health.desired_pods > 0);
    let objects: Vec<_> =
        copy.inventory.iter().map(|object| format!("{} {}", object.kind, object.name)).collect();
    CopyView {
        cluster: name(copy.cluster.as_ref()),
        phase: short(copy.phase().as_str_name(), "PHASE_"),
        // None are wanted as long as the cluster has not looked at what was applied.
        pods: health.map(|health| (health.running_pods, health.desired_pods)),
        objects: objects.join(", "),
    }
}

fn decision(decision: &Decision) -> Vec<String> {
    let scored =
        |scored: &ScoredCluster| format!("{} (score {:.2})", name(scored.cluster.as_ref()), scored.score);
    let mut lines = Vec::new();
    if !decision.reason.is_empty() {
        lines.push(format!("because: {}", decision.reason));
    }
    if let Some(next) = &decision.runner_up {
        lines.push(format!("next best: {}", scored(next)));
    }
    for (reason, count) in &decision.rejected {
        lines.push(format!("not considered: {count} by {reason}"));
    }
    lines
}

fn name(reference: Option<&ResourceRef>) -> String {
    reference.map_or_else(|| "?".to_owned(), |reference| reference.name.clone())
}

/// Name of an enum's value, without what all its values begin with.
pub(crate) fn short(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(cluster: &str, phase: &str, running: i32) -> CopyView {
        CopyView {
            cluster: cluster.to_owned(),
            phase: phase.to_owned(),
            pods: Some((running, 2)),
            objects: "Deployment echo-demo".to_owned(),
        }
    }

    fn view(state: &str, bound: &str, copies: Vec<CopyView>) -> View {
        let decision = vec![format!("because: {bound} is best")];
        View { state: state.to_owned(), bound: Some(bound.to_owned()), decision, copies, ..View::default() }
    }

    #[test]
    fn a_move_is_told_step_by_step_and_nothing_twice() {
        let steps = [
            view("PENDING", "a", vec![]),
            view("CREATING", "a", vec![copy("a", "INTENDED", 0)]),
            view("RUNNING", "a", vec![copy("a", "RUNNING", 2)]),
            view("MIGRATING", "b", vec![copy("a", "RUNNING", 2), copy("b", "APPLYING", 1)]),
            view("MIGRATING", "b", vec![copy("a", "REMOVING", 2), copy("b", "RUNNING", 2)]),
            view("MIGRATING", "b", vec![copy("a", "REMOVING", 1), copy("b", "RUNNING", 2)]),
            view("RUNNING", "b", vec![copy("b", "RUNNING", 2)]),
        ];
        let mut before = View::default();
        let mut told = Vec::new();
        for step in &steps {
            told.extend(step.told_after(&before));
            assert!(step.told_after(step).is_empty());
            before = step.clone();
        }
        assert_eq!(
            told,
            [
                "placed on a",
                "    because: a is best",
                "the application is PENDING",
                "a: making Deployment echo-demo",
                "the application is CREATING",
                "a: RUNNING, 2 of 2 pods are available",
                "the application is RUNNING",
                "to be moved to b",
                "    because: b is best",
                "b: applied, 1 of 2 pods are available",
                "the application is MIGRATING",
                "a: removing the copy",
                "b: RUNNING, 2 of 2 pods are available",
                "a: nothing is left of the copy",
                "the application is RUNNING",
            ]
        );
        let settled: Vec<_> = steps.iter().map(View::settled).collect();
        assert_eq!(settled, [false, false, true, false, false, false, true]);
    }

    #[test]
    fn an_error_shows_where_the_application_stands() {
        let mut stuck = view("PENDING", "a", vec![copy("a", "FAILED", 0)]);
        stuck.reason = "no room".to_owned();
        assert_eq!(stuck.summary(), "PENDING (no room); FAILED on a");
        assert_eq!(View::default().summary(), "; no copies");
    }
}
