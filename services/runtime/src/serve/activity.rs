//! Which calls are open on a connection, and since when there are none.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};
use tower::Service;

use super::peer::Peer;

/// The calls of one connection; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    begin: Instant,
    open: AtomicUsize,
    /// When the last call ended, in milliseconds since `begin`.
    last_end: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Self {
        let begin = Instant::now();
        Activity(Arc::new(Shared { begin, open: AtomicUsize::new(0), last_end: AtomicU64::new(0) }))
    }

    /// Ends once there was no call for `limit`, counted from the call of this method at the earliest.
    pub(super) async fn idle_for(&self, limit: Duration) {
        let mut check = Instant::now() + limit;
        loop {
            sleep_until(check).await;
            if self.0.open.load(Ordering::Acquire) > 0 {
                check = Instant::now() + limit;
                continue;
            }
            let end = self.0.begin + Duration::from_millis(self.0.last_end.load(Ordering::Acquire));
            if end + limit <= Instant::now() {
                return;
            }
            check = end + limit;
        }
    }

    fn open(&self) -> Open {
        self.0.open.fetch_add(1, Ordering::AcqRel);
        Open(self.clone())
    }
}

/// An open call.
#[derive(Debug)]
struct Open(Activity);

impl Drop for Open {
    fn drop(&mut self) {
        let Activity(shared) = &self.0;
        let since = u64::try_from(shared.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        shared.last_end.fetch_max(since, Ordering::AcqRel);
        shared.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Counts a connection's calls until their answers are sent, and tells each who the peer is.
#[derive(Clone, Debug)]
pub(super) struct Tracked<S> {
    inner: S,
    activity: Activity,
    peer: Arc<Peer>,
}

impl<S> Tracked<S> {
    pub(super) fn new(inner: S, activity: Activity, peer: Arc<Peer>) -> Self {
        Tracked { inner, activity, peer }
    }
}

impl<S, R, B> Service<Request<R>> for Tracked<S>
where
    S: Service<Request<R>, Response = Response<B>>,
    S::Future: Unpin,
{
    type Response = Response<TrackedBody<B>>;
    type Error = S::Error;
    type Future = TrackedFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<R>) -> Self::Future {
        let open = self.activity.open();
        request.extensions_mut().insert(self.peer.clone());
        TrackedFuture { answer: self.inner.call(request), open: Some(open) }
    }
}

/// The answer to a call, until it begins.
#[derive(Debug)]
pub(super) struct TrackedFuture<F> {
    answer: F,
    open: Option<Open>,
}

impl<F, B, E> Future for TrackedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>> + Unpin,
{
    type Output = Result<Response<TrackedBody<B>>, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context));
        let open = self.open.take();
        Poll::Ready(answer.map(|answer| answer.map(|body| TrackedBody { body, _open: open })))
    }
}

/// The body of an answer; the call is over when it is dropped.
#[derive(Debug)]
pub(super) struct TrackedBody<B> {
    body: B,
    _open: Option<Open>,
}

impl<B: Body + Unpin> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(300);

    #[tokio::test(start_paused = true)]
    async fn idle_is_counted_from_the_end_of_the_last_call() {
        let (activity, begin) = (Activity::new(), Instant::now());
        let calls = async {
            let first = activity.open();
            tokio::time::sleep(LIMIT * 3).await;
            let second = activity.open();
            drop(first);
            tokio::time::sleep(LIMIT / 2).await;
            drop(second);
            begin.elapsed()
        };
        let ((), ended) = tokio::join!(activity.idle_for(LIMIT), calls);
        assert_eq!(begin.elapsed(), ended + LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_any_call_is_idle_from_its_begin() {
        let begin = Instant::now();
        Activity::new().idle_for(LIMIT).await;
        assert_eq!(begin.elapsed(), LIMIT);
    }
}
