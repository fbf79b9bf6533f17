//! Fences: what makes a leader's writes fail once somebody else leads.

use std::sync::Arc;

use http::HeaderValue;
use krake_proto::error::{self, ErrorReason};
use tokio::sync::watch;
use tonic::{Code, Status};

/// The metadata that says as which leader a caller writes.
pub(crate) const KRAKE_FENCE: &str = "krake-fence";

/// The metadata that proves it.
pub(crate) const KRAKE_TICKET: &str = "krake-ticket";

/// What a campaign answers to the leader as proof that it has won. A secret: whoever has it can write and resign as the
/// leader.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Ticket(Arc<str>);

impl Ticket {
    /// The text, to resume a campaign with it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Ticket {
    fn from(text: &str) -> Self {
        Ticket(text.into())
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ticket(..)")
    }
}

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

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Term {
    /// What the campaign answered; `None` while this process does not lead.
    revision: Option<i64>,
    /// What proves it.
    ticket: Ticket,
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

    /// From now on writes carry this revision and this ticket, as answered by the campaign.
    pub fn raise(&self, revision: i64, ticket: Ticket) {
        self.shared.term.send_replace(Term { revision: Some(revision), ticket, refused: false });
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

    /// What to send with a write.
    pub(crate) fn headers(&self) -> Result<FenceHeaders, Status> {
        let election = &self.shared.election;
        let refuse = |text| Err(error::status(Code::Aborted, ErrorReason::Fenced, text));
        let Term { revision: Some(revision), ticket, .. } = self.shared.term.borrow().clone() else {
            return refuse(format!("not sent: this process does not lead {election}"));
        };
        let Ok(fence) = HeaderValue::try_from(format!("{election}={revision}")) else {
            return refuse(format!("not sent: {election:?} cannot be the name of an election"));
        };
        let Ok(mut ticket) = HeaderValue::try_from(ticket.reveal()) else {
            return refuse(format!("not sent: the ticket of {election} is not one"));
        };
        // Kept out of logs and of the compression of headers.
        ticket.set_sensitive(true);
        Ok(FenceHeaders { revision, fence, ticket })
    }

    /// A write was refused that was sent with `revision`: lowers the fence, unless it was raised anew meanwhile.
    pub(crate) fn refuse(&self, revision: i64) {
        self.shared.term.send_if_modified(|term| {
            let present = term.revision == Some(revision);
            if present {
                *term = Term { refused: true, ..Term::default() };
            }
            present
        });
    }
}

/// What a leader's write carries.
#[derive(Debug)]
pub(crate) struct FenceHeaders {
    pub(crate) revision: i64,
    /// [`KRAKE_FENCE`].
    pub(crate) fence: HeaderValue,
    /// [`KRAKE_TICKET`].
    pub(crate) ticket: HeaderValue,
}

/// Whether an RPC of the Krake API only reads, by its name: it needs no fence.
pub fn is_read(method: &str) -> bool {
    ["Get", "List", "Check", "Watch"].iter().any(|verb| method.starts_with(verb))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn writes_carry_the_fence_or_fail() {
        let fence = Fence::new("kubernetes/0");
        assert_eq!(error::reason(&fence.headers().unwrap_err()), Some(ErrorReason::Fenced));
        fence.raise(7, Ticket::from("s3cret"));
        let headers = fence.headers().unwrap();
        assert_eq!((headers.revision, headers.fence.as_bytes()), (7, b"kubernetes/0=7".as_slice()));
        assert_eq!(headers.ticket.as_bytes(), b"s3cret");
        let shown = format!("{fence:?} {headers:?} {:?}", Ticket::from("s3cret"));
        assert!(!shown.contains("s3cret"), "{shown}");
        fence.clone().lower();
        assert!(fence.headers().is_err() && fence.revision().is_none());
        fence.raise(7, Ticket::from("no\nheader"));
        assert!(fence.headers().is_err());
    }

    #[test]
    fn only_a_refusal_of_the_present_fence_counts() {
        let fence = Fence::new("gc");
        fence.raise(7, Ticket::default());
        fence.raise(9, Ticket::default());
        fence.refuse(7);
        assert!(fence.refused().now_or_never().is_none(), "that was the term before");
        fence.refuse(9);
        assert!(fence.refused().now_or_never().is_some());
        assert_eq!(fence.revision(), None);
        fence.raise(11, Ticket::default());
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
