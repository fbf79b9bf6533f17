//! Whether a cluster is reachable: from the outcomes of its probes, with their times, to one record. Pure.
//!
//! Laws, whatever the outcomes:
//! * a reachable cluster becomes unreachable only by at least 3 failures in a row over at least 15 s;
//! * an unreachable one becomes reachable only by 2 answers in a row, and is unreachable since the same moment until then:
//!   one answer a minute does not keep its applications from being placed elsewhere;
//! * HTTP 429 is an answer: it never makes a cluster unreachable;
//! * an identity that changed counts at once, since it is no failure to answer;
//! * the cause is never one that fails over sooner than the failures since [`Record::since`] justify.

mod cause;

use std::time::Duration;

pub(crate) use cause::{Failure, classify, classify_discovery};

/// Why a cluster is not reachable, from the mildest to the most severe: the later ones fail over sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It is another cluster than the one that was registered.
    WrongCluster,
    /// Its TLS certificate does not prove its identity.
    Untrusted,
    /// It does not accept the credentials of its kubeconfig: its workloads run on.
    Unauthorized,
    /// It answers, but not as a Kubernetes API that works.
    Broken,
    /// It does not answer.
    Silent,
}

impl Cause {
    const ALL: [Cause; 5] =
        [Cause::WrongCluster, Cause::Untrusted, Cause::Unauthorized, Cause::Broken, Cause::Silent];

    /// Whether one outcome is enough.
    fn is_immediate(self) -> bool {
        self == Cause::WrongCluster
    }
}

/// How a probe ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The cluster answered as a Kubernetes API.
    Answer,
    /// The cluster answered that it has too many requests (429).
    Throttled,
    /// It failed, and why, for people.
    Failure(Cause, String),
}

/// Numbers and times that an outcome needs to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Failures in a row that make a cluster unreachable.
    pub failures: u32,
    /// Shortest time between the first and the last of them.
    pub failing_for: Duration,
    /// Answers in a row that make an unreachable cluster reachable.
    pub answers: u32,
}

impl Default for Thresholds {
    /// Three probes of the default interval: shorter trouble is that of a network or a restart.
    fn default() -> Self {
        Self { failures: 3, failing_for: Duration::from_secs(15), answers: 2 }
    }
}

/// Whether a cluster is reachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reachable {
    /// Not known: it has never answered.
    Unknown,
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// What is known of a cluster's reachability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The answer.
    pub reachable: Reachable,
    /// Why it is not reachable, or why it is not known; `None` once it has answered.
    pub cause: Option<Cause>,
    /// Text for people to `cause`: that of the first failure that had it.
    pub message: String,
    /// The first of the failures that led to `cause`; the last change where there is none.
    pub since: Duration,
    /// Whether the last answers, as many as failures would make it unreachable, were 429.
    pub throttled: bool,
}

/// Failures in a row whose causes are at least as severe as one of [`Cause::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: Duration,
    count: u32,
}

/// What is kept by cause, at its position in [`Cause::ALL`].
type ByCause<T> = [T; Cause::ALL.len()];

/// The record of one cluster, kept up to date by its probes. Times are monotonic, since any fixed moment.
#[derive(Clone, Debug)]
pub struct Reachability {
    thresholds: Thresholds,
    record: Record,
    runs: ByCause<Option<Run>>,
    /// Text of the last failure with the cause.
    messages: ByCause<String>,
    /// Answers in a row.
    answers: u32,
    /// Answers with 429 in a row.
    throttled: u32,
}

impl Reachability {
    /// Nothing known yet.
    pub fn new(thresholds: Thresholds) -> Self {
        let record = Record {
            reachable: Reachable::Unknown,
            cause: None,
            message: String::new(),
            since: Duration::ZERO,
            throttled: false,
        };
        let (runs, messages) = Default::default();
        Self { thresholds, record, runs, messages, answers: 0, throttled: 0 }
    }

    /// What is known now.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Number of answers in a row.
    pub fn answers(&self) -> u32 {
        self.answers
    }

    /// Number of answers with 429 in a row.
    pub fn throttled_answers(&self) -> u32 {
        self.throttled
    }

    /// Number of failures in a row in which no server answered.
    pub fn silent_failures(&self) -> u32 {
        self.runs.last().copied().flatten().map_or(0, |run| run.count)
    }

    /// Takes in the outcome of a probe that ended at `at`, not before the last one.
    pub fn observe(&mut self, at: Duration, outcome: Outcome) {
        match outcome {
            Outcome::Answer => self.answered(at, false),
            Outcome::Throttled => self.answered(at, true),
            Outcome::Failure(cause, message) => self.failed(at, cause, message),
        }
    }

    fn answered(&mut self, at: Duration, throttled: bool) {
        self.runs = Default::default();
        self.answers = self.answers.saturating_add(1);
        self.throttled = if throttled { self.throttled.saturating_add(1) } else { 0 };
        let throttled = self.throttled >= self.thresholds.failures;
        self.record.throttled = throttled;
        let enough = match self.record.reachable {
            Reachable::Unknown => true,
            Reachable::No => self.answers >= self.thresholds.answers,
            Reachable::Yes => false,
        };
        if enough {
            let (reachable, message) = (Reachable::Yes, String::new());
            self.record = Record { reachable, cause: None, message, since: at, throttled };
        }
    }

    fn failed(&mut self, at: Duration, cause: Cause, message: String) {
        (self.answers, self.throttled) = (0, 0);
        for ((level, run), kept) in Cause::ALL.into_iter().zip(&mut self.runs).zip(&mut self.messages) {
            *run = match *run {
                _ if cause < level => None,
                Some(Run { first, count }) => Some(Run { first, count: count.saturating_add(1) }),
                None => Some(Run { first: at, count: 1 }),
            };
            if level == cause {
                kept.clone_from(&message);
            }
        }
        let Record { reachable, cause: known, .. } = self.record;
        if known == Some(Cause::WrongCluster) {
            // Where the right cluster is, and how it does, this one's silence does not tell.
            return;
        }
        if let Some((cause, since, message)) = self.justified(at, cause) {
            self.set(Reachable::No, cause, since, message);
        } else if reachable == Reachable::No && Some(cause) < known {
            // A milder cause shows that the cluster lives.
            self.set(Reachable::No, cause, at, message);
        } else if reachable == Reachable::Unknown {
            self.set(Reachable::Unknown, cause, at, message);
        }
    }

    /// The most severe cause that enough failures in a row justify, with the first of them and the text.
    fn justified(&self, at: Duration, cause: Cause) -> Option<(Cause, Duration, String)> {
        let by_cause = Cause::ALL.into_iter().zip(self.runs).zip(&self.messages);
        if cause.is_immediate() {
            return by_cause
                .filter(|((level, _), _)| *level == cause)
                .map(|(_, message)| (cause, at, message.clone()))
                .next();
        }
        let enough = |run: &Run| {
            run.count >= self.thresholds.failures
                && at.saturating_sub(run.first) >= self.thresholds.failing_for
        };
        by_cause
            .rev()
            .filter_map(|((level, run), message)| Some((level, run.filter(enough)?.first, message.clone())))
            .next()
    }

    fn set(&mut self, reachable: Reachable, cause: Cause, since: Duration, message: String) {
        if (self.record.reachable, self.record.cause) != (reachable, Some(cause)) {
            self.record = Record { reachable, cause: Some(cause), message, since, throttled: false };
        }
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
