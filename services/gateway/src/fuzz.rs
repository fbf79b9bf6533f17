//! Entry point of the fuzz targets in `tests/fuzz`: from a request's method, path, query and body to the message that
//! the state service gets. Not part of the gateway's interface.
//!
//! Always compiled, since a cargo feature would make a second build of the workspace, and code that plain checks skip.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use krake_proto::json;
use krake_proto::rest::{Body, Route, Scope, Verb};
use prost::Message;
use prost_reflect::MessageDescriptor;
use serde_json::Value;

use crate::object;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::{matcher, target};

/// The request as the gateway reads it.
#[derive(Debug)]
pub struct Outcome {
    /// The route.
    pub route: &'static Route,
    /// The decoded parameters of the path, by name.
    pub parameters: Vec<(&'static str, String)>,
    /// Message that the body holds: the kind's, or the RPC's request.
    pub descriptor: MessageDescriptor,
    /// The message, and the paths that an update writes; or the text of the refusal. `None` for routes without a body.
    pub message: Option<Result<(Bytes, Vec<String>), String>>,
}

/// Reads a request; `None` if there is no such route. `stored` is the object that an update completes lists from.
pub fn request(
    method: &Method,
    path: &str,
    query: Option<&str>,
    body: &[u8],
    stored: Option<Bytes>,
) -> Option<Outcome> {
    let matched = matcher::find(path)?;
    let route = matched.route(method)?;
    // Any values are read or refused.
    if let Ok(parameters) = Parameters::read(query) {
        let _ = (parameters.heartbeat(), parameters.revision("resource_version"), parameters.is_on("force"));
    }
    let descriptor = object::body_message(route);
    let message = (route.body != Body::None).then(|| {
        let parsed = json::parse(&descriptor, body).map_err(|error| error.to_string())?;
        let namespace = (route.scope == Scope::Namespaced).then(|| matched.parameter("namespace").to_owned());
        message(route, &descriptor, namespace, parsed, stored).map_err(|problem| problem.detail)
    });
    Some(Outcome { route, parameters: matched.parameters, descriptor, message })
}

fn message(
    route: &Route,
    descriptor: &MessageDescriptor,
    namespace: Option<String>,
    body: Value,
    stored: Option<Bytes>,
) -> Result<(Bytes, Vec<String>), Problem> {
    match route.verb {
        Verb::Create => Ok((object::new_object(descriptor, namespace, body)?.1, Vec::new())),
        Verb::Update | Verb::UpdateStatus => {
            let mut body = Value::Object(object::object(body)?);
            json::strip_output(&target::kind_message(route), &mut body);
            let stored = stored.filter(|_| json::is_incomplete(descriptor, &body));
            let (message, mask) = object::changes(descriptor, Arc::new(body), stored, false)?;
            Ok((message, mask.map(|mask| mask.paths).unwrap_or_default()))
        }
        _ => {
            let body = Value::Object(object::object(body)?);
            Ok((object::read(descriptor, &body)?.encode_to_vec().into(), Vec::new()))
        }
    }
}
