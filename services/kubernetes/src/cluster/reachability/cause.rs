//! What a failed call says about the cluster. Pure.

use std::error::Error;

use kube::core::Status;

use super::{Cause, Outcome};
use crate::cluster::bounded::AnswerError;
use crate::cluster::bounded::status::NOT_KUBERNETES;
use crate::error::ClusterError;

/// What a failed call of a probe says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It says how the cluster does.
    Outcome(Outcome),
    /// The cluster does well and does not let us do this (403).
    Forbidden,
    /// There is no such thing (404), which may mean that the server is none of Kubernetes'.
    NotFound,
}

/// What a failed call says.
pub(crate) fn classify(error: kube::Error) -> Failure {
    let cause = match &error {
        kube::Error::Api(status) => match of_status(status) {
            Ok(cause) => cause,
            Err(failure) => return failure,
        },
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Cause::Broken,
        other => of_transport(other),
    };
    Failure::Outcome(Outcome::Failure(cause, ClusterError::from(error).to_string()))
}

/// What the failure of `GET /apis` says, which every user of a cluster may call: one who may not has no valid
/// credentials.
pub(crate) fn classify_discovery(error: kube::Error) -> Outcome {
    match classify(error) {
        Failure::Outcome(outcome) => outcome,
        Failure::NotFound => {
            Outcome::Failure(Cause::Broken, "its server is no Kubernetes API server".to_owned())
        }
        Failure::Forbidden => {
            let message = "the credentials of its kubeconfig may not even list the API groups".to_owned();
            Outcome::Failure(Cause::Unauthorized, message)
        }
    }
}

fn of_status(status: &Status) -> Result<Cause, Failure> {
    let is_kubernetes = status.reason != NOT_KUBERNETES;
    match status.code {
        401 => Ok(Cause::Unauthorized),
        403 if is_kubernetes => Err(Failure::Forbidden),
        404 => Err(Failure::NotFound),
        429 => Err(Failure::Outcome(Outcome::Throttled)),
        // A proxy says so of a server that it cannot reach.
        502 | 504 => Ok(Cause::Silent),
        503 if !is_kubernetes => Ok(Cause::Silent),
        _ => Ok(Cause::Broken),
    }
}

fn of_transport(error: &kube::Error) -> Cause {
    match AnswerError::behind(error) {
        Some(
            AnswerError::TooLarge { .. }
            | AnswerError::LineTooLong { .. }
            | AnswerError::TooManyElements
            | AnswerError::Redirect { .. },
        ) => return Cause::Broken,
        Some(AnswerError::Stalled { .. } | AnswerError::TooSlow { .. } | AnswerError::NoAnswer { .. }) => {
            return Cause::Silent;
        }
        None => {}
    }
    match tls_error(error) {
        Some(rustls::Error::InvalidCertificate(_)) => Cause::Untrusted,
        _ => Cause::Silent,
    }
}

/// The TLS error that an error comes from.
fn tls_error(error: &kube::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref() {
            return Some(tls);
        }
        // The source of an I/O error is that of the error that it carries, which is skipped by that.
        let carried = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(tls) = carried.and_then(|carried| carried.downcast_ref()) {
            return Some(tls);
        }
        cause = match carried {
            Some(carried) => Some(carried),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn answer(code: u16, reason: &str) -> Failure {
        classify(kube::Error::Api(Status::failure("why", reason).with_code(code).boxed()))
    }

    #[rstest]
    #[case(401, "Unauthorized", Cause::Unauthorized)]
    #[case(500, "InternalError", Cause::Broken)]
    #[case(503, "ServiceUnavailable", Cause::Broken)]
    #[case(503, NOT_KUBERNETES, Cause::Silent)]
    #[case(502, NOT_KUBERNETES, Cause::Silent)]
    #[case(504, "Timeout", Cause::Silent)]
    #[case(500, NOT_KUBERNETES, Cause::Broken)]
    #[case(403, NOT_KUBERNETES, Cause::Broken)]
    fn answers_have_causes(#[case] code: u16, #[case] reason: &str, #[case] expected: Cause) {
        let Failure::Outcome(Outcome::Failure(cause, _)) = answer(code, reason) else { panic!("{code}") };
        assert_eq!(cause, expected);
    }

    #[test]
    fn throttling_and_missing_rights_are_no_failures_of_the_cluster() {
        assert_eq!(answer(429, NOT_KUBERNETES), Failure::Outcome(Outcome::Throttled));
        assert_eq!(answer(403, "Forbidden"), Failure::Forbidden);
        assert_eq!(answer(404, NOT_KUBERNETES), Failure::NotFound);
        let forbidden = kube::Error::Api(Status::failure("why", "Forbidden").with_code(403).boxed());
        assert!(matches!(classify_discovery(forbidden), Outcome::Failure(Cause::Unauthorized, _)));
    }

    fn of(error: impl Error + Send + Sync + 'static) -> Cause {
        match classify(kube::Error::Service(Box::new(error))) {
            Failure::Outcome(Outcome::Failure(cause, _)) => cause,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn errors_of_the_transport_have_causes() {
        assert_eq!(of(AnswerError::TooLarge { limit: 16 }), Cause::Broken);
        assert_eq!(of(AnswerError::NoAnswer { seconds: 5 }), Cause::Silent);
        assert_eq!(of(std::io::Error::other("connection refused")), Cause::Silent);
        let untrusted = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert_eq!(of(untrusted.clone()), Cause::Untrusted);
        assert_eq!(of(std::io::Error::other(untrusted.clone())), Cause::Untrusted);
        assert_eq!(of(std::io::Error::other(std::io::Error::other(untrusted))), Cause::Untrusted);
    }
}
