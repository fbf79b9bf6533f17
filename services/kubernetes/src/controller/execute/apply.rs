//! Applies the objects of a plan to a cluster, and finds out what that came to.

use tokio::time::Instant;

use super::super::accepted::Accepting;
use super::super::applies::Interruption;
use super::super::pauses::Ending;
use super::part::Part;
use super::{Executor, Progress, SOON};
use crate::cluster::ClusterHandle;
use crate::error::ClusterError;
use crate::failure::{self, Class, Stage};
use crate::object::apply::{ApplyError, Claim, apply};
use crate::object::prepare::Target;
use crate::object::validation::{FieldValidation, Findings, Verdict, Writes};
use crate::object::{ApplicationUid, InventoryEntry, ObjectKey};
use crate::plan::{self, Again, Aim, Answer, Applied, Apply, CopyRecord, Phase, Presence, Reason};

/// What an apply came to.
struct Ended {
    outcome: Result<(), ApplyError>,
    /// What the cluster accepted.
    entries: Vec<InventoryEntry>,
    /// What of it is not the application's, and used.
    used: Vec<ObjectKey>,
    /// What it did not, and why.
    failures: Vec<(ObjectKey, ApplyError)>,
    validated: Option<Answer>,
    findings: Findings,
}

impl Executor<'_> {
    /// Applies the objects that the plan was made with, and records what follows.
    pub(super) async fn apply(
        &self,
        what: Apply,
        copy: &mut Option<CopyRecord>,
        progress: &mut Progress,
    ) -> anyhow::Result<bool> {
        let handle = self.sighting.and_then(|sighting| sighting.handle.as_ref());
        let (Some(handle), Some(recorded)) = (handle, copy.clone()) else { return Ok(false) };
        let Some(set) = self.set(what) else { return Ok(false) };
        let (uid, aim) = (&self.application.uid, Aim::Set(set));
        if let Some(rest) = self.memory.pauses.remaining(uid, self.cluster, aim) {
            progress.wait(rest);
            return Ok(false);
        }
        let Some(part) = self.part(what, &recorded, handle) else { return Ok(false) };
        let Some(mut ended) = self.attempt(&recorded, handle, &part, progress).await else {
            return Ok(false);
        };
        let earlier = part.used.into_iter().filter(|key| !ended.used.contains(key)).collect::<Vec<_>>();
        ended.used.extend(earlier);
        self.note(what, &recorded, &ended);
        let used = self.used(what, &ended);
        let after = plan::after_apply(Applied {
            copy: &recorded,
            what,
            wanted: self.sighting.and_then(|sighting| sighting.view.wanted),
            generation: self.application.generation,
            retry_requests: self.application.retry_requests,
            elapsed: self.sighting.map(|sighting| sighting.view.attempt.elapsed).unwrap_or_default(),
            deadline: self.deadline,
            accepted: &ended.entries,
            used: &used,
            outcome: &ended.outcome,
            validated: ended.validated.as_ref(),
            leaves_out: self.sighting.is_some_and(|sighting| !sighting.view.refused.is_empty()),
        });
        let ending = match after.again {
            Again::No => Ending::Applied,
            Again::Soon => Ending::Passing,
            Again::Slowly => Ending::Lasting,
        };
        let ending = match (what, recorded.phase) {
            (Apply::Repair, Phase::Running) => self.remember_refusals(aim, &ended, ending),
            _ => ending,
        };
        // A part that was accepted is no failure after which it is tried less often.
        if !matches!(ended.outcome, Err(ApplyError::Unfinished { .. })) {
            self.memory.pauses.tried(uid, self.cluster, aim, ending);
        }
        if after.again != Again::No {
            let rest = self.memory.pauses.remaining(uid, self.cluster, aim);
            progress.wait(rest.unwrap_or(SOON));
        }
        match after.report {
            Some(step) => self.follow(step, copy, progress).await,
            None => Ok(ended.outcome.is_ok()),
        }
    }

    /// What of the copy is not the application's, and used. A repair looks at what is missing or changed alone.
    fn used(&self, what: Apply, ended: &Ended) -> Vec<ObjectKey> {
        let seen = match self.sighting.map(|sighting| &sighting.view.presence) {
            Some(Presence::Seen(seen)) if what == Apply::Repair => seen.used.as_slice(),
            _ => &[],
        };
        let more = ended.used.iter().filter(|key| !seen.contains(key));
        seen.iter().chain(more).cloned().collect()
    }

    /// Applies objects to a cluster that is confirmed to be the registered one. `None`: what that came to is not known, or
    /// for a successor to find out.
    async fn attempt(
        &self,
        recorded: &CopyRecord,
        handle: &ClusterHandle,
        part: &Part,
        progress: &mut Progress,
    ) -> Option<Ended> {
        let uid = &self.application.uid;
        let Part { what, pieces, done, more, .. } = part;
        let of = done + pieces.len() + more;
        let targets: Vec<Target> = pieces.iter().map(|piece| piece.target.clone()).collect();
        let mut accepted = Accepting::new(handle, self.memory, uid, self.cluster, (*what, pieces));
        let mut findings = part.findings.clone();
        let starts = self.memory.replicas.starts(uid);
        let other_user = self.neighbours.others(self.cluster, Some(uid));
        let exists = |uid: &ApplicationUid| self.neighbours.may_exist(uid);
        let claim = Claim {
            identity: self.identity,
            other_user: &other_user,
            exists: &exists,
            starts: &starts,
            inventory: &recorded.inventory,
            adopt_existing: self.application.adopt_existing,
            writes: writes(*what, self.application.field_validation),
            until: Instant::now() + self.memory.applies.longest_part,
            secrets: self.sighting.map(|sighting| sighting.secrets.as_slice()).unwrap_or_default(),
        };
        let work = apply(handle.connection(), &targets, &claim, &mut accepted, &mut findings);
        let work = async {
            handle.while_answering(handle.watch_ends(&targets, uid)).await?;
            Box::pin(handle.on_known(work)).await
        };
        let work = Box::pin(work);
        // Without the lease, whoever leads now goes on.
        let outcome = match self.leadership.within_lease(work).await? {
            // The next look finds what is still missing or changed.
            Ok(Err(ApplyError::Unfinished { .. })) if *what == Apply::Repair => Ok(()),
            Ok(Ok(())) if *more > 0 => Err(ApplyError::Unfinished { accepted: done + pieces.len(), of }),
            Ok(Err(ApplyError::Unfinished { accepted, .. })) => {
                Err(ApplyError::Unfinished { accepted: done + accepted, of })
            }
            Ok(applied) => applied,
            Err(silent) => Err(ApplyError::Cluster(silent)),
        };
        let is_certain = accepted.is_empty() || self.is_answer_of(handle.still_known()).await;
        if handle.is_fenced() {
            // What was accepted may have been accepted by another cluster, or by one that was given up.
            self.memory.distrust(uid, self.cluster);
        }
        if handle.is_fenced() || !is_certain {
            progress.wait(SOON);
            return None;
        }
        let version = handle.report().and_then(|report| report.version);
        let validated = (claim.writes.is_first() && outcome.is_ok())
            .then(|| validated(findings.verdict(version.as_deref())));
        let (entries, used, failures) = accepted.into_parts();
        Some(Ended { outcome, entries, used, failures, validated, findings })
    }

    /// Takes in which objects of a copy that runs were refused for good: only these are paused, and not what is held
    /// against the whole copy. `ending`: how the repair ended as a whole.
    fn remember_refusals(&self, aim: Aim, ended: &Ended, ending: Ending) -> Ending {
        let (uid, pauses) = (&self.application.uid, &self.memory.pauses);
        for entry in &ended.entries {
            pauses.refusals.accepted(uid, self.cluster, &entry.key);
        }
        let (refused, others): (Vec<_>, Vec<_>) =
            ended.failures.iter().partition(|(_, error)| is_refusal(error));
        for (key, _) in &refused {
            let holder = self.sighting.and_then(|sighting| sighting.held.get(key));
            pauses.refusals.refused(uid, self.cluster, aim, key, holder);
        }
        let passes = |(_, error): &&(ObjectKey, ApplyError)| {
            failure::of_apply(error, Stage::Repair).class == Class::Passing
        };
        match (refused.is_empty(), others.is_empty()) {
            (true, _) => ending,
            (false, true) => Ending::Applied,
            (false, false) if others.iter().any(passes) => Ending::Passing,
            (false, false) => Ending::Lasting,
        }
    }

    /// Remembers how far an apply came, and tells why it did not come to its end.
    fn note(&self, what: Apply, recorded: &CopyRecord, ended: &Ended) {
        let (uid, applies) = (&self.application.uid, &self.memory.applies);
        let goes_on = matches!(ended.outcome, Err(ApplyError::Unfinished { .. }));
        if let Err(error) = &ended.outcome {
            self.log_failure(recorded, error);
        }
        if ended.outcome.is_ok() || goes_on {
            self.memory.got_on(uid, self.cluster);
        }
        match (what, &ended.outcome) {
            (Apply::Repair, _) => {}
            (Apply::Wanted, Ok(())) => applies.forget(uid, self.cluster),
            (Apply::Wanted, Err(_)) => {
                let is_of_webhook = |(_, error): &(ObjectKey, ApplyError)| failure::is_of_webhook(error);
                let end = Interruption { goes_on, by_webhook: ended.failures.iter().any(is_of_webhook) };
                applies.interrupt(uid, self.cluster, ended.findings.clone(), end);
            }
        }
    }

    /// Tells why nothing, or not everything, was applied: once, and not at every further attempt.
    fn log_failure(&self, recorded: &CopyRecord, error: &ApplyError) {
        let (application, cluster) = (&self.application.key, self.name());
        if let ApplyError::Unfinished { .. } = error {
            tracing::info!(%application, cluster, "{error}");
        } else if recorded.applied.message == error.to_string() {
            tracing::debug!(%application, cluster, %error, "still cannot apply");
        } else {
            tracing::warn!(%application, cluster, %error, "cannot apply");
        }
    }
}

/// Whether the repair of one object is refused, and will be for a while, which says nothing of the others.
fn is_refusal(error: &ApplyError) -> bool {
    let is_of_all = matches!(
        error,
        ApplyError::Cluster(_) | ApplyError::Object { error: ClusterError::Unauthorized(_), .. }
    );
    !is_of_all && failure::of_apply(error, Stage::Repair).class != Class::Passing
}

/// How the objects of a step are validated: what was not accepted whole yet is written for the first time.
fn writes(what: Apply, validation: FieldValidation) -> Writes {
    match what {
        Apply::Repair => Writes::Repair(validation),
        Apply::Wanted => Writes::First(validation),
    }
}

/// What a copy says of the validation of its manifest.
fn validated(verdict: Verdict) -> Answer {
    match verdict {
        Verdict::Clean => Answer::yes(),
        Verdict::Warned(message) => Answer::no(Reason::Warnings, message),
        Verdict::NotValidated(message) => Answer::unknown(Reason::NotValidated, message),
    }
}
