//! Preconditions that a write brings along as metadata: the history that it was decided in, and the term of leadership
//! that it belongs to. They are checked after authorization, so that a caller who may not write learns nothing of them.

use http::{HeaderMap, HeaderValue};
use krake_proto::error::{self, Violation};
use tonic::Status;

use crate::elections::{Elections, Fence};
use crate::error::Error;

/// Metadata that names the term of leadership in which a controller writes.
const FENCE: &str = "krake-fence";
/// Metadata that proves it: the ticket that Campaign returned.
const TICKET: &str = "krake-ticket";
/// Metadata of the history that a precondition was read in; state names it in every answer.
pub(super) const EPOCH: &str = "krake-epoch";

/// What a request brings along, as it came. Empty for reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Preconditions {
    epoch: Option<HeaderValue>,
    fence: Option<HeaderValue>,
    ticket: Option<HeaderValue>,
    /// One that is given more than once, so that it is not known which of them counts.
    repeated: Option<&'static str>,
}

impl Preconditions {
    /// Those of a write with these headers.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let value = |name: &str| headers.get(name).cloned();
        let is_repeated = |name: &&str| headers.get_all(*name).iter().count() > 1;
        let repeated = [EPOCH, FENCE, TICKET].into_iter().find(is_repeated);
        Preconditions { epoch: value(EPOCH), fence: value(FENCE), ticket: value(TICKET), repeated }
    }

    /// Checks them for `user` against the present `epoch` and who has won the term. Returns what guards the write.
    ///
    /// # Errors
    /// CONFLICT, INVALID_FIELD, FENCED or FORBIDDEN.
    pub(super) async fn check(
        &self,
        user: &str,
        epoch: &HeaderValue,
        elections: &Elections,
    ) -> Result<Option<Fence>, Status> {
        self.check_repeated()?;
        self.check_epoch(epoch)?;
        let Some(fence) = self.fence()? else { return Ok(None) };
        let ticket = self.ticket.as_ref().and_then(|ticket| ticket.to_str().ok()).unwrap_or_default();
        elections.check_ticket(&fence, ticket, user).await?;
        Ok(Some(fence))
    }

    fn check_repeated(&self) -> Result<(), Status> {
        let violation = |name| error::invalid(&[Violation::new(name, "is given more than once; send one")]);
        self.repeated.map_or(Ok(()), |name| Err(violation(name)))
    }

    /// Refuses a write whose preconditions were read in another history: versions of both may be equal by chance.
    fn check_epoch(&self, present: &HeaderValue) -> Result<(), Status> {
        if self.epoch.as_ref().is_none_or(|read_in| read_in == present) {
            return Ok(());
        }
        let message =
            "krake-epoch: the store was restored after the object was read; read it again".to_owned();
        Err(Error::Conflict { message, resource_version: 0 }.into())
    }

    fn fence(&self) -> Result<Option<Fence>, Status> {
        let Some(value) = &self.fence else { return Ok(None) };
        let fence = value.to_str().ok().and_then(Fence::parse);
        fence.map(Some).ok_or_else(|| {
            let text = "is not `<election>=<fence>`; send the fence that Campaign returned";
            error::invalid(&[Violation::new(FENCE, text)])
        })
    }
}

#[cfg(test)]
mod tests {
    use krake_proto::error::ErrorReason;

    use super::*;

    fn with(name: &'static str, value: &'static str) -> Preconditions {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        Preconditions::of(&headers)
    }

    #[test]
    fn a_fence_that_cannot_be_read_lets_nothing_pass() {
        assert_eq!(Preconditions::default().fence().unwrap(), None);
        assert_eq!(with(FENCE, "scheduler=7").fence().unwrap(), Fence::parse("scheduler=7"));
        let refused = with(FENCE, "scheduler").fence().unwrap_err();
        assert_eq!(error::violations(&refused)[0].field, FENCE);
    }

    #[test]
    fn a_precondition_that_is_given_twice_is_refused() {
        for name in [EPOCH, FENCE, TICKET] {
            let mut headers = HeaderMap::new();
            headers.append(name, HeaderValue::from_static("a=1"));
            Preconditions::of(&headers).check_repeated().unwrap();
            headers.append(name, HeaderValue::from_static("b=2"));
            let refused = Preconditions::of(&headers).check_repeated().unwrap_err();
            assert_eq!(error::violations(&refused)[0].field, name);
        }
    }

    #[test]
    fn a_precondition_of_another_history_is_a_conflict() {
        let epoch = HeaderValue::from_static("one");
        Preconditions::default().check_epoch(&epoch).unwrap();
        with(EPOCH, "one").check_epoch(&epoch).unwrap();
        let refused = with(EPOCH, "two").check_epoch(&epoch).unwrap_err();
        assert_eq!(error::reason(&refused), Some(ErrorReason::Conflict));
    }
}
