//! The table: a row for each kind of work, and below it what the rows are made of.

use std::fmt::Write;

use comfy_table::{ContentArrangement, Table, presets};

/// Whether a row is as good as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is.
    Met,
    /// It is not; the notes say where the time goes.
    Missed,
    /// Stands beside a row for comparison.
    Shown,
    /// It could not be measured; the notes say why.
    Failed,
}

impl Verdict {
    /// Met or missed.
    pub(crate) fn of(met: bool) -> Self {
        if met { Self::Met } else { Self::Missed }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Met => "yes",
            Self::Missed => "NO",
            Self::Shown => "",
            Self::Failed => "FAILED",
        }
    }
}

/// One kind of work.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) work: String,
    pub(crate) measured: String,
    /// What the peer did in the same run.
    pub(crate) peer: String,
    pub(crate) ratio: String,
    pub(crate) goal: String,
    pub(crate) verdict: Verdict,
    /// What the figures are made of.
    pub(crate) notes: Vec<String>,
}

impl Row {
    /// A row without figures.
    pub(crate) fn new(work: impl Into<String>, goal: impl Into<String>, verdict: Verdict) -> Self {
        let (work, goal) = (work.into(), goal.into());
        Self {
            work, goal, verdict, measured: "–".into(), peer: "–".into(), ratio: "–".into(), notes: vec![]
        }
    }
}

/// The whole report as text.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["work", "measured", "peer (same run)", "ratio", "goal", "met?"]);
    for row in rows {
        table.add_row([&row.work, &row.measured, &row.peer, &row.ratio, &row.goal, row.verdict.text()]);
    }
    let mut text = format!("{table}\n\nWhere the time goes\n");
    for row in rows.iter().filter(|row| !row.notes.is_empty()) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "\n{}", row.work);
        for note in &row.notes {
            let _ = writeln!(text, "  {note}");
        }
    }
    text
}

/// A rate as people read it.
pub(crate) fn rate(per_second: f64) -> String {
    format!("{per_second:.0}/s")
}

/// A share as people read it.
pub(crate) fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}

/// Processor time per call of each process, in microseconds, and their sum.
pub(crate) fn cpu(per_call: &[(&str, f64)]) -> String {
    let parts: Vec<String> = per_call.iter().map(|(name, time)| format!("{name} {time:.0}")).collect();
    let total: f64 = per_call.iter().map(|(_, time)| time).sum();
    format!("µs CPU per call: {}; {total:.0} in all", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_misses_is_shown_with_its_notes() {
        let mut row = Row::new("create", "≥ 150 %", Verdict::of(false));
        row.notes.push("etcd alone: 9 ms".to_owned());
        let text = text(&[row, Row::new("list by REST", "≤ 150 ms", Verdict::of(true))]);
        assert!(text.contains("NO") && text.contains("yes") && text.contains("≥ 150 %"), "{text}");
        assert!(text.ends_with("create\n  etcd alone: 9 ms\n"), "{text}");
        assert_eq!(
            cpu(&[("state", 100.4), ("etcd", 50.0)]),
            "µs CPU per call: state 100, etcd 50; 150 in all"
        );
    }
}
