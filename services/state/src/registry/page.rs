//! Page tokens: where a list goes on, bound to the request and the user that they were made for.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use krake_proto::envelope::ListRequest;
use krake_proto::krake::meta::v1::ListObjectsRequest;
use prost::Message;

use super::Error;
use crate::store::{Key, Revision};

/// A decoded token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PageToken {
    pub(super) revision: Revision,
    pub(super) after: Key,
    /// What it is a list of: the request without its page fields.
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
    /// Of a page of the list that `filter` stands for, whose last object is `last`.
    pub(super) fn new(filter: Vec<u8>, user: &str, revision: Revision, last: &Key) -> Self {
        PageToken { revision, after: last.clone(), filter, user: user.to_owned() }
    }

    /// The token of a request for a page of the list that `filter` stands for; `None` for a first page.
    pub(super) fn read(token: &str, filter: &[u8], user: &str) -> Result<Option<Self>, Error> {
        if token.is_empty() {
            return Ok(None);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| Error::PageToken)?;
        let wire = Wire::decode(bytes.as_slice()).map_err(|_| Error::PageToken)?;
        if wire.filter != filter || wire.user != user || wire.revision < 1 {
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

/// What a list of one kind is a list of.
pub(super) fn filter(request: &ListRequest) -> Vec<u8> {
    ListRequest { page_token: String::new(), page_size: 0, consistency: 0, ..request.clone() }.encode_to_vec()
}

/// What a list of objects of several kinds is a list of.
pub(super) fn filter_objects(request: &ListObjectsRequest) -> Vec<u8> {
    let kinds = ListObjectsRequest { kinds: request.kinds.clone(), ..Default::default() };
    [b"objects ", kinds.encode_to_vec().as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_own_request_only() {
        let mut request = ListRequest { namespace: "a".into(), ..Default::default() };
        assert_eq!(PageToken::read("", &filter(&request), "alice").unwrap(), None);
        let token = PageToken::new(filter(&request), "alice", Revision(7), &"/krake/x".into());
        request.page_token = token.write();
        request.page_size = 3;
        let text = request.page_token.clone();
        assert_eq!(PageToken::read(&text, &filter(&request), "alice").unwrap(), Some(token));
        assert!(matches!(PageToken::read(&text, &filter(&request), "bob"), Err(Error::PageToken)));
        request.namespace = "b".into();
        assert!(matches!(PageToken::read(&text, &filter(&request), "alice"), Err(Error::PageToken)));
        let objects = filter_objects(&ListObjectsRequest::default());
        assert!(matches!(PageToken::read(&text, &objects, "alice"), Err(Error::PageToken)));
        assert!(matches!(PageToken::read("§", &filter(&request), "alice"), Err(Error::PageToken)));
    }
}
