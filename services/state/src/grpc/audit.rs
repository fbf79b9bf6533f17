//! One line per write: who did what to which object, and how it ended; and the metrics of all calls.

use std::sync::Arc;
use std::time::Duration;

use krake_runtime::serve::Peer;
use tokio::time::Instant;
use tonic::Code;

use super::metrics::MethodMetrics;
use super::rpc::Rpc;
use crate::access::Admitted;

/// A call that is over, or a stream that has begun.
#[derive(Debug, Clone, Copy)]
pub struct Finished<'a> {
    /// `/package.Service/Method`.
    pub path: &'a str,
    /// How it ended; `Cancelled` if the caller went away.
    pub code: Code,
    /// Time until then.
    pub took: Duration,
}

/// What is told of each call.
pub type Observer = Arc<dyn Fn(Finished<'_>) + Send + Sync>;

/// A call under way. Its line is written when it ends, or when this is dropped because the caller went away.
pub(super) struct Audit {
    rpc: &'static Rpc,
    peer: Arc<Peer>,
    admitted: Option<Arc<Admitted>>,
    metrics: Arc<MethodMetrics>,
    observer: Option<Observer>,
    started: Instant,
    code: Code,
}

impl Audit {
    pub(super) fn begin(
        rpc: &'static Rpc,
        peer: Arc<Peer>,
        metrics: Arc<MethodMetrics>,
        observer: Option<Observer>,
    ) -> Self {
        let (started, code) = (Instant::now(), Code::Cancelled);
        Audit { rpc, peer, admitted: None, metrics, observer, started, code }
    }

    /// The caller is known; which object is named will be.
    pub(super) fn admitted(&mut self, admitted: Arc<Admitted>) {
        self.admitted = Some(admitted);
    }

    pub(super) fn end(mut self, code: Code) {
        self.code = code;
    }

    /// Refusals by who the caller is are told by default, other writes at level debug: controllers make thousands.
    fn tell(&self) {
        let user = self.admitted.as_ref().map(|admitted| admitted.caller.user.as_str());
        let access =
            self.admitted.as_ref().and_then(|admitted| admitted.asked.get()).map(ToString::to_string);
        let (rpc, peer, code) = (&self.rpc.path, self.peer.address, self.code);
        if matches!(code, Code::Unauthenticated | Code::PermissionDenied) {
            tracing::info!(target: "krake_audit", user, %peer, rpc, access, ?code, "refused");
        } else if self.rpc.verb.writes() {
            tracing::debug!(target: "krake_audit", user, %peer, rpc, access, ?code, "write");
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        self.tell();
        self.metrics.finished(self.code, took);
        if let Some(observer) = &self.observer {
            observer(Finished { path: &self.rpc.path, code: self.code, took });
        }
    }
}
