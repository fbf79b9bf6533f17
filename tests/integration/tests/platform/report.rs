//! Cases, run on both servers, and the report: one line a case, one column a server.

use std::io::Write;

use anyhow::Result;
use futures::future::LocalBoxFuture;
use serde_json::{Value, json};

use crate::api::Api;
use crate::columns::{Cluster, Columns};
use crate::known::{self, Known};

/// A case: requests whose answers must be as expected, and the same on both servers.
pub(crate) struct Case {
    name: &'static str,
    run: Box<dyn Fn(Api) -> LocalBoxFuture<'static, Result<()>>>,
}

/// Makes a case.
pub(crate) fn case<F>(name: &'static str, run: fn(Api) -> F) -> Case
where
    F: Future<Output = Result<()>> + 'static,
{
    Case { name, run: Box::new(move |api| Box::pin(run(api))) }
}

/// What a case came to on one server.
pub(crate) struct Outcome {
    pub(crate) failed: Option<String>,
    /// What is compared.
    pub(crate) transcript: Vec<Value>,
}

/// One line a case, one column a server.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<String>,
    /// Minor version of the real server, if there is one.
    minor: Option<u32>,
    skipped: bool,
    wrong: Vec<String>,
}

impl Report {
    /// An empty report of these servers.
    pub(crate) fn of(columns: &Columns) -> Self {
        Report { minor: columns.real.as_ref().and_then(Cluster::minor), ..Report::default() }
    }

    /// Takes in what a case came to; there is no real server where it cannot be had.
    pub(crate) fn add(&mut self, name: &str, simulated: Outcome, real: Option<Outcome>) {
        let word = |outcome: &Outcome| if outcome.failed.is_none() { "ok" } else { "FAILED" };
        let difference = real.as_ref().and_then(|real| difference(&simulated.transcript, &real.transcript));
        self.skipped |= real.is_none();
        let words = (word(&simulated), real.as_ref().map_or("skipped", word));
        self.wrong.extend(simulated.failed.map(|failed| format!("{name}, simulator: {failed}")));
        let found: Vec<String> = real
            .as_ref()
            .and_then(|real| real.failed.as_ref())
            .map(|failed| format!("{name}, real: {failed}"))
            .into_iter()
            .chain(difference.map(|difference| format!("{name}: {difference}")))
            .collect();
        let known = known::of(self.minor, name).filter(|_| real.is_some());
        let verdict = match (found.is_empty(), known) {
            (true, None) => "",
            (true, Some(known)) => {
                let Known { why, .. } = known;
                self.wrong
                    .push(format!("{name} does not differ: take it out of the known differences ({why})"));
                "NO LONGER DIFFERENT"
            }
            (false, Some(known)) => known.why,
            (false, None) => {
                self.wrong.extend(found);
                "DIFFERENT"
            }
        };
        self.lines.push(line(name, words.0, words.1, verdict));
    }

    /// Prints it, where it is seen of tests that pass too; panics if a case failed or differed.
    pub(crate) fn finish(self) {
        let report = format!("\n{}\n{}\n", line("", "simulator", "real", ""), self.lines.join("\n"));
        let why = "the real column is skipped: no kube-apiserver on this machine; tests/setup/kubernetes.sh builds one\n";
        let report = if self.skipped { report + why } else { report };
        std::io::stderr().lock().write_all(report.as_bytes()).unwrap();
        assert!(self.wrong.is_empty(), "{} findings\n{}", self.wrong.len(), self.wrong.join("\n"));
    }
}

/// Runs all cases and prints the report; panics, after the last one, if one failed or differed.
pub(crate) async fn run(columns: &Columns, cases: &[Case]) {
    let mut report = Report::of(columns);
    for case in cases {
        let namespace =
            format!("case-{}", case.name.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
        let real = async {
            match &columns.real {
                Some(cluster) => Some(on_one(case, cluster, &namespace).await),
                None => None,
            }
        };
        let (simulated, real) = tokio::join!(on_one(case, &columns.simulator, &namespace), real);
        report.add(case.name, simulated, real);
    }
    report.finish();
}

fn line(case: &str, simulator: &str, real: &str, verdict: &str) -> String {
    format!("{case:<66} {simulator:<10} {real:<8} {verdict}").trim_end().to_owned()
}

async fn on_one(case: &Case, cluster: &Cluster, namespace: &str) -> Outcome {
    let api = cluster.kubeconfig("raw").and_then(|kubeconfig| Api::new(&kubeconfig, namespace)).unwrap();
    let space = json!({"metadata": {"name": namespace}}).to_string();
    let made = api.call(reqwest::Method::POST, "/api/v1/namespaces", crate::api::JSON, Some(space)).await;
    let outcome = match made {
        Ok(_) => (case.run)(api.clone()).await,
        Err(error) => Err(error),
    };
    Outcome { failed: outcome.err().map(|error| format!("{error:#}")), transcript: api.transcript() }
}

/// The first step that differs.
fn difference(simulated: &[Value], real: &[Value]) -> Option<String> {
    let steps = simulated.len().max(real.len());
    let at = (0..steps).find(|step| simulated.get(*step) != real.get(*step))?;
    let text =
        |transcript: &[Value]| transcript.get(at).map_or("nothing".to_owned(), |step| format!("{step}"));
    Some(format!("step {at}\n  simulator: {}\n  real:      {}", text(simulated), text(real)))
}
