//! Authentication: the caller of a request, by its credentials and its connection.

use std::sync::Arc;

use http::HeaderMap;
use krake_proto::error::{self, ErrorReason};
use krake_runtime::serve::Peer;
use tonic::{Code, Status};

use crate::access::{ANONYMOUS, AuthenticationMethod, Caller};

/// Authenticates callers, once per request and before anything else is done for it.
#[tonic::async_trait]
pub trait Authenticate: std::fmt::Debug + Send + Sync {
    /// The caller of a request with these headers, over a connection of this peer.
    ///
    /// # Errors
    /// UNAUTHENTICATED if the credentials are missing or unknown; UNAVAILABLE if they cannot be checked now.
    async fn authenticate(&self, peer: &Peer, headers: &HeaderMap) -> Result<Arc<Caller>, Status>;
}

/// Authentication by configuration alone, whatever a request shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authentication {
    /// Every request is authenticated as this user: for a single user's own machine.
    pub static_user: Option<String>,
    /// Requests without credentials are authenticated as `system:anonymous`.
    pub allow_anonymous: bool,
}

impl Authentication {
    /// Whether callers without credentials are served.
    pub fn takes_anybody(&self) -> bool {
        self.static_user.is_some() || self.allow_anonymous
    }
}

/// [`Authentication`] with its answer made once.
#[derive(Debug)]
pub(super) struct Configured(Option<Arc<Caller>>);

impl Configured {
    pub(super) fn new(settings: Authentication) -> Self {
        let caller = |user, method| Arc::new(Caller { user, groups: Vec::new(), method });
        Configured(match settings {
            Authentication { static_user: Some(user), .. } => {
                Some(caller(user, AuthenticationMethod::Static))
            }
            Authentication { allow_anonymous: true, .. } => {
                Some(caller(ANONYMOUS.to_owned(), AuthenticationMethod::Anonymous))
            }
            _ => None,
        })
    }
}

#[tonic::async_trait]
impl Authenticate for Configured {
    async fn authenticate(&self, _peer: &Peer, _headers: &HeaderMap) -> Result<Arc<Caller>, Status> {
        self.0.clone().ok_or_else(|| {
            let text = "Unknown credentials; anonymous access is disabled.";
            error::status(Code::Unauthenticated, ErrorReason::Unauthenticated, text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_is_served_unless_allowed() {
        let peer = Peer { address: ([127, 0, 0, 1], 1).into(), certificate: None };
        let ask = async |settings| Configured::new(settings).authenticate(&peer, &HeaderMap::new()).await;
        let refused = ask(Authentication::default()).await.unwrap_err();
        assert_eq!(error::reason(&refused), Some(ErrorReason::Unauthenticated));
        let anonymous = Authentication { allow_anonymous: true, ..Default::default() };
        assert_eq!(ask(anonymous).await.unwrap().user, ANONYMOUS);
        let fixed = Authentication { static_user: Some("alice".into()), allow_anonymous: true };
        let alice = ask(fixed).await.unwrap();
        assert_eq!((alice.user.as_str(), alice.method), ("alice", AuthenticationMethod::Static));
    }
}
