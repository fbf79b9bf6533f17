//! What tables show of an application.

use krake_proto::krake::kubernetes::v1::{
    Application, ApplicationStatus, Copy, Decision, FailedAttempt, FailureClass, FieldValidation,
    MigrationStrategy, Phase, PlacementRecord, ScoredCluster,
};
use krake_proto::krake::meta::v1::ResourceRef;
use krake_proto::reachability::known_phase;

use super::Columns;
use super::text::{self, NONE};
use crate::trouble;

/// Maximum number of past placements that are shown.
const HISTORY: usize = 3;

impl Columns for Application {
    const LIST: &'static [&'static str] = &["state", "cluster"];

    fn cells(&self) -> Vec<String> {
        let status = self.status.as_ref();
        let namespace = namespace(self);
        let bindings = status.map(|status| status.bindings.as_slice()).unwrap_or_default();
        let clusters = bindings.iter().filter_map(|binding| binding.cluster.as_ref());
        vec![state(status), text::lines(clusters.map(|cluster| text::reference(cluster, namespace)))]
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let absent = (Default::default(), Default::default());
        let spec = self.spec.as_ref().unwrap_or(&absent.0);
        let status = self.status.as_ref().unwrap_or(&absent.1);
        let namespace = namespace(self);
        let generation = self.metadata.as_ref().map_or(0, |metadata| metadata.generation);
        let constraints = spec.constraints.clone().unwrap_or_default();
        let cluster = constraints.cluster.unwrap_or_default();
        let reference = |reference: Option<&_>| {
            reference.map_or_else(|| NONE.to_owned(), |reference| text::reference(reference, namespace))
        };
        let mut rows = vec![
            ("state", state(Some(status))),
            ("reason", text::reason(status.reason.as_ref())),
            ("conditions", text::lines(trouble::all(&status.conditions))),
            (
                "container_health",
                seen_last(text::pods(status.container_health.as_ref()), any_bound_away(status)),
            ),
            ("services", text::entries(&status.services)),
            (
                "objects",
                text::lines(spec.manifest.iter().map(|entry| format!("{} {}", entry.kind, entry.name))),
            ),
            ("adopt existing", spec.adopt_existing.to_string()),
            ("field validation", validation(spec.field_validation()).to_owned()),
            ("allow migration", constraints.migration.unwrap_or(true).to_string()),
            ("migration strategy", strategy(spec.migration_strategy()).to_owned()),
            ("label constraints", text::lines(cluster.labels)),
            ("resources constraints", text::lines(cluster.custom_resources)),
            ("metric constraints", text::lines(cluster.metrics)),
            ("hooks", text::lines(&spec.hooks)),
            ("scheduled_to", reference(status.scheduled_to.as_ref())),
            ("scheduled", text::time(status.scheduled.as_ref())),
            (
                "running_on",
                seen_last(reference(status.running_on.as_ref()), is_away(status, status.running_on.as_ref())),
            ),
            (
                "copies",
                text::lines(status.copies.iter().map(|copy| self::copy(status, copy, namespace, generation))),
            ),
            (
                "decision",
                status.decision.as_ref().map_or_else(|| NONE.to_owned(), |d| decision(d, namespace)),
            ),
            ("history", history(&status.history, namespace)),
            ("backoff", text::optional(spec.backoff)),
            ("backoff_delay", text::optional(spec.backoff_delay)),
            ("backoff_limit", text::optional(spec.backoff_limit)),
        ];
        let failed: Vec<_> =
            status.failed_attempts.iter().filter(|attempt| attempt.generation == generation).collect();
        if !failed.is_empty() {
            let lines = failed.into_iter().map(|attempt| failed_attempt(attempt, namespace));
            rows.push(("failed attempts", text::lines(lines)));
        }
        rows
    }

    fn trouble(&self) -> Option<String> {
        let status = self.status.as_ref()?;
        let of_copies = status.copies.iter().flat_map(|copy| &copy.conditions);
        trouble::why(status.reason.as_ref(), status.conditions.iter().chain(of_copies))
    }

    fn left_behind(&self) -> Vec<String> {
        let copies = self.status.iter().flat_map(|status| &status.copies);
        let objects = copies.flat_map(|copy| {
            let cluster = copy.cluster.as_ref().map_or("?", |cluster| cluster.name.as_str()).to_owned();
            copy.inventory.iter().map(move |object| {
                let namespace = if object.namespace.is_empty() { "" } else { "/" };
                let object = format!("{} {}{namespace}{}", object.kind, object.namespace, object.name);
                format!("still on {cluster}, to be removed by Krake: {object}")
            })
        });
        objects.collect()
    }
}

fn namespace(application: &Application) -> &str {
    application.metadata.as_ref().map_or("", |metadata| &metadata.namespace)
}

fn state(status: Option<&ApplicationStatus>) -> String {
    status.map_or_else(
        || NONE.to_owned(),
        |status| text::name(status.state().as_str_name(), "APPLICATION_STATE_").to_owned(),
    )
}

fn validation(validation: FieldValidation) -> &'static str {
    match validation {
        FieldValidation::Warn => "warn",
        FieldValidation::Strict | FieldValidation::Unspecified => "strict",
    }
}

fn strategy(strategy: MigrationStrategy) -> &'static str {
    match strategy {
        MigrationStrategy::DeleteFirst => "delete-first",
        MigrationStrategy::CreateFirst | MigrationStrategy::Unspecified => "create-first",
    }
}

/// A cluster where the present spec failed before it was tried on another one.
fn failed_attempt(attempt: &FailedAttempt, namespace: &str) -> String {
    let cluster = attempt.cluster.as_ref().map_or_else(|| "?".to_owned(), |c| text::reference(c, namespace));
    let of = match attempt.failure() {
        FailureClass::OfSpec => " (of the spec)",
        FailureClass::OfCluster => " (of the cluster)",
        FailureClass::Unspecified => "",
    };
    format!("{cluster}{of}: {}", attempt.message)
}

/// Whether the state service says that a cluster is unreachable.
fn is_away(status: &ApplicationStatus, cluster: Option<&ResourceRef>) -> bool {
    let mut away = status.unreachable_clusters.iter().filter_map(|away| away.cluster.as_ref());
    cluster.is_some_and(|cluster| away.any(|away| away.uid == cluster.uid))
}

/// Whether a bound cluster is unreachable.
fn any_bound_away(status: &ApplicationStatus) -> bool {
    status.bindings.iter().any(|binding| is_away(status, binding.cluster.as_ref()))
}

/// A text, which may be about what is not known any more.
fn seen_last(text: String, is_away: bool) -> String {
    if is_away && text != NONE { format!("{text} (when last seen)") } else { text }
}

/// A copy, and below it what is wrong with it. Of one on a cluster that is unreachable it says what was seen last.
fn copy(status: &ApplicationStatus, copy: &Copy, namespace: &str, wanted: i64) -> String {
    let cluster = copy.cluster.as_ref().map_or_else(|| "?".to_owned(), |c| text::reference(c, namespace));
    let phase = |phase: Phase| text::name(phase.as_str_name(), "PHASE_").to_owned();
    let known = known_phase(copy.phase(), is_away(status, copy.cluster.as_ref()));
    let mut text = format!("{cluster}: {}", phase(known));
    if known != copy.phase() {
        text += &format!(", last seen {}", phase(copy.phase()));
    }
    if copy.last_transition_time.is_some() {
        text += &format!(" since {}", text::time(copy.last_transition_time.as_ref()));
    }
    if let Some(health) = &copy.health {
        text += &format!(", {} of {} pods", health.running_pods, health.desired_pods);
    }
    if copy.observed_generation != wanted {
        text += &match copy.observed_generation {
            0 => format!(", generation {wanted} is not applied yet"),
            applied => format!(", generation {applied} is applied, {wanted} is wanted"),
        };
    }
    for problem in trouble::unmet(&copy.conditions).into_iter().chain(trouble::notes(&copy.conditions)) {
        text += &format!("\n  {problem}");
    }
    text
}

fn scored(scored: &ScoredCluster, namespace: &str) -> String {
    let cluster = scored.cluster.as_ref().map_or_else(|| "?".to_owned(), |c| text::reference(c, namespace));
    format!("{cluster} (score {:.4})", scored.score)
}

fn decision(decision: &Decision, namespace: &str) -> String {
    let mut lines = Vec::new();
    if let Some(chosen) = &decision.chosen {
        lines.push(scored(chosen, namespace));
    }
    if let Some(next) = &decision.runner_up {
        lines.push(format!("next best: {}", scored(next, namespace)));
    }
    for (reason, count) in &decision.rejected {
        lines.push(format!("rejected: {count} by {reason}"));
    }
    if !decision.reason.is_empty() {
        lines.push(decision.reason.clone());
    }
    text::lines(lines)
}

/// The latest placements, newest first.
fn history(records: &[PlacementRecord], namespace: &str) -> String {
    let mut lines: Vec<String> =
        records.iter().take(HISTORY).map(|record| placement(record, namespace)).collect();
    if records.len() > HISTORY {
        lines.push(format!("{} earlier ones, see -o yaml", records.len() - HISTORY));
    }
    text::lines(lines)
}

fn placement(record: &PlacementRecord, namespace: &str) -> String {
    let name = |cluster: Option<&_>| cluster.map(|cluster| text::reference(cluster, namespace));
    let to = name(record.to.as_ref()).unwrap_or_else(|| NONE.to_owned());
    let way = match name(record.from.as_ref()) {
        Some(from) => format!("{from} -> {to}"),
        None => format!("-> {to}"),
    };
    let reason = if record.reason.is_empty() { String::new() } else { format!(": {}", record.reason) };
    format!("{} {way}{reason}", text::time(record.time.as_ref()))
}
