//! The bodies of errors: only a Kubernetes `Status` is passed on.

use http::StatusCode;
use http_body_util::BodyExt;
use kube::core::Status;

use super::body::BoundedBody;

/// `Status.reason` of an error whose body was none of Kubernetes' own. Nothing that Kubernetes gives has this reason.
pub(crate) const NOT_KUBERNETES: &str = "NotKubernetes";

/// The body of an error with this code, as an encoded `Status`: the server's own, or one that says that there was
/// none.
pub(super) async fn read(code: StatusCode, body: BoundedBody) -> Vec<u8> {
    let bytes = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => bytes::Bytes::new(),
    };
    encode(&parse(code, &bytes))
}

/// The server's `Status`, with the code of the HTTP answer.
pub(crate) fn parse(code: StatusCode, body: &[u8]) -> Status {
    #[derive(serde::Deserialize)]
    struct Kind {
        kind: String,
    }
    let is_status = serde_json::from_slice::<Kind>(body).is_ok_and(|object| object.kind == "Status");
    match serde_json::from_slice::<Status>(body) {
        Ok(status) if is_status => Status { code: code.as_u16(), ..status },
        _ => {
            let text = format!("HTTP {} without a Kubernetes Status", code.as_u16());
            Status::failure(&text, NOT_KUBERNETES).with_code(code.as_u16())
        }
    }
}

fn encode(status: &Status) -> Vec<u8> {
    serde_json::to_vec(status).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn the_servers_status_is_kept_and_has_the_code_of_the_answer() {
        let body =
            br#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"why","reason":"Invalid",
            "details":{"causes":[{"reason":"FieldValueInvalid","message":"m","field":"spec"}]},"code":404}"#;
        let status = parse(StatusCode::UNPROCESSABLE_ENTITY, body);
        assert_eq!((status.message.as_str(), status.reason.as_str(), status.code), ("why", "Invalid", 422));
        assert_eq!(status.details.unwrap().causes[0].field, "spec");
    }

    #[rstest]
    #[case(b"s3cret of another server")]
    #[case(br#"{"message": "s3cret", "code": 500}"#)]
    #[case(br#"{"kind": "Secret", "message": "s3cret"}"#)]
    #[case(b"")]
    fn no_other_text_is_passed_on(#[case] body: &[u8]) {
        let status = parse(StatusCode::INTERNAL_SERVER_ERROR, body);
        assert_eq!((status.reason.as_str(), status.code), (NOT_KUBERNETES, 500));
        assert!(!status.message.contains("s3cret"));
    }
}
