//! Cases, run on both servers, and the report: one line a case, one column a server.

use std::io::Write;

use anyhow::Result;
use futures::future::LocalBoxFuture;
use serde_json::{Value, json};

use crate::api::Api;
use crate::columns::{Cluster, Columns};

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
    skipped: bool,
    wrong: Vec<String>,
}

impl Report {
    /// Takes in what a case came to; there is no real server where it cannot be had.
    pub(crate) fn add(&mut self, name: &str, simulated: Outcome, real: Option<Outcome>) {
        let word = |outcome: &Outcome| if outcome.failed.is_none() { "ok" } else { "FAILED" };
        let difference = real.as_ref().and_then(|real| difference(&simulated.transcript, &real.transcript));
        let verdict = if difference.is_some() { "DIFFERENT" } else { "" };
        self.skipped |= real.is_none();
        self.lines.push(line(name, word(&simulated), real.as_ref().map_or("skipped", word), verdict));
        for (column, failed) in [("simulator", simulated.failed), ("real", real.and_then(|real| real.failed))]
        {
            self.wrong.extend(failed.map(|failed| format!("{name}, {column}: {failed}")));
        }
        self.wrong.extend(difference.map(|difference| format!("{name}: {difference}")));
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
    let mut report = Report::default();
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
