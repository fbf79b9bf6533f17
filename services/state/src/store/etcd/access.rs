//! How a store proves to etcd who it is, and how it knows that it is etcd: TLS, and a user where etcd asks for one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Certificate, Client, Error, Identity, TlsOptions};
use krake_runtime::log_limit::LogLimit;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::super::StoreError;
use super::answer::{Refusal, describe, refusal, unavailable};
use super::calls::Calls;

/// Pause between two log-ins: etcd checks a password slowly on purpose, and an operator who mends the user waits no more
/// than this.
const LOG_IN_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Text that no log line and no `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Credentials and authorities for etcd.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EtcdAccess {
    /// Name and password of an etcd user. Without it etcd's authentication must be off, or go by the certificate.
    pub user: Option<(String, Secret)>,
    /// The authorities that etcd's certificates come from, as PEM; those of the system if unset. Only for `https`.
    pub ca: Option<Vec<u8>>,
    /// Certificate chain and private key to show to etcd, as PEM. Only for `https`.
    pub identity: Option<(Vec<u8>, Secret)>,
}

impl EtcdAccess {
    /// The TLS settings of connections to these URLs; `None` without TLS. Fails with [`StoreError::Invalid`] if they
    /// need TLS settings and do not all say https.
    pub(super) fn tls(&self, endpoints: &[String]) -> Result<Option<TlsOptions>, StoreError> {
        let https = |endpoint: &&String| endpoint.starts_with("https://");
        let count = endpoints.iter().filter(https).count();
        if count == 0 && self.ca.is_none() && self.identity.is_none() {
            return Ok(None);
        }
        if count < endpoints.len() {
            let reason = "with TLS all etcd endpoints must begin with https://".to_owned();
            return Err(StoreError::Invalid { reason });
        }
        let mut tls = match &self.ca {
            Some(ca) => TlsOptions::new().ca_certificate(Certificate::from_pem(ca)),
            None => TlsOptions::new().with_enabled_roots(),
        };
        if let Some((certificate, key)) = &self.identity {
            tls = tls.identity(Identity::from_pem(certificate, key.expose()));
        }
        Ok(Some(tls))
    }
}

/// Logs the user in on all of these connections, now or, if etcd cannot be reached yet, as soon as it can. Calls fail
/// as unavailable until then. Fails with [`StoreError::Invalid`] if etcd refuses the user. Dropping the handle ends it.
pub(super) async fn authenticate(
    user: (String, Secret),
    clients: Vec<Client>,
    calls: Calls,
) -> Result<Option<AbortOnDropHandle<()>>, StoreError> {
    let mut failures = Failures::default();
    match log_in(&user, &clients, calls).await {
        Ok(()) => return Ok(None),
        Err(error) if !error.retryable() => return Err(error),
        Err(error) => failures.report(&user.0, error),
    }
    let later = tokio::spawn(async move {
        loop {
            sleep(LOG_IN_RETRY_DELAY).await;
            match log_in(&user, &clients, calls).await {
                Ok(()) => {
                    tracing::info!(user = user.0, "logged in to etcd");
                    return;
                }
                Err(error) => failures.report(&user.0, error),
            }
        }
    });
    Ok(Some(AbortOnDropHandle::new(later)))
}

/// The log lines of a log-in that fails every second.
#[derive(Default)]
struct Failures {
    last: Option<StoreError>,
    limit: LogLimit,
}

impl Failures {
    fn report(&mut self, user: &str, error: StoreError) {
        if !self.is_due(&error, Instant::now()) {
            return;
        }
        match error.retryable() {
            true => tracing::warn!(%error, user, "cannot log in to etcd; trying again every second"),
            false => tracing::error!(%error, user, "etcd refuses this user; trying again every second"),
        }
    }

    /// Whether a failure is logged: at once if it is another one than the last, and once a minute otherwise.
    fn is_due(&mut self, error: &StoreError, now: Instant) -> bool {
        if self.last.as_ref() != Some(error) {
            self.limit.reset();
            self.last = Some(error.clone());
        }
        self.limit.admit(now).is_some()
    }
}

async fn log_in(user: &(String, Secret), clients: &[Client], calls: Calls) -> Result<(), StoreError> {
    for client in clients {
        let log_in = |mut client: Client| {
            let pair = (user.0.clone(), user.1.expose().to_owned());
            async move { client.update_user(Some(pair)).await }
        };
        match timeout(calls.deadline(), calls.send(client, log_in)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(refused(&error)),
            Err(_) => return Err(calls.late()),
        }
    }
    Ok(())
}

/// What a refused log-in means.
fn refused(error: &Error) -> StoreError {
    if let Error::GRpcStatus(status) = error
        && status.message().contains("authentication is not enabled")
    {
        let reason = "etcd has no users (its authentication is off): leave the user out".to_owned();
        return StoreError::Invalid { reason };
    }
    if let Error::GRpcStatus(status) = error
        && status.message().contains("authentication failed")
    {
        return StoreError::Invalid { reason: describe(error) };
    }
    match refusal(error) {
        Refusal::Other(error) => error,
        other => unavailable(format!("unexpected answer of etcd to a log-in: {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_for_https_and_for_all_endpoints() {
        let urls = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>();
        let (plain, with_ca) =
            (EtcdAccess::default(), EtcdAccess { ca: Some(vec![]), ..EtcdAccess::default() });
        assert!(plain.tls(&urls(&["http://a:1"])).unwrap().is_none());
        assert!(plain.tls(&urls(&["https://a:1", "https://b:1"])).unwrap().is_some());
        assert!(plain.tls(&urls(&["https://a:1", "http://b:1"])).is_err());
        assert!(with_ca.tls(&urls(&["http://a:1"])).is_err());
    }

    #[test]
    fn a_failure_that_lasts_is_logged_when_it_changes_and_once_a_minute() {
        let start = Instant::now();
        let away = unavailable("connection refused");
        let wrong = StoreError::Invalid { reason: "authentication failed".to_owned() };
        let mut failures = Failures::default();
        let mut due =
            |error: &StoreError, second| failures.is_due(error, start + Duration::from_secs(second));
        assert!(due(&away, 0));
        assert!((1..60).all(|second| !due(&away, second)) && due(&away, 60));
        assert!(due(&wrong, 61) && !due(&wrong, 62) && due(&away, 63) && !due(&away, 64));
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = || Secret::from("s3cret".to_owned());
        let access = EtcdAccess {
            user: Some(("krake".into(), secret())),
            ca: None,
            identity: Some((b"public".to_vec(), secret())),
        };
        let shown = format!("{access:?} {access:#?}");
        assert!(shown.contains("krake") && !shown.contains("s3cret"), "{shown}");
    }
}
