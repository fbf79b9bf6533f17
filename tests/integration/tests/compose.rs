//! The conditions of the compose stack's check can fail: each is met by what it waits for and by nothing else.
#![allow(clippy::unwrap_used, reason = "in a test, its helpers included, a panic is the verdict")]

use std::path::Path;
use std::process::Command;

/// Whether a condition holds when every command that it asks answers this, or fails.
fn holds(condition: &str, answer: Option<&str>) -> bool {
    let conditions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/compose/conditions.sh");
    let script = r#"
        set -euo pipefail
        . "$1"
        said() { [ -z "${FAILS+set}" ] && printf '%s' "$ANSWER"; }
        rok() { said; }
        application() { said; }
        prometheus() { said; }
        eval "$2"
    "#;
    let mut command = Command::new("bash");
    command
        .args(["-c", script, "bash"])
        .arg(conditions)
        .arg(condition)
        .env("ANSWER", answer.unwrap_or_default());
    if answer.is_none() {
        command.env("FAILS", "");
    }
    command.output().unwrap().status.success()
}

/// An application as the gateway shows it.
fn application(state: &str, cluster: &str) -> String {
    format!("{{\"status\": {{\"state\": \"{state}\", \"running_on\": {{\"name\": \"{cluster}\"}}}}}}")
}

/// What Prometheus answers when a query finds series of these values.
fn series(values: &[&str]) -> String {
    let series: Vec<_> = values.iter().map(|value| format!("{{\"value\": [1, \"{value}\"]}}")).collect();
    format!("{{\"data\": {{\"result\": [{}]}}}}", series.join(","))
}

#[test]
fn each_condition_is_met_by_what_it_waits_for_alone() {
    let (running, pending) = (application("RUNNING", "de"), application("PENDING", "de"));
    let one = "[{\"metadata\": {\"name\": \"echo-demo\"}}]";
    let cases = [
        ("gone", "[]".to_owned(), true),
        ("gone", one.to_owned(), false),
        // The form of REST, which a check once looked for.
        ("gone", "{\"items\": []}".to_owned(), false),
        ("running", running.clone(), true),
        ("running", pending.clone(), false),
        ("moved_from fr", running.clone(), true),
        ("moved_from de", running, false),
        ("moved_from fr", pending, false),
        ("moved_from fr", "{\"status\": {\"state\": \"RUNNING\", \"running_on\": null}}".to_owned(), false),
        ("scraped 2", series(&["1", "1"]), true),
        ("scraped 2", series(&["1", "0"]), false),
        ("scraped 2", series(&["1"]), false),
        ("scraped 2", series(&[]), false),
        ("counted", series(&["7"]), true),
        ("counted", series(&["0"]), false),
        ("counted", series(&["NaN"]), false),
        // A metric that there is not.
        ("counted", series(&[]), false),
        ("counted", series(&["7", "7"]), false),
    ];
    for (condition, answer, expected) in &cases {
        assert_eq!(holds(condition, Some(answer)), *expected, "{condition}: {answer}");
    }
    for condition in ["gone", "running", "moved_from fr", "scraped 2", "counted"] {
        assert!(!holds(condition, Some("")), "{condition}: no answer");
        assert!(!holds(condition, Some("nonsense")), "{condition}: nonsense");
        assert!(!holds(condition, None), "{condition}: the command fails");
    }
}
