//! Fences: what makes a leader's writes fail once somebody else leads.

use std::sync::Arc;

use http::HeaderValue;
use krake_proto::error::{self, ErrorReason};
use tokio::sync::watch;
use tonic::{Code, Status};

/// The metadata that says as which leader a caller writes.
pub(crate) const KRAKE_FENCE: &str = "krake-fence";

/// As which leader a client writes; clones share it. See [`crate::Client::fenced`].
#[derive(Clone, Debug)]
pub struct Fence {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    election: String,
    term: watch::Sender<Term>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Term {
    /// What the campaign answered; `None` while this process does not lead.
    revision: Option<i64>,
    /// Whether a write was refused.
    refused: bool,
}

impl Fence {
    /// A fence in an election; lowered at first.
    pub fn new(election: impl Into<String>) -> Self {
        let shared = Shared { election: election.into(), term: watch::Sender::default() };
        Fence { shared: Arc::new(shared) }
    }

    /// Name of the election.
    pub fn election(&self) -> &str {
        &self.shared.election
    }

    /// From now on writes carry this revision, as answered by the campaign.
    pub fn raise(&self, revision: i64) {
        self.shared.term.send_replace(Term { revision: Some(revision), refused: false });
    }

    /// From now on writes fail without being sent.
    pub fn lower(&self) {
        self.shared.term.send_replace(Term::default());
    }

    /// What writes carry now; `None` if they fail.
    pub fn revision(&self) -> Option<i64> {
        self.shared.term.borrow().revision
    }

    /// Waits until a write was refused since the fence was raised: the server knows that this process does not lead.
    /// The fence is lowered then.
    pub async fn refused(&self) {
        // The sender lives as long as this handle, so waiting cannot fail.
        let _ = self.shared.term.subscribe().wait_for(|term| term.refused).await;
    }

    /// The value to send with a write, and the revision in it.
    pub(crate) fn header(&self) -> Result<(i64, HeaderValue), Status> {
        let election = &self.shared.election;
        let refuse = |text| Err(error::status(Code::Aborted, ErrorReason::Fenced, text));
        let Some(revision) = self.revision() else {
            return refuse(format!("not sent: this process does not lead {election}"));
        };
        match HeaderValue::try_from(format!("{election}={revision}")) {
            Ok(value) => Ok((revision, value)),
            Err(_) => refuse(format!("not sent: {election:?} cannot be the name of an election")),
        }
    }

    /// A write was refused that was sent with `revision`: lowers the fence, unless it was raised anew meanwhile.
    pub(crate) fn refuse(&self, revision: i64) {
        self.shared.term.send_if_modified(|term| {
            let present = term.revision == Some(revision);
            if present {
                *term = Term { revision: None, refused: true };
            }
            present
        });
    }
}

/// Whether an RPC of the Krake API only reads, by its name: it needs no fence.
pub(crate) fn is_read(method: &str) -> bool {
    ["Get", "List", "Check", "Watch"].iter().any(|verb| method.starts_with(verb))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn writes_carry_the_fence_or_fail() {
        let fence = Fence::new("kubernetes/0");
        assert_eq!(error::reason(&fence.header().unwrap_err()), Some(ErrorReason::Fenced));
        fence.raise(7);
        assert_eq!(fence.header().unwrap(), (7, HeaderValue::from_static("kubernetes/0=7")));
        fence.clone().lower();
        assert!(fence.header().is_err() && fence.revision().is_none());
    }

    #[test]
    fn only_a_refusal_of_the_present_fence_counts() {
        let fence = Fence::new("gc");
        fence.raise(7);
        fence.raise(9);
        fence.refuse(7);
        assert!(fence.refused().now_or_never().is_none(), "that was the term before");
        fence.refuse(9);
        assert!(fence.refused().now_or_never().is_some());
        assert_eq!(fence.revision(), None);
        fence.raise(11);
        assert!(fence.refused().now_or_never().is_none());
    }

    #[test]
    fn the_name_rule_agrees_with_the_access_rules_of_the_api() {
        let access = krake_proto::POOL.get_extension_by_name("krake.meta.v1.access").unwrap();
        for service in krake_proto::POOL.services().filter(|s| s.full_name().starts_with("krake.")) {
            for method in service.methods() {
                let options = method.options();
                let rule = options.get_extension(&access);
                let verb = rule.as_message().unwrap().get_field_by_name("verb").unwrap().into_owned();
                let reads = matches!(verb.as_str().unwrap(), "get" | "list" | "watch");
                assert_eq!(is_read(method.name()), reads, "{}", method.full_name());
            }
        }
    }
}
