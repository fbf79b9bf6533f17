//! Errors that tonic makes while it reads a request, as errors of Krake: with a reason, and with the code that says whose
//! fault it is.

use krake_proto::error::{self, ErrorReason};
use tonic::{Code, Status};

/// What is answered in place of `status` by a service that reads requests of at most `max_request` bytes. `None` if
/// Krake made it, or if the caller or its connection is gone.
pub(super) fn explained(status: &Status, max_request: usize) -> Option<Status> {
    if error::reason(status).is_some() {
        return None;
    }
    let explained = match status.code() {
        // Of a message that is too large as it comes, and of one that is too large once it is decompressed.
        Code::OutOfRange | Code::ResourceExhausted => {
            let text = format!("the request is too large; at most {max_request} bytes are allowed");
            error::status(Code::ResourceExhausted, ErrorReason::TooLarge, text)
        }
        // Krake's own faults have a reason, so this is a request that cannot be read: a wrong flag, no message or half of
        // one, or bytes that are not the message of the method.
        Code::Internal => {
            let text = format!("the request cannot be read: {}", status.message());
            error::status(Code::InvalidArgument, ErrorReason::InvalidField, text)
        }
        Code::Unimplemented => {
            let text = format!("{}; send requests uncompressed", status.message());
            error::status(Code::Unimplemented, ErrorReason::NotBuilt, text)
        }
        _ => return None,
    };
    Some(explained)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_krake_made_is_left_alone_and_the_rest_gets_code_and_reason() {
        let own = error::status(Code::Internal, ErrorReason::Internal, "a defect");
        assert!(explained(&own, 7).is_none());
        for (made, code, reason) in [
            (Status::out_of_range("too long"), Code::ResourceExhausted, ErrorReason::TooLarge),
            (Status::resource_exhausted("too long"), Code::ResourceExhausted, ErrorReason::TooLarge),
            (Status::internal("no flag"), Code::InvalidArgument, ErrorReason::InvalidField),
            (Status::unimplemented("no such encoding"), Code::Unimplemented, ErrorReason::NotBuilt),
        ] {
            let answered = explained(&made, 4096).unwrap();
            assert_eq!((answered.code(), error::reason(&answered)), (code, Some(reason)));
        }
        assert!(explained(&Status::out_of_range(""), 4096).unwrap().message().contains("4096"));
        assert!(explained(&Status::cancelled("gone"), 7).is_none());
    }
}
