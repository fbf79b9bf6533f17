//! The audit of calls: a log line for each write and each refusal, with caller, access and outcome; and the metrics of all
//! calls.

use std::sync::Arc;
use std::time::Duration;

use krake_runtime::serve::{CallDeadline, Peer};
use tokio::time::Instant;
use tonic::Code;

use super::metrics::MethodMetrics;
use super::rpc::Rpc;
use crate::access::Authenticated;

/// A call that is over, or a stream that has begun.
#[derive(Debug, Clone, Copy)]
pub struct Finished<'a> {
    /// `/package.Service/Method`.
    pub path: &'a str,
    /// Name of the caller; `None` if it could not be authenticated.
    pub user: Option<&'a str>,
    /// How it ended; `Cancelled` if the caller went away.
    pub code: Code,
    /// Time until then.
    pub took: Duration,
}

/// Called at the end of each call.
pub type Observer = Arc<dyn Fn(Finished<'_>) + Send + Sync>;

/// A call under way. Its line is written when it ends, or when this is dropped because the caller went away or the
/// deadline has passed.
pub(super) struct Audit {
    rpc: &'static Rpc,
    peer: Arc<Peer>,
    deadline: Option<CallDeadline>,
    caller: Option<Arc<Authenticated>>,
    metrics: Arc<MethodMetrics>,
    observer: Option<Observer>,
    started: Instant,
    /// `None` until the call has ended.
    code: Option<Code>,
}

impl Audit {
    pub(super) fn begin(
        rpc: &'static Rpc,
        peer: Arc<Peer>,
        deadline: Option<CallDeadline>,
        metrics: Arc<MethodMetrics>,
        observer: Option<Observer>,
    ) -> Self {
        let started = Instant::now();
        Audit { rpc, peer, deadline, caller: None, metrics, observer, started, code: None }
    }

    /// The caller is known; which object the request names, its handler finds out.
    pub(super) fn authenticated(&mut self, caller: Arc<Authenticated>) {
        self.caller = Some(caller);
    }

    pub(super) fn end(mut self, code: Code) {
        self.code = Some(code);
    }

    /// How the call ended. The listener answers DEADLINE_EXCEEDED and drops the call, so a call that is dropped after its
    /// deadline ended with that.
    fn outcome(&self) -> Code {
        let is_late = || self.deadline.is_some_and(|deadline| deadline.has_passed());
        self.code.unwrap_or_else(|| if is_late() { Code::DeadlineExceeded } else { Code::Cancelled })
    }

    /// Refusals of callers are logged at level info, other writes at level debug: controllers make thousands.
    fn log(&self, code: Code) {
        // Formatted only where the line is written.
        let access = || {
            let asked = self.caller.as_ref().and_then(|caller| caller.asked.get());
            asked.map(tracing::field::display)
        };
        let (user, rpc, peer) = (self.user(), &self.rpc.path, self.peer.address);
        if matches!(code, Code::Unauthenticated | Code::PermissionDenied) {
            tracing::info!(target: "krake_audit", user, %peer, rpc, access = access(), ?code, "refused");
        } else if self.rpc.verb.writes() {
            tracing::debug!(target: "krake_audit", user, %peer, rpc, access = access(), ?code, "write");
        }
    }

    fn user(&self) -> Option<&str> {
        self.caller.as_ref().map(|caller| caller.caller.user.as_str())
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        let (code, took) = (self.outcome(), self.started.elapsed());
        self.log(code);
        self.metrics.finished(code, took);
        if let Some(observer) = &self.observer {
            observer(Finished { path: &self.rpc.path, user: self.user(), code, took });
        }
    }
}
