//! What can go wrong when a cluster's API server is asked, by what the caller can do about it.

use std::error::Error as _;
use std::fmt;

/// Maximum length of a message that is taken over from a server, in bytes.
const MAX_MESSAGE: usize = 600;
/// What stands for the part of a message that was cut out.
const CUT: &str = " … ";

/// An API server did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// No usable answer: connection, TLS, deadline, or something that is not a Kubernetes API. Try again later.
    #[error("the cluster does not answer: {0}")]
    Unreachable(String),
    /// The credentials of the kubeconfig are not accepted (401). The operator must renew them.
    #[error("the cluster does not accept the credentials of its kubeconfig: {0}")]
    Unauthorized(Box<ServerStatus>),
    /// Not permitted (403): rights, quota or an admission rule of the cluster.
    #[error("the cluster forbids it: {0}")]
    Forbidden(Box<ServerStatus>),
    /// No such object (404).
    #[error("not found: {0}")]
    NotFound(Box<ServerStatus>),
    /// The object to create exists (409).
    #[error("exists already: {0}")]
    AlreadyExists(Box<ServerStatus>),
    /// A precondition did not hold (409): read again, decide again.
    #[error("changed in between: {0}")]
    Conflict(Box<ServerStatus>),
    /// The server does not take the request (400, 405, 413, 415, 422).
    #[error("the cluster refuses it: {0}")]
    Rejected(Box<ServerStatus>),
    /// The server has trouble (429, 5xx). Try again later.
    #[error("the cluster cannot do it now: {0}")]
    Busy(Box<ServerStatus>),
}

/// What a server said about a failure: the parts of its Kubernetes `Status` that tell what helps. Displays the message, at
/// most 600 bytes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerStatus {
    /// HTTP status code; 0 for what no server said.
    pub code: u16,
    /// `Status.reason`, for programs; empty if the answer has none.
    pub reason: String,
    /// `reason` of each of `Status.details.causes`.
    pub causes: Vec<String>,
    /// Whether `Status.details` names an object. An answer that it is not there does, one that its kind is not served
    /// does not.
    pub names_object: bool,
    /// `Status.message`, whole: values of Secrets are cut out of it before it is shortened.
    pub message: String,
}

impl fmt::Display for ServerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shortened(&self.message))
    }
}

impl From<String> for Box<ServerStatus> {
    fn from(message: String) -> Self {
        Box::new(ServerStatus { message, ..ServerStatus::default() })
    }
}

impl From<&str> for Box<ServerStatus> {
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}

impl ClusterError {
    /// Whether the API server gave a usable answer at all.
    pub fn answered(&self) -> bool {
        !matches!(self, Self::Unreachable(_))
    }

    /// What the server said, if it answered.
    pub fn status(&self) -> Option<&ServerStatus> {
        match self {
            Self::Unreachable(_) => None,
            Self::Unauthorized(status)
            | Self::Forbidden(status)
            | Self::NotFound(status)
            | Self::AlreadyExists(status)
            | Self::Conflict(status)
            | Self::Rejected(status)
            | Self::Busy(status) => Some(status),
        }
    }

    /// Changes the message, which is still whole if a server sent it.
    pub(crate) fn map_message(mut self, change: impl FnOnce(&str) -> String) -> Self {
        match &mut self {
            Self::Unreachable(message) => *message = change(message),
            Self::Unauthorized(status)
            | Self::Forbidden(status)
            | Self::NotFound(status)
            | Self::AlreadyExists(status)
            | Self::Conflict(status)
            | Self::Rejected(status)
            | Self::Busy(status) => status.message = change(&status.message),
        }
        self
    }
}

impl From<kube::Error> for ClusterError {
    fn from(error: kube::Error) -> Self {
        let answer = match error {
            kube::Error::Api(answer) => answer,
            kube::Error::SerdeError(_) => {
                return Self::Unreachable("its answer is not one of a Kubernetes API".to_owned());
            }
            other => return Self::Unreachable(chain(&other)),
        };
        let (name, causes) = answer.details.map(|details| (details.name, details.causes)).unwrap_or_default();
        let status = Box::new(ServerStatus {
            code: answer.code,
            message: match answer.message.is_empty() {
                true => format!("HTTP {} {}", answer.code, answer.reason),
                false => answer.message,
            },
            reason: answer.reason,
            names_object: !name.is_empty(),
            causes: causes.into_iter().map(|cause| cause.reason).collect(),
        });
        match status.code {
            400 | 405 | 413 | 415 | 422 => Self::Rejected(status),
            401 => Self::Unauthorized(status),
            403 => Self::Forbidden(status),
            404 => Self::NotFound(status),
            409 if status.reason == "AlreadyExists" => Self::AlreadyExists(status),
            409 => Self::Conflict(status),
            _ => Self::Busy(status),
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
    shortened(&text)
}

/// The text, with its middle cut out if it is longer than a message may be: the beginning names what was refused, and the
/// end mostly why ("field is immutable").
pub(crate) fn shortened(text: &str) -> String {
    if text.len() <= MAX_MESSAGE {
        return text.to_owned();
    }
    let half = (MAX_MESSAGE - CUT.len()) / 2;
    let head = text.floor_char_boundary(half);
    let tail = text.ceil_char_boundary(text.len() - half);
    format!("{}{CUT}{}", &text[..head], &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn answer(code: u16, reason: &str) -> ClusterError {
        kube::Error::Api(Status::failure("why", reason).with_code(code).boxed()).into()
    }

    #[test]
    fn answers_are_sorted_by_their_code() {
        let sorted = |code, reason| match answer(code, reason) {
            ClusterError::Unreachable(_) => "unreachable",
            ClusterError::Unauthorized(_) => "unauthorized",
            ClusterError::Forbidden(_) => "forbidden",
            ClusterError::NotFound(_) => "not found",
            ClusterError::AlreadyExists(_) => "exists",
            ClusterError::Conflict(_) => "conflict",
            ClusterError::Rejected(_) => "rejected",
            ClusterError::Busy(_) => "busy",
        };
        assert_eq!(sorted(401, "Unauthorized"), "unauthorized");
        assert_eq!(sorted(403, "Forbidden"), "forbidden");
        assert_eq!(sorted(404, "NotFound"), "not found");
        assert_eq!(sorted(409, "AlreadyExists"), "exists");
        assert_eq!(sorted(409, "Conflict"), "conflict");
        assert_eq!(sorted(422, "Invalid"), "rejected");
        assert_eq!(sorted(429, "TooManyRequests"), "busy");
        assert_eq!(sorted(500, "InternalError"), "busy");
    }

    #[test]
    fn what_the_server_said_is_kept() {
        let answer = answer(422, "Invalid");
        let status = answer.status().unwrap();
        assert_eq!((status.code, status.reason.as_str(), status.message.as_str()), (422, "Invalid", "why"));
    }

    #[test]
    fn a_long_answer_is_cut_in_the_middle_between_characters() {
        let text = format!("Job \"j\" is invalid: {} field is immutable", "ü".repeat(1000));
        let error: ClusterError =
            kube::Error::Api(Status::failure(&text, "Invalid").with_code(422).boxed()).into();
        let message = error.status().unwrap().to_string();
        assert!(message.len() <= MAX_MESSAGE, "{}", message.len());
        assert!(message.starts_with("Job \"j\" is invalid") && message.ends_with("field is immutable"));
    }
}
