//! The registry's part of the door for fuzz targets: label selectors and page tokens.

use std::collections::BTreeMap;
use std::fmt;

use krake_proto::envelope::ListRequest;

use super::page::{self, PageToken};
use super::selector;
use crate::store::{Key, Revision};

/// A label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(selector::Selector);

impl Selector {
    /// Maximum length of a selector, in bytes.
    pub const MAX_BYTES: usize = selector::MAX_SELECTOR_BYTES;

    /// Reads one; `None` if the text is none.
    pub fn read(text: &str) -> Option<Self> {
        selector::Selector::read(text).ok().map(Selector)
    }

    /// Whether labels satisfy it.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.matches(labels)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The token of the page after the key `last`, of a list that `user` began.
pub fn page_token(request: &ListRequest, user: &str, revision: i64, last: &[u8]) -> String {
    PageToken::new(page::filter(request), user, Revision(revision), &Key::from(last.to_vec())).write()
}

/// The revision and the last key in the token of a request; `None` for a first page.
///
/// # Errors
/// When the token is not one of this list and user.
pub fn read_page_token(request: &ListRequest, user: &str) -> Result<Option<(i64, Vec<u8>)>, String> {
    let token = PageToken::read(&request.page_token, &page::filter(request), user)
        .map_err(|error| error.to_string())?;
    Ok(token.map(|token| (token.revision.0, token.after.as_bytes().to_vec())))
}
