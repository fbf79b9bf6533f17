//! The target of one request: its route, the object in its path, and the caller.

use http::StatusCode;
use krake_proto::POOL;
use krake_proto::error::Violation;
use krake_proto::rest::{Route, Scope};
use prost_reflect::MessageDescriptor;
use serde_json::Value;
use tonic::Status;

use crate::call::{Caller, Reply};
use crate::matcher::Matched;
use crate::problem::{Problem, Subject, Title};

/// A request's route, object and caller.
pub(crate) struct Target {
    pub(crate) route: &'static Route,
    pub(crate) caller: Caller,
    /// Empty for global objects, `-` for those of all namespaces.
    pub(crate) namespace: String,
    /// Empty where the path names no object.
    pub(crate) name: String,
}

impl Target {
    /// # Errors
    /// When the namespace in the path is gRPC's wildcard, which no namespace can be named.
    pub(crate) fn new(route: &'static Route, matched: &Matched, caller: Caller) -> Result<Self, Problem> {
        let in_path = matched.parameter("namespace");
        if in_path == Scope::All.namespace("") {
            let all = format!("/{}/{}", route.kind.api, route.kind.plural);
            let text = format!("{in_path:?} cannot be the name of a namespace; {all} is all namespaces");
            return Err(Problem::invalid(vec![Violation::new("metadata.namespace", text)]));
        }
        Ok(Target {
            route,
            caller,
            namespace: route.scope.namespace(in_path).to_owned(),
            name: matched.parameter("name").to_owned(),
        })
    }

    /// The message of the route's kind.
    pub(crate) fn descriptor(&self) -> MessageDescriptor {
        kind_message(self.route)
    }

    /// The object in upstream's texts.
    pub(crate) fn subject(&self) -> Subject {
        Subject {
            kind: self.route.shown_kind(),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            flat: self.route.kind.flat,
        }
    }

    /// The problem of a refusal.
    pub(crate) fn problem(&self, status: &Status) -> Problem {
        Problem::of(status, &self.subject())
    }

    /// Calls the route's method.
    pub(crate) async fn call(&self, request: &impl prost::Message) -> Result<Reply, Problem> {
        self.call_in(request, "").await
    }

    /// Calls the route's method with preconditions that were read in the history `epoch`; empty if that is not known.
    pub(crate) async fn call_in(&self, request: &impl prost::Message, epoch: &str) -> Result<Reply, Problem> {
        let answer = self.caller.unary_in(&self.route.rpc, request, epoch).await;
        answer.map_err(|status| self.problem(&status))
    }

    /// Calls another standard method of the kind, such as `Get`.
    pub(crate) async fn call_method(
        &self,
        method: &str,
        request: &impl prost::Message,
    ) -> Result<Reply, Problem> {
        let rpc = self.route.rpc.parent_service().methods().find(|rpc| rpc.name() == method);
        let rpc = rpc.ok_or_else(|| Problem::plain(StatusCode::NOT_IMPLEMENTED))?;
        self.caller.unary(&rpc, request).await.map_err(|status| self.problem(&status))
    }

    /// Refuses a body that names another object than the path.
    pub(crate) fn check_identity(&self, body: &Value) -> Result<(), Problem> {
        let metadata = &body["metadata"];
        for (field, here) in [("name", &self.name), ("namespace", &self.namespace)] {
            match &metadata[field] {
                // A wrong type is reported when the body is read.
                Value::String(there) if there != here && !(there.is_empty() && self.is_global()) => {
                    return Err(Problem::immutable(&format!("metadata.{field}")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn is_global(&self) -> bool {
        self.route.scope == Scope::Global
    }
}

/// The message of a route's kind.
pub(crate) fn kind_message(route: &Route) -> MessageDescriptor {
    POOL.get_message_by_name(route.kind.message).expect("kinds come from the same descriptors")
}

/// The problem of a precondition that was given in the header `If-Match`.
pub(crate) fn precondition(problem: Problem, in_header: bool) -> Problem {
    if in_header && problem.title == Some(Title::TransactionError) {
        Problem { status: StatusCode::PRECONDITION_FAILED, ..problem }
    } else {
        problem
    }
}
