//! What can go wrong when a cluster's API server is asked, by what the caller can do about it.

use std::error::Error as _;

/// Longest message that is taken over from a server.
const LONGEST_MESSAGE: usize = 600;

/// An API server did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// No usable answer: connection, TLS, deadline, or something that is not a Kubernetes API. Try again later.
    #[error("the cluster does not answer: {0}")]
    Unreachable(String),
    /// The credentials of the kubeconfig are not accepted (401). The operator must renew them.
    #[error("the cluster does not accept the credentials of its kubeconfig: {0}")]
    Unauthorized(String),
    /// Not permitted (403): rights, quota or an admission rule of the cluster.
    #[error("the cluster forbids it: {0}")]
    Forbidden(String),
    /// No such object (404).
    #[error("not found: {0}")]
    NotFound(String),
    /// The object to create exists (409).
    #[error("exists already: {0}")]
    AlreadyExists(String),
    /// A precondition did not hold (409): read again, decide again.
    #[error("changed in between: {0}")]
    Conflict(String),
    /// The request itself is wrong (400, 405, 413, 415, 422): only another manifest helps.
    #[error("the cluster refuses it: {0}")]
    Rejected(String),
    /// The server has trouble (429, 5xx). Try again later.
    #[error("the cluster cannot do it now: {0}")]
    Busy(String),
}

impl ClusterError {
    /// Whether the API server gave a usable answer at all.
    pub fn answered(&self) -> bool {
        !matches!(self, Self::Unreachable(_))
    }
}

impl From<kube::Error> for ClusterError {
    fn from(error: kube::Error) -> Self {
        let status = match error {
            kube::Error::Api(status) => status,
            kube::Error::SerdeError(_) => {
                return Self::Unreachable("its answer is not one of a Kubernetes API".to_owned());
            }
            other => return Self::Unreachable(chain(&other)),
        };
        let message = if status.message.is_empty() {
            format!("HTTP {} {}", status.code, status.reason)
        } else {
            shorten(&status.message)
        };
        match status.code {
            400 | 405 | 413 | 415 | 422 => Self::Rejected(message),
            401 => Self::Unauthorized(message),
            403 => Self::Forbidden(message),
            404 => Self::NotFound(message),
            409 if status.reason == "AlreadyExists" => Self::AlreadyExists(message),
            409 => Self::Conflict(message),
            _ => Self::Busy(message),
        }
    }
}

/// The messages of an error and its causes, each once.
fn chain(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    shorten(&text)
}

fn shorten(text: &str) -> String {
    if text.len() <= LONGEST_MESSAGE {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(LONGEST_MESSAGE);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn answer(code: u16, reason: &str) -> ClusterError {
        kube::Error::Api(Status::failure("why", reason).with_code(code).boxed()).into()
    }

    #[test]
    fn answers_are_sorted_by_what_helps() {
        let why = || "why".to_owned();
        assert_eq!(answer(401, "Unauthorized"), ClusterError::Unauthorized(why()));
        assert_eq!(answer(403, "Forbidden"), ClusterError::Forbidden(why()));
        assert_eq!(answer(404, "NotFound"), ClusterError::NotFound(why()));
        assert_eq!(answer(409, "AlreadyExists"), ClusterError::AlreadyExists(why()));
        assert_eq!(answer(409, "Conflict"), ClusterError::Conflict(why()));
        assert_eq!(answer(422, "Invalid"), ClusterError::Rejected(why()));
        assert_eq!(answer(429, "TooManyRequests"), ClusterError::Busy(why()));
        assert_eq!(answer(500, "InternalError"), ClusterError::Busy(why()));
    }

    #[test]
    fn a_long_answer_is_cut_between_characters() {
        let text = "ü".repeat(1000);
        let error: ClusterError =
            kube::Error::Api(Status::failure(&text, "Invalid").with_code(422).boxed()).into();
        let ClusterError::Rejected(message) = error else { panic!("{error}") };
        assert!(message.len() < 610, "{}", message.len());
    }
}
