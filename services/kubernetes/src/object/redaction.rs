//! Values of Secrets, cut out of what an API server says about the objects that hold them. Pure.
//!
//! Servers quote what they refuse: old ones a part of the request's body, webhooks whatever they like. Such messages reach
//! statuses and logs, which more people read than Secrets.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::object::prepare::Target;

/// What stands for a value, or for an excerpt of a body.
const WITHHELD: &str = "<withheld>";
/// Values of fewer bytes occur in ordinary words: they are cut out only where they stand alone.
const MIN_DISTINCT: usize = 4;
/// Lines of a value of at least this many bytes are looked for by themselves, as servers break values into lines.
const MIN_LINE: usize = 8;
/// What begins and ends an excerpt of a body in the messages of Kubernetes 1.22 and older.
const EXCERPT: (&str, &str) = ("...|", "|...");

/// The values of the Secrets among some objects, the longest first.
#[derive(Clone, Default)]
pub(crate) struct SecretValues {
    values: Vec<String>,
    /// Whether there are Secrets at all, whatever they hold.
    any: bool,
}

impl SecretValues {
    /// The values of the Secrets among `targets`, and of `more` Secrets, as they are sent and as they are meant.
    pub(crate) fn of(targets: &[Target], more: &[Value]) -> Self {
        let bodies = targets.iter().filter(|target| target.prepared.key.kind == "Secret");
        Self::of_bodies(bodies.map(|target| &target.prepared.body).chain(more))
    }

    pub(crate) fn of_bodies<'a>(bodies: impl Iterator<Item = &'a Value>) -> Self {
        let mut values = BTreeSet::new();
        let mut any = false;
        for body in bodies {
            any = true;
            let fields = ["data", "stringData"].into_iter().filter_map(|field| body.get(field)?.as_object());
            for value in fields.flat_map(|field| field.values()) {
                collect(value, &mut values);
            }
        }
        let mut values: Vec<String> = values.into_iter().filter(|value| !value.is_empty()).collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self { values, any }
    }

    /// The text without these values, and without excerpts of bodies, which may begin or end within a value.
    pub(crate) fn cut_out_of(&self, text: &str) -> String {
        if !self.any {
            return text.to_owned();
        }
        let mut text = without_excerpts(text);
        for value in &self.values {
            if value.len() >= MIN_DISTINCT {
                text = text.replace(value.as_str(), WITHHELD);
            } else {
                text = without_word(&text, value);
            }
        }
        text
    }
}

/// The forms in which a value may be quoted.
fn collect(value: &Value, values: &mut BTreeSet<String>) {
    let Some(text) = value.as_str() else {
        values.insert(value.to_string());
        return;
    };
    let decoded = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let encoded = STANDARD.encode(text);
    for form in [Some(text.to_owned()), decoded, Some(encoded)].into_iter().flatten() {
        // As JSON and Go's %q write it, without the quotes around it.
        let quoted = Value::from(form.as_str()).to_string();
        values.insert(quoted.trim_matches('"').to_owned());
        values.insert(form.trim().to_owned());
        let lines = form.lines().map(str::trim).filter(|line| line.len() >= MIN_LINE);
        values.extend(lines.map(str::to_owned));
        values.insert(form);
    }
}

fn without_excerpts(text: &str) -> String {
    let (begin, end) = EXCERPT;
    let mut rest = text;
    let mut out = String::with_capacity(text.len());
    while let Some((before, after)) = rest.split_once(begin) {
        out.push_str(before);
        out.push_str(WITHHELD);
        // An excerpt without an end reaches to the end of the text.
        rest = after.split_once(end).map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out
}

/// The text without a short value where it is no part of a word.
fn without_word(text: &str, word: &str) -> String {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (at, _) in text.match_indices(word) {
        let end = at + word.len();
        if at >= done && !is_part(text[..at].chars().next_back()) && !is_part(text[end..].chars().next()) {
            out.push_str(&text[done..at]);
            out.push_str(WITHHELD);
            done = end;
        }
    }
    out.push_str(&text[done..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn values(body: &Value) -> SecretValues {
        SecretValues::of_bodies([body].into_iter())
    }

    #[test]
    fn values_are_cut_out_in_every_form() {
        let secret = json!({"kind": "Secret", "data": {"password": "czNjcjN0LXBhc3N3b3Jk", "pin": 1234},
            "stringData": {"token": "two\nlines of text", "short": "no"}});
        let text = "Secret \"s\" is invalid: czNjcjN0LXBhc3N3b3Jk is s3cr3t-password; 1234; \"two\\nlines of text\"; \
            dHdvCmxpbmVzIG9mIHRleHQ=; lines of text; no: nothing";
        let shown = values(&secret).cut_out_of(text);
        for value in ["czNj", "s3cr3t", "1234", "two", "lines", "dHdv", " no:"] {
            assert!(!shown.contains(value), "{value} in {shown}");
        }
        assert!(shown.starts_with("Secret \"s\" is invalid: ") && shown.ends_with(": nothing"), "{shown}");
    }

    #[test]
    fn excerpts_of_bodies_are_withheld_whole() {
        // Kubernetes 1.20.2; the excerpt begins within the value.
        let text = "Secret in version \"v1\" cannot be handled as a Secret: v1.Secret.ObjectMeta: Data: decode base64: \
            illegal base64 data at input byte 4, error found in #10 byte of ...|N3b3Jk\",\"pin\":1234},\"kin|..., bigger \
            context ...|{\"apiVersion\":\"v1\",\"data\":{\"password\":\"czNjcjN0LXBhc3N3b3Jk\",\"pin\":1234},\"kind\":|...";
        let secret = json!({"data": {"password": "czNjcjN0LXBhc3N3b3Jk", "pin": 1234}});
        let shown = values(&secret).cut_out_of(text);
        assert!(shown.ends_with("in #10 byte of <withheld>, bigger context <withheld>"), "{shown}");
        let endless = values(&secret).cut_out_of("byte of ...|N3b3Jk");
        assert_eq!(endless, "byte of <withheld>");
    }

    #[test]
    fn without_secrets_nothing_is_changed() {
        let text = "byte of ...|{\"a\":1}|...";
        assert_eq!(SecretValues::of(&[], &[]).cut_out_of(text), text);
    }
}
