//! Calls to etcd: each has a deadline, and is repeated over another member if it was never sent.

use std::error::Error as _;
use std::time::Duration;

use etcd_client::Error;
use tokio::time::timeout;
use tonic::ConnectError;

use super::super::StoreError;
use super::answer::{Refusal, refusal, unavailable};

/// Attempts for each endpoint. The connections are chosen at random, so a call can meet the same dead member again:
/// with one of three down, one call in 700 fails at worst.
const ATTEMPTS_PER_ENDPOINT: usize = 2;

/// How the calls of a store are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Calls {
    deadline: Duration,
    attempts: usize,
}

impl Calls {
    /// For a store with this number of endpoints. A single one is tried once: its connection is made anew by the next call.
    pub(super) fn new(deadline: Duration, endpoints: usize) -> Self {
        let attempts = if endpoints > 1 { endpoints * ATTEMPTS_PER_ENDPOINT } else { 1 };
        Self { deadline, attempts }
    }

    /// The deadline of every call.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Maximum number of attempts to make a call.
    pub(super) fn attempts(&self) -> usize {
        self.attempts
    }

    /// Makes a call, but waits no longer than its deadline.
    pub(super) async fn within<C, T, F>(&self, client: &C, call: impl Fn(C) -> F) -> Result<T, Refusal>
    where
        C: Clone,
        F: Future<Output = Result<T, Error>>,
    {
        match timeout(self.deadline, self.send(client, call)).await {
            Ok(answer) => answer.map_err(|error| refusal(&error)),
            Err(_) => Err(Refusal::Other(self.late())),
        }
    }

    /// Makes a call without a deadline. Repeated are only calls that no member received, so a write happens once.
    pub(super) async fn send<C, T, F>(&self, client: &C, call: impl Fn(C) -> F) -> Result<T, Error>
    where
        C: Clone,
        F: Future<Output = Result<T, Error>>,
    {
        let mut left = self.attempts;
        loop {
            left = left.saturating_sub(1);
            match call(client.clone()).await {
                Err(error) if left > 0 && was_never_sent(&error) => {}
                answer => return answer,
            }
        }
    }

    /// The error of a call whose deadline has passed.
    pub(super) fn late(&self) -> StoreError {
        unavailable(format!("etcd did not answer within {:?}", self.deadline))
    }
}

/// Whether the connection for a call could not be made. A connection that broke later is not meant: its calls may have
/// been received.
fn was_never_sent(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = match error {
        Error::GRpcStatus(status) => status.source(),
        Error::TransportError(error) => Some(error),
        _ => None,
    };
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tonic::Status;

    use super::*;

    fn unsent() -> Error {
        Error::GRpcStatus(Status::from_error(Box::new(ConnectError("refused".into()))))
    }

    async fn attempts(endpoints: usize, error: impl Fn() -> Error) -> usize {
        let made = AtomicUsize::new(0);
        let call = |()| {
            made.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Err::<(), _>(error()))
        };
        Calls::new(Duration::from_secs(5), endpoints).send(&(), call).await.unwrap_err();
        made.into_inner()
    }

    #[tokio::test]
    async fn only_what_was_never_sent_is_repeated() {
        assert_eq!(attempts(3, unsent).await, 6);
        assert_eq!(attempts(1, unsent).await, 1);
        let broken = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert_eq!(attempts(3, || Error::GRpcStatus(Status::from_error(Box::new(broken())))).await, 1);
        assert_eq!(attempts(3, || Error::GRpcStatus(Status::unavailable("no leader"))).await, 1);
    }

    #[tokio::test]
    async fn what_a_dead_member_refuses_was_never_sent() {
        // Bound and not listening.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let client = etcd_client::Client::connect([url], None).await.unwrap();
        assert!(was_never_sent(&client.kv_client().get("a", None).await.unwrap_err()));
        assert!(was_never_sent(&client.watch_client().watch("a", None).await.unwrap_err()));
    }
}
