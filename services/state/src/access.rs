//! The caller, what its call needs, and the proof that it was allowed.
//!
//! The registry acts only for a [`Call`], and [`Authenticated::authorize`] alone can make one: a handler that forgets to
//! authorize its request does not compile.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use clap::ValueEnum;
use krake_proto::Kind;
use krake_proto::error::{self, ErrorReason};
use serde::Deserialize;
use tonic::{Code, Status};

use crate::elections::Fence;

/// Name of callers without credentials, as upstream's.
pub(crate) const ANONYMOUS: &str = "system:anonymous";

/// How a caller was authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthenticationMethod {
    /// Not at all: the caller has no credentials.
    Anonymous,
    /// By configuration: every caller is this user.
    Static,
}

/// The sender of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Name of the user; `system:anonymous` for anonymous callers.
    pub user: String,
    /// Groups that the user belongs to.
    pub groups: Vec<String>,
    /// How the user is known.
    pub method: AuthenticationMethod,
}

/// What a call does to its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Makes an object.
    Create,
    /// Reads one object.
    Get,
    /// Reads many objects, or follows them.
    List,
    /// Changes an object.
    Update,
    /// Deletes an object.
    Delete,
}

impl Verb {
    /// Reads the verb of an RPC's `access` option.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "create" => Verb::Create,
            "get" => Verb::Get,
            "list" => Verb::List,
            "update" => Verb::Update,
            "delete" => Verb::Delete,
            _ => return None,
        })
    }

    /// Whether it changes anything.
    pub fn writes(self) -> bool {
        !matches!(self, Verb::Get | Verb::List)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verb::Create => "create",
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Update => "update",
            Verb::Delete => "delete",
        })
    }
}

/// What a caller must be allowed to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// What is done.
    pub verb: Verb,
    /// API group, for example `kubernetes`.
    pub api: Cow<'static, str>,
    /// Plural with an optional sub-resource, for example `applications/binding`.
    pub resource: Cow<'static, str>,
    /// Namespace of the object; empty for global objects and for what has none, `-` for all namespaces.
    pub namespace: String,
    /// Name of the object; empty where the call is about many.
    pub name: String,
}

impl Access {
    /// The same on objects of `kind`, in place of the group and plural that an RPC for all kinds has. Its sub-resource
    /// stays: `objects/finalizers` becomes `applications/finalizers`.
    pub(crate) fn on(self, kind: &'static Kind) -> Self {
        let resource = match self.resource.split_once('/') {
            Some((_, part)) => Cow::from(format!("{}/{part}", kind.plural)),
            None => kind.plural.into(),
        };
        Access { api: kind.api.into(), resource, ..self }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.verb, self.api, self.resource)?;
        if !self.name.is_empty() {
            write!(f, " {:?}", self.name)?;
        }
        if !self.namespace.is_empty() {
            write!(f, " in namespace {:?}", self.namespace)?;
        }
        Ok(())
    }
}

/// What authenticated callers may do. Names as upstream's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authorization {
    /// Every authenticated caller may do everything.
    #[default]
    AlwaysAllow,
    /// No caller may do anything: for tests, and to close an API.
    AlwaysDeny,
}

impl Authorization {
    fn allows(self, _caller: &Caller, _access: &Access) -> bool {
        match self {
            Authorization::AlwaysAllow => true,
            Authorization::AlwaysDeny => false,
        }
    }
}

/// The caller for whom the registry acts. Only [`Authenticated::authorize`] makes one.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Name of the user; `system:anonymous` for anonymous callers.
    pub(crate) user: String,
    /// W3C traceparent of the request; empty if it has none.
    pub(crate) trace_parent: String,
    /// The term of leadership in which the caller writes; the write fails once it is over. `None`: it does not write as a
    /// leader.
    pub(crate) fence: Option<Fence>,
    /// Not visible elsewhere, so that no other module can make a call.
    _authorized: (),
}

#[cfg(test)]
impl Call {
    /// A call by `user` outside of any request.
    pub(crate) fn by(user: &str) -> Self {
        Call { user: user.to_owned(), trace_parent: String::new(), fence: None, _authorized: () }
    }
}

/// A request that its caller may make.
#[derive(Debug)]
pub(crate) struct Authorized<T> {
    call: Call,
    request: T,
}

impl<T> Authorized<T> {
    /// The same, for a write that belongs to this term of leadership.
    pub(crate) fn fenced(mut self, fence: Option<Fence>) -> Self {
        self.call.fence = fence;
        self
    }

    /// The caller to act for, and the request.
    pub(crate) fn into_parts(self) -> (Call, T) {
        (self.call, self.request)
    }
}

/// An authenticated request, before it is known which object it names.
#[derive(Debug)]
pub(crate) struct Authenticated {
    pub(crate) caller: Arc<Caller>,
    pub(crate) trace_parent: String,
    pub(crate) authorization: Authorization,
    /// Whether every authenticated caller may make it, whatever the policy.
    pub(crate) open_to_all: bool,
    /// What the request needs; set by [`Authenticated::authorize`].
    pub(crate) asked: OnceLock<Access>,
}

impl Authenticated {
    /// Lets the request pass if the caller may do what it needs.
    ///
    /// # Errors
    /// PERMISSION_DENIED, naming caller and access.
    pub(crate) fn authorize<T>(&self, access: Access, request: T) -> Result<Authorized<T>, Status> {
        let allowed = self.open_to_all || self.authorization.allows(&self.caller, &access);
        let text = (!allowed).then(|| format!("{:?} may not {access}", self.caller.user));
        // Set once: a handler authorizes its request once.
        let _ = self.asked.set(access);
        if let Some(text) = text {
            return Err(error::status(Code::PermissionDenied, ErrorReason::Forbidden, text));
        }
        let call = Call {
            user: self.caller.user.clone(),
            trace_parent: self.trace_parent.clone(),
            fence: None,
            _authorized: (),
        };
        Ok(Authorized { call, request })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(authorization: Authorization, open_to_all: bool) -> Authenticated {
        let caller = Caller { user: "alice".into(), groups: vec![], method: AuthenticationMethod::Static };
        let (caller, asked) = (Arc::new(caller), OnceLock::new());
        Authenticated { caller, trace_parent: String::new(), authorization, open_to_all, asked }
    }

    fn access() -> Access {
        let (api, resource) = ("kubernetes".into(), "applications".into());
        Access { verb: Verb::Update, api, resource, namespace: "demo".into(), name: "a".into() }
    }

    #[test]
    fn a_refusal_names_caller_and_access() {
        let allowed =
            admitted(Authorization::AlwaysAllow, false).authorize(access(), 7).unwrap().into_parts();
        assert_eq!((allowed.0.user.as_str(), allowed.1), ("alice", 7));
        let denied = admitted(Authorization::AlwaysDeny, false);
        let status = denied.authorize(access(), 7).unwrap_err();
        assert_eq!(error::reason(&status), Some(ErrorReason::Forbidden));
        assert_eq!(
            status.message(),
            r#""alice" may not update kubernetes/applications "a" in namespace "demo""#
        );
        assert_eq!(denied.asked.get(), Some(&access()), "for the audit, also when it is refused");
        assert!(admitted(Authorization::AlwaysDeny, true).authorize(access(), 7).is_ok(), "open to all");
    }
}
