//! Warnings of API servers: the headers `Warning: 299 - "text"` (RFC 7234) of their answers, bounded in number and length.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use http::header::WARNING;

/// Maximum number of warnings that are kept of one request: a server sends one for each field that it does not know.
const MAX_WARNINGS: usize = 16;
/// Maximum length of a warning, in bytes.
const MAX_TEXT: usize = 512;

/// Collects the warnings of the requests that carry it as an extension.
#[derive(Clone, Debug, Default)]
pub(crate) struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    /// Takes the warnings of an answer.
    pub(crate) fn take_from(&self, headers: &HeaderMap) {
        for header in headers.get_all(WARNING) {
            texts(&String::from_utf8_lossy(header.as_bytes())).into_iter().for_each(|text| self.add(text));
        }
    }

    /// Adds a warning of Krake's own.
    pub(crate) fn add(&self, text: String) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MAX_WARNINGS && !kept.contains(&text) {
            kept.push(text);
        }
    }

    /// What was collected, each text once.
    pub(crate) fn collected(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The texts of a header: `299 - "text"`, perhaps with a date in quotes behind it, and several joined by commas.
fn texts(header: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut rest = header.trim_start();
    while let Some((before, after)) = rest.split_once('"') {
        let (text, after) = unquoted(after);
        // A date is quoted too; what stands before a warning's text is its code and its agent.
        if before.trim_start_matches([',', ' ']).starts_with("299 ") && !text.trim().is_empty() {
            texts.push(bounded(text.trim()));
        }
        rest = after;
    }
    texts
}

/// A quoted text up to its closing quote, and what comes after that.
fn unquoted(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, &quoted[at + 1..]),
            '\\' => text.extend(chars.next().map(|(_, escaped)| escaped)),
            c if c.is_control() => text.push(' '),
            c => text.push(c),
        }
    }
    (text, "")
}

fn bounded(text: &str) -> String {
    match text.len() <= MAX_TEXT {
        true => text.to_owned(),
        false => format!("{}…", &text[..text.floor_char_boundary(MAX_TEXT)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::kubernetes(r#"299 - "unknown field \"spec.replcias\"""#, &["unknown field \"spec.replcias\""])]
    #[case::dated(r#"299 - "old" "Wed, 21 Oct 2015 07:28:00 GMT""#, &["old"])]
    #[case::joined(r#"299 - "a, b", 299 host:80 "c""#, &["a, b", "c"])]
    #[case::of_a_proxy(r#"110 proxy "stale", 299 - "kept""#, &["kept"])]
    #[case::without_an_end(r#"299 - "cut \"#, &["cut"])]
    #[case::control("299 - \"a\tb\"", &["a b"])]
    #[case::empty(r#"299 - """#, &[])]
    #[case::nonsense("299", &[])]
    fn texts_of_headers(#[case] header: &str, #[case] expected: &[&str]) {
        assert_eq!(texts(header), expected);
    }

    #[test]
    fn number_and_length_are_bounded_and_each_text_is_kept_once() {
        let warnings = Warnings::default();
        let mut headers = HeaderMap::new();
        for index in 0..100 {
            let text = format!("299 - \"{} {}\"", index / 2, "ü".repeat(1000));
            headers.append(WARNING, http::HeaderValue::from_bytes(text.as_bytes()).unwrap());
        }
        warnings.take_from(&headers);
        let kept = warnings.collected();
        assert_eq!(kept.len(), MAX_WARNINGS);
        assert!(kept.iter().all(|text| text.len() <= MAX_TEXT + '…'.len_utf8()));
        assert!(kept[15].starts_with("15 "), "{}", kept[15]);
    }
}
