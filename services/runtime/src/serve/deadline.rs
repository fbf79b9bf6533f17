//! The deadline of gRPC calls: the caller's (`grpc-timeout`), or the listener's if that is shorter.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use krake_proto::error::{self, ErrorReason};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Code;
use tonic::body::Body;
use tower::Service;

/// When a call is answered with DEADLINE_EXCEEDED and dropped, unless its answer has begun. Every request of a gRPC
/// listener has it as an extension.
#[derive(Clone, Copy, Debug)]
pub struct CallDeadline(Instant);

impl CallDeadline {
    /// Whether it has passed.
    pub fn has_passed(&self) -> bool {
        Instant::now() >= self.0
    }
}

/// Answers calls whose answer has not begun in time with DEADLINE_EXCEEDED. A stream may then last.
#[derive(Clone, Debug)]
pub(super) struct Deadline<S> {
    inner: S,
    limit: Duration,
}

impl<S> Deadline<S> {
    pub(super) fn new(inner: S, limit: Duration) -> Self {
        Deadline { inner, limit }
    }
}

impl<S, R> Service<Request<R>> for Deadline<S>
where
    S: Service<Request<R>, Response = Response<Body>>,
    S::Future: Unpin,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Limited<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<R>) -> Self::Future {
        let limit = caller_limit(request.headers()).map_or(self.limit, |asked| asked.min(self.limit));
        let deadline = Instant::now() + limit;
        request.extensions_mut().insert(CallDeadline(deadline));
        Limited { answer: self.inner.call(request), limit: Box::pin(sleep_until(deadline)) }
    }
}

/// See [`Deadline`].
#[derive(Debug)]
pub(super) struct Limited<F> {
    answer: F,
    limit: Pin<Box<Sleep>>,
}

impl<F, E> Future for Limited<F>
where
    F: Future<Output = Result<Response<Body>, E>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(answer) = Pin::new(&mut self.answer).poll(context) {
            return Poll::Ready(answer);
        }
        self.limit.as_mut().poll(context).map(|()| {
            let text = "the call took longer than its deadline; a write may have taken effect";
            Ok(error::status(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded, text).into_http())
        })
    }
}

/// The value of `grpc-timeout`: up to eight digits and a unit. Anything else counts as none.
fn caller_limit(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 60 * 60),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tonic::Status;
    use tower::ServiceExt;

    use super::*;

    #[test]
    fn timeouts_are_digits_and_a_unit() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", http::HeaderValue::from_static(text));
            caller_limit(&headers)
        };
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(read("3M"), Some(Duration::from_secs(180)));
        assert_eq!(read("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(read("1500m"), Some(Duration::from_millis(1500)));
        assert_eq!((read("5u"), read("5n")), (Some(Duration::from_micros(5)), Some(Duration::from_nanos(5))));
        for wrong in ["", "5", "S", "-5S", "+5S", "999999999S", "5s", "5 S"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_dropped_knows_whether_its_deadline_has_passed() {
        let (seen, mut found) = tokio::sync::mpsc::unbounded_channel();
        let service = tower::service_fn(move |request: Request<()>| {
            seen.send(*request.extensions().get::<CallDeadline>().unwrap()).unwrap();
            std::future::pending::<Result<Response<Body>, Infallible>>()
        });
        let mut call =
            tokio::spawn(Deadline::new(service, Duration::from_secs(60)).oneshot(Request::new(())));
        let deadline = found.recv().await.unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(59), &mut call).await.is_err());
        assert!(!deadline.has_passed());
        call.await.unwrap().unwrap();
        assert!(deadline.has_passed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_shorter_of_both_limits_counts() {
        let never =
            tower::service_fn(|_: Request<()>| std::future::pending::<Result<Response<Body>, Infallible>>());
        for (asked, seconds) in [(Some("1S"), 1), (Some("99S"), 60), (None, 60), (Some("x"), 60)] {
            let mut request = Request::new(());
            if let Some(asked) = asked {
                request.headers_mut().insert("grpc-timeout", http::HeaderValue::from_static(asked));
            }
            let begin = tokio::time::Instant::now();
            let answer = Deadline::new(never, Duration::from_secs(60)).oneshot(request).await.unwrap();
            let status = Status::from_header_map(answer.headers()).unwrap();
            assert_eq!(error::reason(&status), Some(ErrorReason::DeadlineExceeded));
            assert_eq!((status.code(), begin.elapsed().as_secs()), (Code::DeadlineExceeded, seconds));
        }
    }
}
