//! Who calls. Every handler gets the answer; nothing is served to nobody.

use http::HeaderMap;
use krake_proto::error::{self, ErrorReason, Violation};
use tonic::{Code, Status};

use crate::registry::{Call, Fence};

/// Name of callers that nobody knows, as upstream's.
pub(super) const ANONYMOUS: &str = "system:anonymous";

/// Metadata that says as which leader a controller writes.
const FENCE: &str = "krake-fence";

/// How callers are told apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authentication {
    /// Every request comes from this user: for a single user's own machine.
    pub static_user: Option<String>,
    /// Requests that nobody vouches for are served, as [`ANONYMOUS`].
    pub allow_anonymous: bool,
}

impl Authentication {
    /// Whether callers are served who show nothing.
    pub fn takes_anybody(&self) -> bool {
        self.static_user.is_some() || self.allow_anonymous
    }

    /// The caller of a request, in its trace.
    pub fn call(&self, headers: &HeaderMap) -> Result<Call, Status> {
        let user = match &self.static_user {
            Some(user) => user.clone(),
            None if self.allow_anonymous => ANONYMOUS.to_owned(),
            None => {
                let text = "nobody is known by these credentials, and anonymous callers are not allowed";
                return Err(error::status(Code::Unauthenticated, ErrorReason::Unauthenticated, text));
            }
        };
        let trace_parent = headers.get("traceparent").and_then(|value| value.to_str().ok());
        let fence = headers.get(FENCE).map(|value| value.to_str().ok().and_then(Fence::parse).ok_or(()));
        let fence = fence.transpose().map_err(|()| {
            let text = "is not `<election>=<revision>`, with what the campaign answered";
            error::invalid(&[Violation::new(FENCE, text)])
        })?;
        Ok(Call {
            user,
            trace_parent: trace_parent.filter(|text| is_trace_parent(text)).unwrap_or_default().to_owned(),
            fence,
        })
    }
}

/// Whether `text` is a W3C traceparent, whose hexadecimal digits are lower case and whose ids are not zero; anything
/// else is not stored.
fn is_trace_parent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let id = |part: &str, length| hex(part, length) && part.bytes().any(|byte| byte != b'0');
    matches!(parts.as_slice(), [version, trace, span, flags]
        if hex(version, 2) && *version != "ff" && id(trace, 32) && id(span, 16) && hex(flags, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_served_unless_allowed() {
        let refused = Authentication::default().call(&HeaderMap::new()).unwrap_err();
        assert_eq!(error::reason(&refused), Some(ErrorReason::Unauthenticated));
        let anonymous = Authentication { allow_anonymous: true, ..Default::default() };
        assert_eq!(anonymous.call(&HeaderMap::new()).unwrap().user, ANONYMOUS);
        let fixed = Authentication { static_user: Some("alice".into()), allow_anonymous: true };
        assert_eq!(fixed.call(&HeaderMap::new()).unwrap().user, "alice");
    }

    #[test]
    fn only_a_real_traceparent_is_kept() {
        let mut headers = HeaderMap::new();
        let authentication = Authentication { allow_anonymous: true, ..Default::default() };
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        headers.insert("traceparent", parent.parse().unwrap());
        assert_eq!(authentication.call(&headers).unwrap().trace_parent, parent);
        let nobody = format!("00-{}-b7ad6b7169203331-01", "0".repeat(32));
        for wrong in ["junk", &parent.to_uppercase(), &parent.replacen("00", "ff", 1), &nobody] {
            headers.insert("traceparent", wrong.parse().unwrap());
            assert_eq!(authentication.call(&headers).unwrap().trace_parent, "", "{wrong}");
        }
    }

    #[test]
    fn a_fence_that_cannot_be_read_lets_nothing_pass() {
        let authentication = Authentication { allow_anonymous: true, ..Default::default() };
        let mut headers = HeaderMap::new();
        assert_eq!(authentication.call(&headers).unwrap().fence, None);
        headers.insert(FENCE, "scheduler=7".parse().unwrap());
        assert_eq!(authentication.call(&headers).unwrap().fence, Fence::parse("scheduler=7"));
        headers.insert(FENCE, "scheduler".parse().unwrap());
        let refused = authentication.call(&headers).unwrap_err();
        assert_eq!(error::violations(&refused)[0].field, FENCE);
    }
}
