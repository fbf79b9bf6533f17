//! YAML in and out. Documents of manifests are read as kubectl reads them: `yes`, `on` and `n` are booleans as in YAML 1.1, an
//! integer that begins with a zero is an octal one, such as the mode of a file, and a float without a fraction is an integer.
//! But every key stands once, and what would be rounded is refused. Settings and kubeconfigs are YAML 1.2, where only `true`
//! and `false` are booleans: a user may be called `y`.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_saphyr::budget::BudgetBreach;

/// Floats from here on may stand for an integer of more than 64 bits, which the YAML reader rounds.
const FIRST_INEXACT: f64 = 9_223_372_036_854_775_808.0;

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

/// Maximum number of documents in one text, and of nodes in all of them. The largest manifest has fewer.
const MAX_DOCUMENTS: usize = 100_000;
const MAX_NODES: usize = 2_000_000;

/// `strict_booleans`: only `true` and `false` are booleans.
fn options(strict_booleans: bool) -> serde_saphyr::Options {
    serde_saphyr::options! {
        strict_booleans: strict_booleans,
        legacy_octal_numbers: true,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_documents: MAX_DOCUMENTS,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
        },
    }
}

/// All documents of a manifest but the empty ones.
pub(crate) fn documents(text: &str) -> Result<Vec<Document>, YamlError> {
    let mut documents = parsed(text, false)?;
    documents.iter_mut().for_each(|document| write_integers(&mut document.value));
    Ok(documents)
}

/// All documents of a text but the empty ones, as they stand there.
fn parsed(text: &str, strict_booleans: bool) -> Result<Vec<Document>, YamlError> {
    let documents: Vec<serde_saphyr::Spanned<Value>> =
        serde_saphyr::from_multiple_with_options(text, options(strict_booleans)).map_err(error)?;
    // Looked for in the whole text once, and only then in each document.
    if let Some(line) = large_integer(text)
        && documents.iter().any(|document| is_rounded(&document.value))
    {
        let problem = "an integer of more than 64 bits would be rounded; write it in quotes".to_owned();
        return Err(YamlError { line: Some(line), problem });
    }
    let documents = documents.into_iter().filter(|document| !document.value.is_null());
    Ok(documents.map(|document| Document { line: document.defined.line(), value: document.value }).collect())
}

/// Writes floats that are integers as such, in the digits that kubectl writes: API servers take no `1.0` for an integer.
fn write_integers(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().filter(|float| float.fract() == 0.0);
            // In its shortest digits, without an exponent.
            let integer = float.and_then(|float| float.to_string().parse::<i64>().ok());
            integer.into_iter().for_each(|integer| *number = integer.into());
        }
        Value::Array(items) => items.iter_mut().for_each(write_integers),
        Value::Object(members) => members.values_mut().for_each(write_integers),
        _ => {}
    }
}

/// Whether a value may be, or hold, an integer that was rounded.
fn is_rounded(value: &Value) -> bool {
    match value {
        Value::Number(number) => {
            number.is_f64() && number.as_f64().is_some_and(|n| n.fract() == 0.0 && n.abs() >= FIRST_INEXACT)
        }
        Value::Array(items) => items.iter().any(is_rounded),
        Value::Object(members) => members.values().any(is_rounded),
        _ => false,
    }
}

/// The first line with a decimal integer of more than 64 bits, counted from 1. A float has a point or an exponent.
fn large_integer(text: &str) -> Option<u64> {
    let is_large = |word: &str| {
        let word = word.replace('_', "");
        let digits = word.trim_start_matches(['-', '+']);
        let is_integer = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_integer && word.parse::<u64>().is_err() && word.parse::<i64>().is_err()
    };
    let has_large =
        |line: &str| line.split(|c: char| c.is_whitespace() || ",:[]{}#".contains(c)).any(is_large);
    (1..).zip(text.lines()).find(|(_, line)| has_large(line)).map(|(number, _)| number)
}

/// The only document of a text, as a type. Empty documents beside it do not count.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    let failed = match serde_saphyr::from_str_with_options(text, options(true)) {
        Ok(value) => return Ok(value),
        Err(failed) => error(failed),
    };
    match parsed(text, true).as_deref() {
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
    // Folding long lines would be correct, but a URL in pieces is hard to read.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    let mut text = serde_saphyr::to_string_with_options(value, options).map_err(|error| error.to_string())?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

fn error(error: serde_saphyr::Error) -> YamlError {
    let location = error.location().filter(|location| location.line() > 0);
    let error = error.without_snippet();
    let text = match error {
        serde_saphyr::Error::Budget { breach, .. } => exceeded(breach),
        error => error.to_string(),
    };
    let line = location.map(|location| location.line());
    // The text ends with the place, which goes before it here.
    if let Some((_, problem)) = IN_OUR_WORDS.iter().find(|(theirs, _)| text.contains(theirs)) {
        return YamlError { line, problem: (*problem).to_owned() };
    }
    let problem = match text.rfind(" at line ").or_else(|| text.find("line ")) {
        Some(end) if line.is_some() && end > 0 => text[..end].trim_end_matches([',', ':', ' ']).to_owned(),
        _ => text,
    };
    YamlError { line, problem }
}

/// What the reader says in words for programmers, by a part of it.
const IN_OUR_WORDS: [(&str, &str); 5] = [
    ("DuplicateKeyPolicy", "a key stands twice in a mapping"),
    ("weak recursion", "an alias refers to what it is in"),
    ("budget breached", "too large, or too many aliases; split the file, or write out what they stand for"),
    ("configured policy", "a number that is not finite; write it in quotes"),
    ("use Option<", "a value is missing"),
];

/// What a text has too much of.
fn exceeded(breach: &BudgetBreach) -> String {
    match breach {
        BudgetBreach::Documents { .. } => format!("more than {MAX_DOCUMENTS} documents; split the file"),
        BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. } => {
            format!("more than {MAX_NODES} values; split the file")
        }
        BudgetBreach::Depth { .. } => "nested too deeply".to_owned(),
        BudgetBreach::Aliases { .. } | BudgetBreach::AliasAnchorRatio { .. } => {
            "too many aliases; write out what they stand for".to_owned()
        }
        _ => "too large; split the file".to_owned(),
    }
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
            (5, &json!({"b": [false, true, true, 15, 18446744073709551615_u64, 1]}))
        );
    }

    #[test]
    fn a_mode_is_octal() {
        let modes = documents("[0400, 0755, 00, 0, -017, 0o17, 0.5, '0400', 0800]").unwrap();
        assert_eq!(modes[0].value, json!([256, 493, 0, 0, -15, 15, 0.5, "0400", 800]));
    }

    #[test]
    fn a_user_may_be_called_like_a_boolean_of_old() {
        for text in ["user: y\npassword: on\n", "---\n---\nuser: y\npassword: on\n"] {
            assert_eq!(read::<Value>(text).unwrap(), json!({"user": "y", "password": "on"}));
        }
    }

    /// What kubectl makes of scalars: the answers of sigs.k8s.io/yaml 1.6.0, the library that it reads manifests with.
    #[test]
    fn scalars_are_read_as_kubectl_reads_them() {
        let mut different = Vec::new();
        for line in include_str!("yaml/kubectl_scalars.tsv").lines() {
            let (text, theirs) = line.split_once('\t').unwrap();
            let ours = documents(&format!("a: {text}\n")).map(|documents| documents[0].value.to_string());
            let is_same = match ours {
                Ok(ours) => ours == theirs,
                Err(_) => theirs == "refused",
            };
            if !is_same {
                different.push(text);
            }
        }
        // Rare spellings, and numbers that kubectl rounds or reads as strings.
        let spelled = ["-0.0", "yEs", "tRue", "1_000.5", "1__0", "1_"];
        let large = ["18446744073709551616", "12345678901234567890123", "1e400", "1e19", "1e20"];
        let (mut known, mut found) = ([&spelled[..], &large].concat(), different);
        known.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, known);
    }

    #[test]
    fn a_text_of_very_many_documents_is_read_and_what_is_too_much_is_said() {
        assert_eq!(documents(&"a: 1\n---\n".repeat(3000)).unwrap().len(), 3000);
        let problem = |text: &str| documents(text).err().unwrap().problem;
        assert_eq!(
            problem(&"a\n---\n".repeat(MAX_DOCUMENTS + 1)),
            "more than 100000 documents; split the file"
        );
        assert_eq!(problem(&format!("{}{}", "[".repeat(70), "]".repeat(70))), "nested too deeply");
    }

    #[test]
    fn integers_are_exact_or_refused() {
        for large in [
            "18446744073709551616",
            "-9223372036854775809",
            "+99999999999999999999",
            "[1, {a: 1000000000000000000000}]",
        ] {
            let error = documents(&format!("---\na: 1e30\n---\nb: {large}\n")).err().unwrap();
            assert!(error.problem.contains("rounded"), "{large}: {error}");
        }
        let text = "a: [18446744073709551615, -9223372036854775808, 1e30, 1.5, '99999999999999999999']\n";
        let exact = json!({"a": [u64::MAX, i64::MIN, 1e30, 1.5, "99999999999999999999"]});
        assert_eq!(documents(text).unwrap()[0].value, exact);
        assert_eq!(documents("a: 1e30\nb: 100000000000000000000.0\n").unwrap().len(), 1, "floats");
    }

    #[test]
    fn errors_tell_the_line_and_nothing_of_the_text() {
        let error = documents("token: s3cret\nuser: {a: [s3cret\n").err().unwrap();
        assert!(error.line.is_some(), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        let twice = documents("a: 1\na: 2\n").err().unwrap();
        assert_eq!(twice.to_string(), "line 2: a key stands twice in a mapping");
        let recursive = documents("a: &a\n  b: *a\n").err().unwrap().to_string();
        assert!(!recursive.contains("weak"), "{recursive}");
        assert_eq!(documents("a: 1\nb: 1e400\n").err().unwrap().line, Some(2));
        assert_eq!(documents("a: 1\n---\n\nb: 99999999999999999999\n").err().unwrap().line, Some(4));
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let long = format!("https://{}/{}", "a b".repeat(40), "c".repeat(100));
        for value in [
            json!({"a": "no", "y": "y", "z": "On", "b": "1", "c": "null", "d": "2023-01-01", "e": "multi\nline\n\n", "f": long}),
            json!([1, 1.0, -0.5, 1e300, 18446744073709551615_u64, true, null, "", " x ", "- y", "a: b", "#"]),
            json!({"key with: colon": {}, "": [], "on": [[], {}], "~": {"x": [{"y": "\u{0}\t\u{7f}"}]}}),
            json!([]),
        ] {
            let text = write(&value).unwrap();
            assert_eq!(read::<Value>(&text).unwrap(), value, "{text}");
        }
    }
}
