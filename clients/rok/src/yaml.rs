//! YAML in and out: YAML 1.2, where `no` and `on` are strings and every key stands once.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// A document, and the line it begins at.
pub(crate) struct Document {
    pub(crate) value: Value,
    pub(crate) line: u64,
}

/// Where in a text it is no YAML, or not what was expected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct YamlError {
    /// Counted from 1, if known.
    pub(crate) line: Option<u64>,
    /// Without the place, and without an excerpt of the text: it may hold secrets.
    pub(crate) problem: String,
}

impl std::fmt::Display for YamlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { strict_booleans: true, with_snippet: false }
}

/// All documents of a text but the empty ones.
pub(crate) fn documents(text: &str) -> Result<Vec<Document>, YamlError> {
    let documents: Vec<serde_saphyr::Spanned<Value>> =
        serde_saphyr::from_multiple_with_options(text, options()).map_err(error)?;
    let documents = documents.into_iter().filter(|document| !document.value.is_null());
    Ok(documents.map(|document| Document { line: document.defined.line(), value: document.value }).collect())
}

/// The only document of a text, as a type. Empty documents beside it do not count.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    let failed = match serde_saphyr::from_str_with_options(text, options()) {
        Ok(value) => return Ok(value),
        Err(failed) => error(failed),
    };
    match documents(text).as_deref() {
        Ok(all @ [_, second, ..]) => {
            let problem =
                format!("the file holds {} documents, and the second begins here: give one", all.len());
            Err(YamlError { line: Some(second.line), problem })
        }
        // The empty documents were what was wrong.
        Ok([only]) => serde_json::from_value(only.value.clone()).map_err(|_| failed),
        _ => Err(failed),
    }
}

/// A value as YAML, ending with a line break.
pub(crate) fn write(value: &Value) -> Result<String, String> {
    // Folding long lines would be correct, but nobody wants to read a URL in pieces.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    let mut text = serde_saphyr::to_string_with_options(value, options).map_err(|error| error.to_string())?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

fn error(error: serde_saphyr::Error) -> YamlError {
    let location = error.location().filter(|location| location.line() > 0);
    let text = error.without_snippet().to_string();
    let line = location.map(|location| location.line());
    // The text ends with the place, which goes before it here.
    let problem = match text.rfind(" at line ").or_else(|| text.find("line ")) {
        Some(end) if line.is_some() && end > 0 => text[..end].trim_end_matches([',', ':', ' ']).to_owned(),
        _ => text,
    };
    YamlError { line, problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_know_their_line() {
        let text = "# first\na: 1\n---\n---\nb: [no, on, yes, 0o17, 18446744073709551615, 1.0]\n";
        let documents = documents(text).unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!((documents[0].line, &documents[0].value), (2, &json!({"a": 1})));
        assert_eq!(
            (documents[1].line, &documents[1].value),
            (5, &json!({"b": ["no", "on", "yes", 15, 18446744073709551615_u64, 1.0]}))
        );
    }

    #[test]
    fn errors_tell_the_line_and_nothing_of_the_text() {
        let error = documents("token: s3cret\nuser: {a: [s3cret\n").err().unwrap();
        assert!(error.line.is_some(), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        let twice = documents("a: 1\na: 2\n").err().unwrap();
        assert_eq!(twice.line, Some(2), "{twice}");
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let long = format!("https://{}/{}", "a b".repeat(40), "c".repeat(100));
        for value in [
            json!({"a": "no", "b": "1", "c": "null", "d": "2023-01-01", "e": "multi\nline\n\n", "f": long}),
            json!([1, 1.0, -0.5, 1e300, 18446744073709551615_u64, true, null, "", " x ", "- y", "a: b", "#"]),
            json!({"key with: colon": {}, "": [], "on": [[], {}], "~": {"x": [{"y": "\u{0}\t\u{7f}"}]}}),
            json!([]),
        ] {
            let text = write(&value).unwrap();
            assert_eq!(read::<Value>(&text).unwrap(), value, "{text}");
        }
    }
}
