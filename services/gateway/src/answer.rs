//! Answers: encoded messages as JSON, with revision and epoch as entity tag.

use axum::body::HttpBody;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use krake_proto::json::{self, Options};
use krake_proto::krake::meta::v1::Metadata;
use krake_runtime::serve::{AnswerBudget, AnswerMemory, SMALL_ANSWER_BYTES};
use prost::Message;
use prost_reflect::MessageDescriptor;

use crate::call::Reply;
use crate::headers::single;
use crate::problem::Problem;
use crate::version::Version;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// The part that all resources share.
#[derive(Clone, PartialEq, prost::Message)]
struct Head {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
}

/// The metadata of an encoded resource.
pub(crate) fn metadata(object: &[u8]) -> Result<Metadata, Problem> {
    Ok(Head::decode(object).map_err(garbled)?.metadata.unwrap_or_default())
}

/// A JSON answer.
pub(crate) fn json(text: impl Into<axum::body::Body>) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, JSON)], text.into()).into_response()
}

/// An answer whose body is known, within the room of the caller's address. Lists care for their own. It does not wait for
/// room: the answer is in memory already.
///
/// # Errors
/// When there is none. `writes`: the request has taken effect.
pub(crate) fn within(budget: &AnswerBudget, mut answer: Response, writes: bool) -> Result<Response, Problem> {
    let size = answer.body().size_hint().exact().and_then(|size| usize::try_from(size).ok());
    let Some(size) = size.filter(|size| *size >= SMALL_ANSWER_BYTES) else { return Ok(answer) };
    if answer.extensions().get::<AnswerMemory>().is_some() {
        return Ok(answer);
    }
    let memory = if writes {
        let done = |no_room| {
            format!("The request has taken effect, but there is no room for its answer: {no_room}.")
        };
        budget
            .hold_written(size)
            .map_err(|no_room| Problem::new(StatusCode::TOO_MANY_REQUESTS, done(no_room)))?
    } else {
        budget.reserve_now(size).map_err(|no_room| Problem::no_room(&no_room))?
    };
    answer.extensions_mut().insert(memory);
    Ok(answer)
}

/// Appends the JSON form of an encoded message.
///
/// # Errors
/// Names the object, if the message is one: another version stored what this one cannot show. Logged here.
pub(crate) fn write(
    descriptor: &MessageDescriptor,
    encoded: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Problem> {
    json::write(descriptor, encoded, Options::default(), out).map_err(|error| {
        let Metadata { name, namespace, .. } = metadata(encoded).unwrap_or_default();
        let kind = descriptor.name();
        tracing::error!(kind, name, namespace, %error, "an object cannot be shown");
        let text = format!("The stored {kind} '{name}' in namespace '{namespace}' cannot be shown: {error}");
        Problem::new(StatusCode::BAD_GATEWAY, text)
    })
}

/// An encoded message as the answer.
pub(crate) fn message(descriptor: &MessageDescriptor, encoded: &[u8]) -> Result<Response, Problem> {
    let mut text = Vec::with_capacity(encoded.len() * 2);
    write(descriptor, encoded, &mut text)?;
    Ok(json(text))
}

/// An encoded resource as the answer.
pub(crate) fn resource(descriptor: &MessageDescriptor, reply: &Reply) -> Result<Response, Problem> {
    let mut response = message(descriptor, &reply.message)?;
    let revision = metadata(&reply.message)?.resource_version;
    let version = Version { revision, epoch: reply.epoch.clone() };
    // The epoch came in a header.
    if let Ok(tag) = HeaderValue::try_from(format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// The answer to a deletion. It has happened, so an object that cannot be shown is not an error: its metadata is shown.
pub(crate) fn deleted(descriptor: &MessageDescriptor, reply: &Reply) -> Result<Response, Problem> {
    resource(descriptor, reply).or_else(|_| {
        let head = Head { metadata: Some(metadata(&reply.message)?) };
        resource(descriptor, &Reply { message: head.encode_to_vec().into(), epoch: reply.epoch.clone() })
    })
}

/// The version that `If-Match` demands: an entity tag, or a revision alone, which a restore may give to another state
/// of the object. `None` without the header, or if it accepts any version.
///
/// # Errors
/// 422 for several versions, 412 for what is no version.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<Version>, Problem> {
    let Some(value) = single(headers, "If-Match")? else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    // A list is the same as several headers. No tag of Krake's has a comma.
    if text.contains(',') {
        return Err(Problem::header("If-Match", "Must name one version."));
    }
    if text == "*" {
        return Ok(None);
    }
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let detail = "If-Match: give the ETag of the object that was read, or its metadata.resource_version";
    // No object has revision 0, which would mean any to the state service.
    let version = Version::parse(inner).filter(|version| version.revision > 0);
    version.map(Some).ok_or_else(|| Problem::new(StatusCode::PRECONDITION_FAILED, detail))
}

/// The problem of a message from the state service that cannot be decoded.
pub(crate) fn garbled(error: impl std::fmt::Display) -> Problem {
    tracing::error!(%error, "the state service sent a message that cannot be read");
    Problem::new(StatusCode::BAD_GATEWAY, "The state service sent a message that cannot be read.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preconditions_are_tags_or_revisions() {
        let read = |text: &str| {
            let headers: HeaderMap = [(header::IF_MATCH, text.parse().unwrap())].into_iter().collect();
            if_match(&headers).map_err(|problem| problem.status.as_u16())
        };
        let version = |epoch: &str| Ok(Some(Version { revision: 7, epoch: epoch.to_owned() }));
        assert_eq!(if_match(&HeaderMap::new()).unwrap(), None);
        assert_eq!((read("\"7\""), read("7"), read("*")), (version(""), version(""), Ok(None)));
        assert_eq!(read("\"7/e-1\""), version("e-1"));
        for wrong in ["\"x\"", "W/\"7\"", "-7", "0", "\"0/e-1\"", "", "\"7/e f\""] {
            assert_eq!(read(wrong), Err(412), "{wrong:?}");
        }
        assert_eq!(read("\"7\", \"8\""), Err(422), "a list");
    }
}
