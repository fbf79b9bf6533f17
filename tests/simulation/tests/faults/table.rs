//! The table of the verdicts.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::case::{Case, SITUATIONS, STRATEGIES, TROUBLES, VERBS};
use crate::drive::Verdict;
use crate::known;

/// The table as text, which is also written to `fault-matrix.md` in the target folder's `tmp`.
pub(crate) fn write(verdicts: &[(Case, Verdict)], took: Duration) -> String {
    let text = render(verdicts, took);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fault-matrix.md");
    std::fs::write(&path, &text).unwrap();
    format!("{text}\nwritten to {}", path.display())
}

fn render(verdicts: &[(Case, Verdict)], took: Duration) -> String {
    let mut text = String::from("# Fault matrix\n\n");
    let count = |well: bool| verdicts.iter().filter(|(_, verdict)| verdict.wrong.is_empty() == well).count();
    let slowest = verdicts.iter().map(|(_, verdict)| verdict.settled).max().unwrap_or_default();
    let _ = writeln!(
        text,
        "{} cases in {:.0} s: {} well, {} not. Slowest end state: {:.0} s after the fault.\n",
        verdicts.len(),
        took.as_secs_f64(),
        count(true),
        count(false),
        slowest.as_secs_f64(),
    );
    text.push_str(
        "A cell says how many seconds after the fault the end state was there, and how many requests met the fault\n\
         (none where the situation has no request of the verb).\n\n",
    );
    let columns = SITUATIONS.into_iter().flat_map(|it| STRATEGIES.map(|strategy| (it, strategy)));
    let columns: Vec<_> = columns.collect();
    let names = columns.iter().map(|(situation, strategy)| format!(" {situation}, {strategy} |"));
    let _ = writeln!(text, "| Fault |{}", names.collect::<String>());
    let _ = writeln!(text, "|---|{}", "---|".repeat(columns.len()));
    for (verb, trouble) in VERBS.into_iter().flat_map(|verb| TROUBLES.map(|trouble| (verb, trouble))) {
        let cells = columns.iter().map(|(situation, strategy)| {
            let case = Case { verb, trouble, situation: *situation, strategy: *strategy };
            verdicts
                .iter()
                .find(|(other, _)| *other == case)
                .map_or(" |".to_owned(), |(case, verdict)| cell(*case, verdict))
        });
        let cells: String = cells.collect();
        if cells.len() > 2 * columns.len() {
            let _ = writeln!(text, "| {verb} {trouble} |{cells}");
        }
    }
    for (case, verdict) in verdicts.iter().filter(|(_, verdict)| !verdict.wrong.is_empty()) {
        let known = known::reason(*case).map(|reason| format!(" (known: {reason})")).unwrap_or_default();
        let _ = writeln!(text, "\n* {case}{known}: {}", verdict.wrong.join("; "));
    }
    text
}

fn cell(case: Case, verdict: &Verdict) -> String {
    let what = match (verdict.wrong.is_empty(), known::reason(case)) {
        (true, _) => format!("{:.1} s", verdict.settled.as_secs_f64()),
        (false, None) => "FAILS".to_owned(),
        (false, Some(_)) => "known".to_owned(),
    };
    format!(" {what} ({}) |", verdict.met)
}
