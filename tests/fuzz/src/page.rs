//! Page tokens: only what was made for a list and a user is read for them.
//!
//! An input is a user, a namespace, a selector and a token, each on its line.

use krake_proto::envelope::ListRequest;
use krake_state::fuzz::{page_token, read_page_token};
use rand::Rng;
use rand::rngs::StdRng;

use crate::pick;

/// See the module.
pub fn target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.splitn(4, '\n');
    let mut line = || lines.next().unwrap_or_default().to_owned();
    let (user, namespace, label_selector) = (line(), line(), line());
    let mut request = ListRequest { namespace, label_selector, page_token: line(), ..Default::default() };
    if let Ok(Some((revision, last))) = read_page_token(&request, &user) {
        assert!(revision > 0);
        assert!(read_page_token(&request, &format!("{user}x")).is_err(), "another user's");
        request.page_token = page_token(&request, &user, revision, &last);
        assert_eq!(read_page_token(&request, &user), Ok(Some((revision, last))));
    }
    request.page_token = page_token(&request, &user, 7, data);
    assert_eq!(read_page_token(&request, &user), Ok(Some((7, data.to_vec()))));
    let other = ListRequest { namespace: format!("{}x", request.namespace), ..request.clone() };
    assert!(read_page_token(&other, &user).is_err(), "another list's");
    let other = ListRequest { page_size: 3, ..request.clone() };
    assert!(read_page_token(&other, &user).is_ok(), "the size of pages may change");
}

/// See [`crate::Target::case`].
pub fn case(random: &mut StdRng) -> Vec<u8> {
    let (user, namespace) = (*pick(random, &["alice", "", "bob"]), *pick(random, &["ns", "-", ""]));
    let label_selector = *pick(random, &["", "a=b", "\u{e4}"]);
    let (namespace, selector) = (namespace.to_owned(), label_selector.to_owned());
    let request = ListRequest { namespace, label_selector: selector, ..Default::default() };
    let revision = *pick(random, &[1, 7, i64::MAX, 0, -1]);
    let last = *pick(random, &["/krake/core/metrics/ns/a", "", "/krake/_elections/a", "\u{ff}\u{ff}"]);
    let mut token = page_token(&request, user, revision, last.as_bytes());
    if random.random_ratio(1, 10) {
        token.push('=');
    }
    format!("{user}\n{}\n{label_selector}\n{token}", request.namespace).into_bytes()
}
