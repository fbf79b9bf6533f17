//! Errors of commands, with their exit codes and hints.

use krake_client::{Cause, Diagnosis};
use thiserror::Error;

/// Exit code of errors of the server, the connection and files.
pub(crate) const ERROR: u8 = 1;
/// Exit code of wrong usage.
pub(crate) const USAGE: u8 = 2;
/// Exit code of a `--wait` that ran out of time.
pub(crate) const TIMEOUT: u8 = 3;

#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// Options that do not go together.
    #[error("{0}")]
    Usage(String),
    /// A file, or something else that the user gave, cannot be used. One line per problem.
    #[error("{0}")]
    Input(String),
    /// The server refused, or does not answer. One line per field.
    #[error(transparent)]
    Call(#[from] krake_client::Error),
    /// No state service answers at the URL, and why is known.
    #[error("cannot reach {url}: {diagnosis}")]
    Unreachable {
        /// The URL as given.
        url: String,
        /// What is wrong.
        diagnosis: Diagnosis,
    },
    /// What was waited for will not come.
    #[error("{0}")]
    Hopeless(String),
    /// What was waited for did not come in time.
    #[error("{0}")]
    Timeout(String),
}

impl Failure {
    pub(crate) fn input(text: impl Into<String>) -> Self {
        Failure::Input(text.into())
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) => USAGE,
            Failure::Timeout(_) => TIMEOUT,
            Failure::Input(_) | Failure::Call(_) | Failure::Unreachable { .. } | Failure::Hopeless(_) => {
                ERROR
            }
        }
    }

    /// What is wrong, a line for each thing.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.to_string().lines().map(str::to_owned).collect()
    }

    /// What may help.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Failure::Usage(_) => Some("For more information, try '--help'."),
            Failure::Call(error) if error.is_conflict() => {
                Some("It was changed meanwhile: look at it again and repeat the command.")
            }
            Failure::Unreachable { diagnosis, .. } => Some(match diagnosis.cause() {
                Cause::UnknownAuthority | Cause::AuthorityAsServer => {
                    "Name the file with --client-ca, ROK_CLIENT_CA, or client_ca below tls in rok.yaml."
                }
                Cause::ClientCertificate => {
                    "Name them with --client-cert and --client-key, or client_cert and client_key below tls in rok.yaml."
                }
                Cause::OutOfDate { .. } | Cause::BadCertificate(_) => return None,
                _ => "The URL comes from --api-url, KRAKE_API_URL, or api_url in rok.yaml.",
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use krake_proto::error::{Violation, invalid};

    #[test]
    fn every_violation_has_a_line_with_its_field() {
        let wrong =
            invalid(&[Violation::new("metadata.name", "is empty"), Violation::new("spec", "is missing")]);
        let failure = Failure::from(krake_client::Error::from(wrong));
        assert_eq!(failure.lines(), ["metadata.name: is empty", "spec: is missing"]);
        assert_eq!(failure.exit_code(), 1);
        assert_eq!(Failure::Usage(String::new()).exit_code(), 2);
        assert_eq!(Failure::Timeout(String::new()).exit_code(), 3);
    }
}
