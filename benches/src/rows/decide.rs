//! Deciding about all applications of a large fleet, in a process of its own for its memory's sake.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use krake_client::NamespacedName;
use krake_integration::{folder, process::Program};
use krake_proto::constraint::LabelConstraint;
use krake_scheduler::decide::{Decision, Options, decide};
use krake_scheduler::filter::Shortlists;
use krake_scheduler::retry::Backoff;
use krake_scheduler::world::{
    Application, Binding, Cluster, ClusterState, Constraints, Lifecycle, MetricDefinition, MetricRef,
    Reading, Readings, World,
};
use tokio::time::Instant;

use crate::report::{Row, Verdict};
use crate::statistics::{median, milliseconds};
use crate::usage;

const PASSES: usize = 7;
/// The longest time of the process.
const PATIENCE: Duration = Duration::from_secs(40);
/// Different sets of constraints among the applications.
const KINDS: usize = 200;
const REGIONS: usize = 20;

/// Options of the process: how much there is of everything.
#[derive(Debug, clap::Args)]
pub(crate) struct Fleet {
    #[arg(long, default_value_t = 100_000)]
    applications: usize,
    #[arg(long, default_value_t = 1000)]
    clusters: usize,
    /// Of each cluster.
    #[arg(long, default_value_t = 5)]
    metrics: usize,
}

/// Decides several times and prints milliseconds for the world, milliseconds for the decisions, decisions to move, and
/// the most MiB that it took.
pub(crate) fn run(fleet: Fleet) -> Result<()> {
    let (clusters, definitions, readings) = fleet.clusters();
    let now: Timestamp = "2030-01-01T12:00:00Z".parse()?;
    let applications = fleet.applications(now)?;
    let (mut worlds, mut decisions, mut moves) = (Vec::new(), Vec::new(), 0);
    for _ in 0..PASSES {
        let begin = Instant::now();
        let world = Arc::new(World::new(1, clusters.clone(), &definitions, &readings, HashSet::new()));
        worlds.push(milliseconds(begin.elapsed()));
        let begin = Instant::now();
        let mut shortlists = Shortlists::new(&world);
        moves = 0;
        for application in &applications {
            let shortlist = shortlists.get(&application.key.namespace, &application.constraints);
            let decision = decide(&world, &shortlist, application, now, &Options::default());
            moves += usize::from(matches!(decision, Decision::Bind(_)));
        }
        decisions.push(milliseconds(begin.elapsed()));
    }
    let peak = usage::peak(std::process::id())?;
    eprintln!("{} {} {moves} {peak}", median(&worlds), median(&decisions));
    Ok(())
}

impl Fleet {
    fn clusters(&self) -> (Vec<Cluster>, HashMap<NamespacedName, MetricDefinition>, Readings) {
        let metric = |index: usize| format!("metric-{index}");
        let mut definitions = HashMap::new();
        let mut values = HashMap::new();
        let cluster = |index: usize| {
            let metrics = (0..self.metrics).map(|number| {
                let name = metric(index * self.metrics + number);
                // Any spread will do, as long as the clusters differ.
                let value = (index * 37 + number * 11) % 101;
                let age = Duration::from_secs(1);
                values.insert(name.clone(), Ok(Reading { value: value as f64 / 100.0, age }));
                let definition = MetricDefinition {
                    min: 0.0,
                    max: 1.0,
                    allowed_values: vec![],
                    provider: "provider".to_owned(),
                    query: name.clone(),
                };
                definitions.insert(NamespacedName::new("", &name), definition);
                MetricRef { name, weight: 1.0 + number as f64, namespaced: false }
            });
            Cluster {
                key: NamespacedName::new("clusters", format!("cluster-{index}")),
                uid: uid('c', index).into(),
                labels: BTreeMap::from([
                    ("region".to_owned(), format!("r{}", index % REGIONS)),
                    ("tier".to_owned(), ["core", "edge"][index % 2].to_owned()),
                ]),
                state: ClusterState::Online,
                lifecycle: Lifecycle::Active,
                allowed_namespaces: vec!["*".to_owned()],
                custom_resources: vec![],
                metrics: metrics.collect(),
            }
        };
        let clusters = (0..self.clusters).map(cluster).collect();
        (clusters, definitions, HashMap::from([(NamespacedName::new("", "provider"), values)]))
    }

    /// All are bound for an hour, so that each is compared with every cluster that comes into question.
    fn applications(&self, now: Timestamp) -> Result<Vec<Application>> {
        let bound = now.checked_sub(Duration::from_secs(3600))?;
        let application = |index: usize| {
            let kind = index % KINDS;
            let region = format!("region in (r{}, r{})", kind % REGIONS, (kind + 7) % REGIONS);
            let mut labels = vec![LabelConstraint::parse(&region)?];
            if kind.is_multiple_of(3) {
                labels.push(LabelConstraint::parse("tier is core")?);
            }
            Ok(Application {
                key: NamespacedName::new(format!("team-{}", index % 50), format!("application-{index}")),
                uid: uid('a', index).into(),
                generation: 1,
                scheduled_generation: 1,
                // As the scheduler keeps them: each application has its own.
                constraints: Arc::new(Constraints { labels, ..Constraints::default() }),
                migration: true,
                deleted: false,
                binding: Some(Binding { cluster_uid: uid('c', index % self.clusters).into(), bound }),
                copies: vec![],
                failed_handovers: vec![],
                failed_attempts: vec![],
                retry_requests: 0,
                backoff: Backoff::default(),
                attempts: None,
                holds_data: false,
                min_gain: 0.0,
                min_residency: None,
            })
        };
        (0..self.applications).map(application).collect()
    }
}

/// As long as a real one.
fn uid(kind: char, index: usize) -> String {
    format!("01890a5d-ac96-774b-bcce-{kind}{index:011}")
}

pub(super) async fn measure() -> Result<Vec<Row>> {
    let folder = folder::create("decide")?;
    let mut process =
        Program::new("decide", &std::env::current_exe()?, folder.path()).args(["decide"]).start()?;
    let ended = process.ended(PATIENCE).await?;
    let log = process.log();
    ensure!(ended.success(), "deciding failed: {log}");
    let numbers: Vec<f64> = log.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [world, decisions, moves, peak] = numbers[..] else { anyhow::bail!("it printed {log:?}") };
    let total = world + decisions;
    let work = "re-evaluation, 100,000 applications × 1,000 clusters × 5 metrics";
    let mut row =
        Row::new(work, "≤ 250 ms, ≤ 200 MB", Verdict::of(total <= 250.0 && peak * 1.048_576 <= 200.0));
    row.measured = format!("{total:.0} ms, {:.0} MB", peak * 1.048_576);
    row.notes = vec![format!(
        "on one core: ranking the clusters {world:.1} ms, decisions {decisions:.1} ms ({:.0} ns each); {moves:.0} would move",
        decisions * 10.0
    )];
    Ok(vec![row])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fleet_is_one_in_which_there_is_something_to_decide() {
        let fleet = Fleet { applications: 400, clusters: 100, metrics: 2 };
        let (clusters, definitions, readings) = fleet.clusters();
        let now = "2030-01-01T12:00:00Z".parse().unwrap();
        let world = Arc::new(World::new(1, clusters, &definitions, &readings, HashSet::new()));
        let mut shortlists = Shortlists::new(&world);
        let (mut moves, mut stays) = (0, 0);
        for application in fleet.applications(now).unwrap() {
            let shortlist = shortlists.get(&application.key.namespace, &application.constraints);
            match decide(&world, &shortlist, &application, now, &Options::default()) {
                Decision::Bind(_) => moves += 1,
                Decision::Keep { .. } => stays += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(moves > 0 && stays > 0 && moves + stays == 400, "{moves} move, {stays} stay");
    }
}
