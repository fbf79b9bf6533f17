//! Create, read, update and delete, and the custom methods of a kind.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use krake_proto::envelope::{CreateRequest, DeleteRequest, GetRequest, UpdateRequest, UpdateStatusRequest};
use krake_proto::error::Violation;
use krake_proto::json::{self, Options, Unknown};
use krake_proto::krake::meta::v1::Consistency;
use krake_proto::rest::{Route, Scope, Verb};
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use prost_types::FieldMask;
use serde_json::{Map, Value};

use crate::answer;
use crate::body::Parsed;
use crate::parameters::Parameters;
use crate::problem::{Problem, Title};
use crate::target::{Target, kind_message, precondition};
use crate::work;

/// How often an update is tried whose lists had to be completed from what is stored, if that changes meanwhile.
const ATTEMPTS: usize = 4;

/// The message that the body of a route holds.
pub(crate) fn body_message(route: &Route) -> MessageDescriptor {
    match route.verb {
        Verb::Create | Verb::Update | Verb::UpdateStatus => kind_message(route),
        _ => route.rpc.input(),
    }
}

/// `POST`: the answer is the stored object.
pub(crate) async fn create(target: &Target, body: Parsed) -> Result<Bytes, Problem> {
    let descriptor = target.descriptor();
    let namespace = (target.route.scope == Scope::Namespaced).then(|| target.namespace.clone());
    let (name, object) = body.work(move |body| new_object(&descriptor, namespace, body)).await?;
    let request = CreateRequest {
        namespace: target.namespace.clone(),
        name: String::new(),
        object,
        ..CreateRequest::default()
    };
    let status = match target.caller.unary(&target.route.rpc, &request).await {
        Ok(created) => return Ok(created),
        Err(status) => status,
    };
    let mut subject = target.subject();
    subject.name = name;
    Err(Problem::of(&status, &subject))
}

/// The name and the encoded form of an object that is to be created in `namespace`.
pub(crate) fn new_object(
    descriptor: &MessageDescriptor,
    namespace: Option<String>,
    body: Value,
) -> Result<(String, Bytes), Problem> {
    let mut body = object(body)?;
    body.remove("status");
    let mut body = Value::Object(body);
    json::strip_output(descriptor, &mut body);
    let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        // As upstream has it: the path says which namespace, whatever the body says.
        metadata.remove("namespace");
        metadata.remove("resource_version");
        if let Some(namespace) = namespace {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
    }
    Ok((name, encoded(descriptor, &body)?))
}

/// `GET` of one object.
pub(crate) async fn get(target: &Target) -> Result<Response, Problem> {
    answer::resource(&target.descriptor(), &target.call(&get_request(target)).await?)
}

/// `PUT`: writes what the body holds; what a client leaves out because it does not know it keeps its value.
pub(crate) async fn update(target: &Target, headers: &HeaderMap, body: Parsed) -> Result<Response, Problem> {
    let descriptor = target.descriptor();
    let size = body.size();
    let mut body = object(body.into_value())?;
    body.remove("status");
    let (body, if_match) = writable(target, &descriptor, headers, body)?;
    let has_precondition = has_precondition(&body);
    let incomplete = json::is_incomplete(&descriptor, &body);
    let body = Arc::new(body);
    let mut attempt = 1;
    loop {
        let stored = match incomplete {
            true => Some(
                target.call_method(&format!("Get{}", target.route.kind.kind), &get_request(target)).await?,
            ),
            false => None,
        };
        let (message, body) = (descriptor.clone(), body.clone());
        let write = move || changes(&message, body, stored, has_precondition);
        let (object, update_mask) = work::run(size, write).await??;
        let request = UpdateRequest {
            namespace: target.namespace.clone(),
            name: target.name.clone(),
            object,
            update_mask,
            validate_only: false,
            reject_unchanged: true,
        };
        match target.call(&request).await {
            Ok(updated) => return answer::resource(&descriptor, &updated),
            // The precondition was ours, not the caller's: look again.
            Err(problem)
                if is_conflict(&problem) && incomplete && !has_precondition && attempt < ATTEMPTS =>
            {
                attempt += 1;
            }
            Err(problem) => return Err(precondition(problem, if_match.is_some())),
        }
    }
}

/// The encoded form of the body of an update, and which fields it writes. Lists that a client shortened are completed
/// from the stored object; then its revision is the precondition, unless the caller named one.
pub(crate) fn changes(
    descriptor: &MessageDescriptor,
    body: Arc<Value>,
    stored: Option<Bytes>,
    has_precondition: bool,
) -> Result<(Bytes, Option<FieldMask>), Problem> {
    let Some(stored) = stored else { return Ok((encoded(descriptor, &body)?, mask(descriptor, &body))) };
    let mut whole = Arc::unwrap_or_clone(body);
    json::complete(descriptor, &mut whole, &shown(descriptor, &stored)?);
    if !has_precondition {
        set_revision(&mut whole, answer::metadata(&stored)?.resource_version);
    }
    Ok((encoded(descriptor, &whole)?, mask(descriptor, &whole)))
}

/// `PUT …/status`: writes the status alone.
pub(crate) async fn update_status(
    target: &Target,
    headers: &HeaderMap,
    body: Parsed,
) -> Result<Response, Problem> {
    let descriptor = target.descriptor();
    let size = body.size();
    let mut body = object(body.into_value())?;
    body.remove("spec");
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| matches!(name.as_str(), "name" | "namespace" | "resource_version"));
    }
    let (mut body, if_match) = writable(target, &descriptor, headers, body)?;
    let message = descriptor.clone();
    let write = move || {
        let object = encoded(&message, &body)?;
        if let Value::Object(body) = &mut body {
            body.retain(|name, _| name == "status");
        }
        Ok((object, mask(&message, &body)))
    };
    let (object, update_mask) = work::run(size, write).await??;
    let request = UpdateStatusRequest {
        namespace: target.namespace.clone(),
        name: target.name.clone(),
        object,
        update_mask,
    };
    let updated = target.call(&request).await.map_err(|problem| precondition(problem, if_match.is_some()))?;
    answer::resource(&descriptor, &updated)
}

/// `DELETE`: the answer is the object as it is then.
pub(crate) async fn delete(
    target: &Target,
    headers: &HeaderMap,
    parameters: &Parameters,
) -> Result<Bytes, Problem> {
    let if_match = answer::if_match(headers)?;
    let request = DeleteRequest {
        namespace: target.namespace.clone(),
        name: target.name.clone(),
        resource_version: if_match.unwrap_or_default(),
        cascade: parameters.is_on("cascade"),
        force: parameters.is_on("force"),
        uid: String::new(),
    };
    target.call(&request).await.map_err(|problem| precondition(problem, if_match.is_some()))
}

/// Any other method: the body, if it has one, is the request.
pub(crate) async fn custom(target: &Target, body: Option<Parsed>) -> Result<Response, Problem> {
    let size = body.as_ref().map_or(0, Parsed::size);
    let mut body = body.map_or_else(|| Ok(Map::new()), |body| object(body.into_value()))?;
    for name in target.route.parameters() {
        let value = if name == "namespace" { &target.namespace } else { &target.name };
        body.insert(name.to_owned(), value.as_str().into());
    }
    let input = target.route.rpc.input();
    let request = work::run(size, move || read(&input, &Value::Object(body))).await??;
    let answer = target.call(&request).await?;
    let output = target.route.rpc.output();
    if output == target.descriptor() {
        answer::resource(&output, &answer)
    } else {
        answer::message(&output, &answer)
    }
}

fn get_request(target: &Target) -> GetRequest {
    GetRequest {
        namespace: target.namespace.clone(),
        name: target.name.clone(),
        consistency: Consistency::Unspecified.into(),
    }
}

pub(crate) fn object(body: Value) -> Result<Map<String, Value>, Problem> {
    match body {
        Value::Object(body) => Ok(body),
        _ => Err(Problem::invalid(vec![Violation::new("", "Invalid input type.")])),
    }
}

pub(crate) fn read(descriptor: &MessageDescriptor, body: &Value) -> Result<DynamicMessage, Problem> {
    json::read_parsed(descriptor, body, Unknown::Ignore).map_err(Problem::invalid)
}

fn encoded(descriptor: &MessageDescriptor, body: &Value) -> Result<Bytes, Problem> {
    Ok(read(descriptor, body)?.encode_to_vec().into())
}

fn mask(descriptor: &MessageDescriptor, body: &Value) -> Option<FieldMask> {
    let paths = json::mask(descriptor, body);
    (!paths.is_empty()).then_some(FieldMask { paths })
}

/// Strips read-only fields from the body of a `PUT` and applies `If-Match`; also returns that precondition.
fn writable(
    target: &Target,
    descriptor: &MessageDescriptor,
    headers: &HeaderMap,
    body: Map<String, Value>,
) -> Result<(Value, Option<i64>), Problem> {
    let mut body = Value::Object(body);
    json::strip_output(descriptor, &mut body);
    target.check_identity(&body)?;
    let if_match = answer::if_match(headers)?;
    if let Some(revision) = if_match {
        set_revision(&mut body, revision);
    }
    Ok((body, if_match))
}

/// Whether the caller names a version, or tries to: what is no version is for the reader of the body to refuse.
fn has_precondition(body: &Value) -> bool {
    let version = &body["metadata"]["resource_version"];
    !version.is_null() && version.as_i64() != Some(0)
}

fn set_revision(body: &mut Value, revision: i64) {
    let Value::Object(body) = body else { return };
    let metadata = body.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(metadata) = metadata {
        metadata.insert("resource_version".to_owned(), revision.into());
    }
}

/// The JSON form of a stored object, as bodies are parsed.
fn shown(descriptor: &MessageDescriptor, encoded: &[u8]) -> Result<Value, Problem> {
    let mut text = Vec::new();
    json::write(descriptor, encoded, Options::default(), &mut text).map_err(answer::garbled)?;
    json::parse(descriptor, &text).map_err(answer::garbled)
}

fn is_conflict(problem: &Problem) -> bool {
    problem.title == Some(Title::TransactionError)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_precondition_is_any_version_but_none_and_zero() {
        let given = |version: Value| has_precondition(&json!({"metadata": {"resource_version": version}}));
        assert!(!has_precondition(&json!({})) && !given(Value::Null) && !given(json!(0)));
        // What is no version must not be replaced by that of the stored object: it is an error of the caller's.
        assert!(given(json!(7)) && given(json!("7")) && given(json!(1.5)) && given(json!(u64::MAX)));
    }
}
