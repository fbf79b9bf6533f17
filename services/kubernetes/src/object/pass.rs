//! One pass over the objects of an application: which of those that failed keep others from being written. Pure.

use kube::api::DynamicObject;

use crate::error::ClusterError;
use crate::failure::{self, Class, Stage};
use crate::object::apply::ApplyError;
use crate::object::autoscaler::{Replicas, Scaling};
use crate::object::order::{self, Rank};
use crate::object::ownership::Admitted;
use crate::object::prepare::Target;
use crate::object::validation::Writes;

/// Maximum number of objects that fail in one pass: where so many do, the others hardly fare better.
const MAX_FAILURES: usize = 16;

/// An object that is still to be written, as it was seen.
pub(super) struct Due<'a> {
    pub(super) target: &'a Target,
    pub(super) live: Option<DynamicObject>,
    pub(super) admitted: Admitted,
    /// Whether an autoscaler decides on its replicas.
    pub(super) scaling: Scaling,
    /// The number of replicas that an autoscaler elsewhere has given it.
    pub(super) start: Option<i64>,
}

impl<'a> Due<'a> {
    pub(super) fn of(
        target: &'a Target,
        live: Option<DynamicObject>,
        admitted: Admitted,
        starts: &Replicas,
    ) -> Self {
        let start = starts.get(&target.prepared.key).copied();
        let scaling = if target.prepared.scaled { Scaling::Yes } else { Scaling::No };
        Self { target, live, admitted, scaling, start }
    }
}

/// A pass that is under way.
#[derive(Default)]
pub(super) struct Pass<'a> {
    /// What is to be written in the next pass.
    pub(super) left: Vec<Due<'a>>,
    /// The first failure.
    pub(super) error: Option<ApplyError>,
    failed: Vec<&'a Target>,
    /// Something failed because a webhook does not answer.
    meets_silent_webhook: bool,
}

impl<'a> Pass<'a> {
    /// Whether something failed that the object needs: its namespace, or the definition of its kind. Or it is a webhook that
    /// is not there: while one does not answer, perhaps this one just before it was deleted, it would be in the way of what
    /// failed again. One that is there is written, as that may be what helps.
    pub(super) fn is_blocked(&self, due: &Due<'_>) -> bool {
        let key = &due.target.prepared.key;
        let waits = self.meets_silent_webhook && due.live.is_none() && Rank::of(key) == Rank::Webhook;
        waits || self.failed.iter().any(|failed| order::needs(due.target, &failed.prepared.key))
    }

    /// Notes that an object was not accepted.
    ///
    /// # Errors
    /// When no other object is to be tried because of it.
    pub(super) fn failed(
        &mut self,
        due: Due<'a>,
        error: ApplyError,
        writes: Writes,
    ) -> Result<(), ApplyError> {
        if self.failed.len() >= MAX_FAILURES || !goes_on(&error, writes) {
            return Err(self.error.take().unwrap_or(error));
        }
        self.meets_silent_webhook |= is_of_silent_webhook(&error);
        self.error.get_or_insert(error);
        self.failed.push(due.target);
        self.left.push(due);
        Ok(())
    }
}

fn is_of_silent_webhook(error: &ApplyError) -> bool {
    let ApplyError::Object { error, .. } = error else { return false };
    error.status().is_some_and(failure::is_of_silent_webhook)
}

/// Whether other objects are tried after this failure. Repairs always go on: what one object lacks must not keep another
/// from being put right.
pub(super) fn goes_on(error: &ApplyError, writes: Writes) -> bool {
    let error = match error {
        ApplyError::Object { error, .. } => error,
        ApplyError::Refused(_) => return !writes.is_first(),
        ApplyError::Cluster(_) | ApplyError::Unfinished { .. } => return false,
    };
    let server_is_in_trouble = match error {
        ClusterError::Unreachable(_) | ClusterError::Unauthorized(_) => true,
        error => error.status().is_some_and(|status| status.code == 429),
    };
    let passes = || failure::of_answer(error, Stage::Placement).class == Class::Passing;
    !server_is_in_trouble && (!writes.is_first() || passes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ServerStatus;
    use crate::object::ObjectKey;
    use crate::object::validation::FieldValidation;
    use rstest::rstest;

    fn answer(code: u16, message: &str) -> ApplyError {
        let (message, reason) = (message.into(), if code == 422 { "Invalid" } else { "" }.into());
        let status = Box::new(ServerStatus { code, reason, message, ..ServerStatus::default() });
        let error = match code {
            0 => ClusterError::Unreachable("silent".into()),
            401 => ClusterError::Unauthorized(status),
            403 => ClusterError::Forbidden(status),
            422 => ClusterError::Rejected(status),
            _ => ClusterError::Busy(status),
        };
        let key = ObjectKey { api_version: "v1".into(), kind: "A".into(), namespace: None, name: "a".into() };
        ApplyError::Object { key, error }
    }

    #[rstest]
    #[case::webhook(answer(500, "failed calling webhook \"x\""), true, true)]
    #[case::server(answer(500, "etcd"), true, true)]
    #[case::refused(answer(422, "a must not be b"), false, true)]
    #[case::rights(answer(403, "forbidden"), false, true)]
    #[case::too_many(answer(429, "slow down"), false, false)]
    #[case::credentials(answer(401, "who?"), false, false)]
    #[case::silent(answer(0, ""), false, false)]
    fn other_objects_are_tried_after_what_passes_and_in_repairs(
        #[case] error: ApplyError,
        #[case] first: bool,
        #[case] repair: bool,
    ) {
        assert_eq!(goes_on(&error, Writes::First(FieldValidation::Strict)), first);
        assert_eq!(goes_on(&error, Writes::Repair(FieldValidation::Strict)), repair);
    }
}
