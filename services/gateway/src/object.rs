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
use crate::call::Reply;
use crate::parameters::Parameters;
use crate::problem::{Problem, Title};
use crate::target::{Target, kind_message, precondition};
use crate::version::Version;
use crate::work;

/// Maximum attempts of an update whose lists are completed from the stored object, each after a conflict with another
/// write. Conflicts are rare; a caller who meets four competes with a program that never pauses.
const UPDATE_ATTEMPTS: usize = 4;

/// The message that the body of a route holds.
pub(crate) fn body_message(route: &Route) -> MessageDescriptor {
    match route.verb {
        Verb::Create | Verb::Update | Verb::UpdateStatus => kind_message(route),
        _ => route.rpc.input(),
    }
}

/// `POST`: the answer is the stored object.
pub(crate) async fn create(target: &Target, body: Parsed) -> Result<Reply, Problem> {
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
    json::fill_rest_defaults(descriptor, &mut body);
    let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        // As upstream: the namespace in the path wins, so that what was read in one can be created in another.
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

/// `PUT`: writes the fields of the body; a field that a client leaves out, since it does not know it, keeps its value.
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
        // The history of the precondition: of the caller's, or of ours.
        let epoch = match (&if_match, &stored) {
            (Some(version), _) => version.epoch.clone(),
            (None, Some(stored)) if !has_precondition => stored.epoch.clone(),
            _ => String::new(),
        };
        let stored = stored.map(|stored| stored.message);
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
        match target.call_in(&request, &epoch).await {
            Ok(updated) => return answer::resource(&descriptor, &updated),
            // The precondition was the gateway's, not the caller's: read again.
            Err(problem)
                if is_conflict(&problem) && incomplete && !has_precondition && attempt < UPDATE_ATTEMPTS =>
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
    let epoch = epoch(if_match.as_ref());
    let updated = target.call_in(&request, epoch).await;
    let updated = updated.map_err(|problem| precondition(problem, if_match.is_some()))?;
    answer::resource(&descriptor, &updated)
}

/// `DELETE`: the answer is the object as it is then.
pub(crate) async fn delete(
    target: &Target,
    headers: &HeaderMap,
    parameters: &Parameters,
) -> Result<Reply, Problem> {
    let if_match = answer::if_match(headers)?;
    let request = DeleteRequest {
        namespace: target.namespace.clone(),
        name: target.name.clone(),
        resource_version: if_match.as_ref().map_or(0, |version| version.revision),
        cascade: parameters.is_on("cascade")?,
        force: parameters.is_on("force")?,
        uid: String::new(),
    };
    let deleted = target.call_in(&request, epoch(if_match.as_ref())).await;
    deleted.map_err(|problem| precondition(problem, if_match.is_some()))
}

/// Any other method: the body, if it has one, is the request.
pub(crate) async fn custom(target: &Target, body: Option<Parsed>) -> Result<Response, Problem> {
    let size = body.as_ref().map_or(0, Parsed::size);
    let mut body = body.map_or_else(|| Ok(Map::new()), |body| object(body.into_value()))?;
    for name in target.route.parameters() {
        let value = if name == "namespace" { &target.namespace } else { &target.name };
        check_same(name, value, &body)?;
        body.insert(name.to_owned(), value.as_str().into());
    }
    let input = target.route.rpc.input();
    let request = work::run(size, move || read(&input, &Value::Object(body))).await??;
    let answer = target.call(&request).await?;
    let output = target.route.rpc.output();
    if output == target.descriptor() {
        answer::resource(&output, &answer)
    } else {
        answer::message(&output, &answer.message)
    }
}

/// Refuses a member of a body that is in the path too and differs.
fn check_same(name: &str, in_path: &str, body: &Map<String, Value>) -> Result<(), Problem> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(in_body)) if in_body.is_empty() || in_body == in_path => Ok(()),
        Some(in_body) => {
            let text = format!("is {in_body}, the path says {in_path:?}");
            Err(Problem::invalid(vec![Violation::new(name, text)]))
        }
    }
}

/// The history that a precondition belongs to; empty if it is not known.
fn epoch(if_match: Option<&Version>) -> &str {
    if_match.map_or("", |version| &version.epoch)
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
) -> Result<(Value, Option<Version>), Problem> {
    let mut body = Value::Object(body);
    json::strip_output(descriptor, &mut body);
    target.check_identity(&body)?;
    let if_match = answer::if_match(headers)?;
    if let Some(version) = &if_match {
        set_revision(&mut body, version.revision);
    }
    Ok((body, if_match))
}

/// Whether the caller names a version. One that is malformed counts: the reader of the body refuses it.
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
    json::parse_written(descriptor, &text).map_err(answer::garbled)
}

fn is_conflict(problem: &Problem) -> bool {
    problem.title == Some(Title::TransactionError)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_rest_creates_warns_of_unknown_fields_unless_the_body_says_otherwise() {
        let descriptor = krake_proto::POOL.get_message_by_name("krake.kubernetes.v1.Application").unwrap();
        let created = |spec: Value| {
            let body = json!({"metadata": {"name": "a"}, "spec": spec});
            let (_, encoded) = new_object(&descriptor, Some("demo".into()), body).unwrap();
            shown(&descriptor, &encoded).unwrap()["spec"]["field_validation"].clone()
        };
        assert_eq!(created(json!({})), "WARN");
        assert_eq!(created(json!({"field_validation": null})), "WARN");
        assert_eq!(created(json!({"field_validation": "STRICT"})), "STRICT");
    }

    #[test]
    fn a_precondition_is_any_version_but_none_and_zero() {
        let given = |version: Value| has_precondition(&json!({"metadata": {"resource_version": version}}));
        assert!(!has_precondition(&json!({})) && !given(Value::Null) && !given(json!(0)));
        // A malformed version must not be replaced by that of the stored object: it is an error of the caller.
        assert!(given(json!(7)) && given(json!("7")) && given(json!(1.5)) && given(json!(u64::MAX)));
    }
}
