//! Answers: encoded messages as JSON, with the revision as entity tag.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use krake_proto::json::{self, Options};
use krake_proto::krake::meta::v1::Metadata;
use prost::Message;
use prost_reflect::MessageDescriptor;

use crate::parameters::revision;
use crate::problem::Problem;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// What all resources begin with.
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
pub(crate) fn resource(descriptor: &MessageDescriptor, encoded: &Bytes) -> Result<Response, Problem> {
    let mut response = message(descriptor, encoded)?;
    let version = metadata(encoded)?.resource_version;
    let tag = HeaderValue::try_from(format!("\"{version}\"")).expect("digits in quotes are a header value");
    response.headers_mut().insert(header::ETAG, tag);
    Ok(response)
}

/// The answer to a deletion. It has happened, so an object that cannot be shown is no error: its metadata is shown.
pub(crate) fn deleted(descriptor: &MessageDescriptor, encoded: &Bytes) -> Result<Response, Problem> {
    resource(descriptor, encoded).or_else(|_| {
        let head = Head { metadata: Some(metadata(encoded)?) };
        resource(descriptor, &head.encode_to_vec().into())
    })
}

/// The revision of `If-Match`; none without one, or if any is right.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let detail = "If-Match: give the ETag of the object that was read, or its metadata.resource_version";
    revision(inner).map(Some).ok_or_else(|| Problem::new(StatusCode::PRECONDITION_FAILED, detail))
}

/// The state service sent what it should not.
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
        assert_eq!(if_match(&HeaderMap::new()).unwrap(), None);
        assert_eq!((read("\"7\""), read("7"), read("*")), (Ok(Some(7)), Ok(Some(7)), Ok(None)));
        for wrong in ["\"x\"", "W/\"7\"", "-7", "", "\"7\", \"8\""] {
            assert_eq!(read(wrong), Err(412), "{wrong:?}");
        }
    }
}
