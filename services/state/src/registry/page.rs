//! Page tokens: where a list goes on, bound to the request and the user that they were made for.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use krake_proto::envelope::ListRequest;
use prost::Message;

use super::Error;
use crate::store::{Key, Revision};

/// A decoded token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PageToken {
    pub(super) revision: Revision,
    pub(super) after: Key,
    /// The request without its page fields.
    filter: Vec<u8>,
    /// Name of the user who began the list.
    user: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(int64, tag = "1")]
    revision: i64,
    #[prost(bytes = "vec", tag = "2")]
    after: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    filter: Vec<u8>,
    #[prost(string, tag = "4")]
    user: String,
}

impl PageToken {
    pub(super) fn new(request: &ListRequest, user: &str, revision: Revision, last: &Key) -> Self {
        PageToken { revision, after: last.clone(), filter: filter(request), user: user.to_owned() }
    }

    /// The request's token; `None` for a first page.
    pub(super) fn read(request: &ListRequest, user: &str) -> Result<Option<Self>, Error> {
        if request.page_token.is_empty() {
            return Ok(None);
        }
        let bytes = URL_SAFE_NO_PAD.decode(&request.page_token).map_err(|_| Error::PageToken)?;
        let wire = Wire::decode(bytes.as_slice()).map_err(|_| Error::PageToken)?;
        if wire.filter != filter(request) || wire.user != user || wire.revision < 1 {
            return Err(Error::PageToken);
        }
        let token = PageToken {
            revision: Revision(wire.revision),
            after: Key::from(wire.after),
            filter: wire.filter,
            user: wire.user,
        };
        Ok(Some(token))
    }

    pub(super) fn write(&self) -> String {
        let wire = Wire {
            revision: self.revision.0,
            after: self.after.as_bytes().to_vec(),
            filter: self.filter.clone(),
            user: self.user.clone(),
        };
        URL_SAFE_NO_PAD.encode(wire.encode_to_vec())
    }
}

fn filter(request: &ListRequest) -> Vec<u8> {
    ListRequest { page_token: String::new(), page_size: 0, consistency: 0, ..request.clone() }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_own_request_only() {
        let mut request = ListRequest { namespace: "a".into(), ..Default::default() };
        assert_eq!(PageToken::read(&request, "alice").unwrap(), None);
        let token = PageToken::new(&request, "alice", Revision(7), &"/krake/x".into());
        request.page_token = token.write();
        request.page_size = 3;
        assert_eq!(PageToken::read(&request, "alice").unwrap(), Some(token));
        assert!(matches!(PageToken::read(&request, "bob"), Err(Error::PageToken)));
        request.namespace = "b".into();
        assert!(matches!(PageToken::read(&request, "alice"), Err(Error::PageToken)));
        request.page_token = "§".into();
        assert!(matches!(PageToken::read(&request, "alice"), Err(Error::PageToken)));
    }
}
