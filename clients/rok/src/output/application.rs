//! What tables show of an application.

use krake_proto::krake::kubernetes::v1::{
    Application, ApplicationStatus, Copy, Decision, PlacementRecord, ScoredCluster,
};

use super::Columns;
use super::text::{self, NONE};

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
        let constraints = spec.constraints.clone().unwrap_or_default();
        let cluster = constraints.cluster.unwrap_or_default();
        let reference = |reference: Option<&_>| {
            reference.map_or_else(|| NONE.to_owned(), |reference| text::reference(reference, namespace))
        };
        vec![
            ("state", state(Some(status))),
            ("reason", text::reason(status.reason.as_ref())),
            ("container_health", text::pods(status.container_health.as_ref())),
            ("services", text::entries(&status.services)),
            ("allow migration", constraints.migration.unwrap_or(true).to_string()),
            ("label constraints", text::lines(cluster.labels)),
            ("resources constraints", text::lines(cluster.custom_resources)),
            ("metric constraints", text::lines(cluster.metrics)),
            ("hooks", text::lines(&spec.hooks)),
            ("scheduled_to", reference(status.scheduled_to.as_ref())),
            ("scheduled", text::time(status.scheduled.as_ref())),
            ("running_on", reference(status.running_on.as_ref())),
            ("copies", text::lines(status.copies.iter().map(|copy| self::copy(copy, namespace)))),
            (
                "decision",
                status.decision.as_ref().map_or_else(|| NONE.to_owned(), |d| decision(d, namespace)),
            ),
            ("history", text::lines(status.history.iter().map(|record| placement(record, namespace)))),
            ("backoff", text::optional(spec.backoff)),
            ("backoff_delay", text::optional(spec.backoff_delay)),
            ("backoff_limit", text::optional(spec.backoff_limit)),
        ]
    }

    fn left_behind(&self) -> Vec<String> {
        let copies = self.status.iter().flat_map(|status| &status.copies);
        let objects = copies.flat_map(|copy| {
            let cluster = copy.cluster.as_ref().map_or("?", |cluster| cluster.name.as_str()).to_owned();
            copy.inventory.iter().map(move |object| {
                let namespace = if object.namespace.is_empty() { "" } else { "/" };
                format!("{} {}{namespace}{} on {cluster}", object.kind, object.namespace, object.name)
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

fn copy(copy: &Copy, namespace: &str) -> String {
    let cluster = copy.cluster.as_ref().map_or_else(|| "?".to_owned(), |c| text::reference(c, namespace));
    let phase = text::name(copy.phase().as_str_name(), "PHASE_");
    let mut text = format!("{cluster}: {phase}");
    if copy.last_transition_time.is_some() {
        text += &format!(" since {}", text::time(copy.last_transition_time.as_ref()));
    }
    if let Some(health) = &copy.health {
        text += &format!(", {} of {} pods", health.running_pods, health.desired_pods);
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
