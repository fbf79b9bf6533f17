//! Jobs that ran to their end on copies that are forgotten: the next copy takes them over, so that a move does not run them
//! again.

use bytes::Bytes;
use krake_proto::krake::kubernetes::v1::ReportCopyRequest;
use krake_proto::numbers::kubernetes::v1::{application_status, copy};

use crate::cache::Stored;
use crate::object::wire::{self, Malformed};

/// Maximum number of Jobs that are kept. The oldest go first: then they run again.
const MAX_KEPT: usize = 256;

/// The encoded field of an application's status that keeps Jobs, after a report of the copy `present`.
pub(super) fn after(
    application: &Stored,
    report: &ReportCopyRequest,
    present: Option<&Bytes>,
    is_bound: bool,
) -> Result<Vec<u8>, Malformed> {
    let status = application.sections.status.as_deref().unwrap_or_default();
    let is_whole = report.copy.as_ref().is_some_and(|copy| copy.applied_work.is_some());
    match (present, report.forget) {
        (Some(forgotten), true) if application.metadata.deleted.is_none() => kept(status, forgotten),
        // It named those that it takes over, and ran the others.
        (Some(_), false) if is_bound && is_whole => Ok(Vec::new()),
        _ => wire::occurrences(status, application_status::COMPLETED_JOBS),
    }
}

/// The same with the Jobs of a copy that is forgotten.
fn kept(status: &[u8], forgotten: &Bytes) -> Result<Vec<u8>, Malformed> {
    let mut kept = wire::elements(status, application_status::COMPLETED_JOBS)?;
    for job in wire::elements(forgotten, copy::COMPLETED_JOBS)? {
        // Once, as the latest.
        kept.retain(|other| *other != job);
        kept.push(job);
    }
    let surplus = kept.len().saturating_sub(MAX_KEPT);
    let kept = kept[surplus..].iter();
    Ok(kept.flat_map(|job| wire::delimited(application_status::COMPLETED_JOBS, job)).collect())
}

#[cfg(test)]
mod tests {
    use krake_proto::krake::kubernetes::v1::{ApplicationStatus, CompletedJob, Copy, ObjectRef};
    use prost::Message;

    use super::*;

    fn jobs(names: &[usize]) -> Vec<CompletedJob> {
        let job = |name: &usize| ObjectRef { name: name.to_string(), ..Default::default() };
        names.iter().map(|name| CompletedJob { job: Some(job(name)), sha256: vec![7; 32].into() }).collect()
    }

    fn kept_of(before: &[usize], forgotten: &[usize]) -> Vec<CompletedJob> {
        let status = ApplicationStatus { completed_jobs: jobs(before), ..Default::default() };
        let copy = Copy { completed_jobs: jobs(forgotten), ..Default::default() };
        let kept = kept(&status.encode_to_vec(), &copy.encode_to_vec().into()).unwrap();
        ApplicationStatus::decode(kept.as_slice()).unwrap().completed_jobs
    }

    #[test]
    fn the_jobs_of_a_copy_are_kept_once_each() {
        assert_eq!(kept_of(&[], &[1, 2]), jobs(&[1, 2]));
        assert_eq!(kept_of(&[1, 2], &[1, 3]), jobs(&[2, 1, 3]));
        assert_eq!(kept_of(&[1], &[]), jobs(&[1]));
    }

    #[test]
    fn of_very_many_the_oldest_go() {
        let before: Vec<_> = (0..MAX_KEPT).collect();
        let kept = kept_of(&before, &[1000]);
        assert_eq!(
            (kept.len(), kept[0].clone(), kept[MAX_KEPT - 1].clone()),
            (MAX_KEPT, jobs(&[1]).remove(0), jobs(&[1000]).remove(0))
        );
    }
}
