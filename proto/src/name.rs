//! The rules for names, namespaces, label keys and label values.
//!
//! A *word character* is an ASCII letter, a digit or `_`. Every name starts and ends with one; what may stand
//! in between, and how long it may be, differs by rule.

use thiserror::Error;

/// The longest name of a resource or namespace, in characters.
const RESOURCE_MAX: usize = 255;
/// The longest prefix of a label key, in characters.
const PREFIX_MAX: usize = 253;
/// The longest label value or name part of a label key, in characters.
const LABEL_MAX: usize = 63;

/// What is wrong with a name. The text completes a sentence such as "metadata.name: …".
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// There is nothing, where at least one character is needed.
    #[error("must not be empty")]
    Empty,
    /// More characters than the rule allows.
    #[error("has {length} characters, at most {max} are allowed")]
    TooLong {
        /// Characters found.
        length: usize,
        /// Characters allowed.
        max: usize,
    },
    /// The first or last character is not a word character.
    #[error("must start and end with a letter (a-z, A-Z), a digit or \"_\", not with {found:?}")]
    Edge {
        /// The character found there.
        found: char,
    },
    /// A character that the rule does not allow anywhere.
    #[error("{found:?} (its character {index}) is not allowed: use letters (a-z, A-Z), digits and {allowed}")]
    Character {
        /// The character found.
        found: char,
        /// Which character of the name it is, counted from 1.
        index: usize,
        /// The characters allowed beside letters and digits.
        allowed: &'static str,
    },
    /// A label key with more than one `/`.
    #[error("has more than one \"/\": a label key is a name, or a prefix, \"/\" and a name")]
    Slashes,
    /// The part before the `/` of a label key.
    #[error("the prefix before \"/\" {0}")]
    Prefix(#[source] Box<NameError>),
    /// The part after the `/` of a label key.
    #[error("the name after \"/\" {0}")]
    AfterPrefix(#[source] Box<NameError>),
}

/// Checks the name of a resource or of a namespace: 1–255 characters, inside also `-`, `_`, `.` and `:`.
///
/// # Errors
/// The first violation.
pub fn resource_name(name: &str) -> Result<(), NameError> {
    check(name, RESOURCE_MAX, "-_.:", "\"-\", \"_\", \".\", \":\"")
}

/// Checks a label key: a name of 1–63 characters, inside also `-`, `_` and `.`; before it perhaps a prefix of
/// 1–253 such characters and a `/`.
///
/// # Errors
/// The first violation.
pub fn label_key(key: &str) -> Result<(), NameError> {
    match key.split_once('/') {
        None => label_value(key),
        Some((_, name)) if name.contains('/') => Err(NameError::Slashes),
        Some((prefix, name)) => {
            check(prefix, PREFIX_MAX, "-_.", LABEL_ALLOWED)
                .map_err(|error| NameError::Prefix(Box::new(error)))?;
            label_value(name).map_err(|error| NameError::AfterPrefix(Box::new(error)))
        }
    }
}

/// Checks a label value: 1–63 characters, inside also `-`, `_` and `.`.
///
/// # Errors
/// The first violation.
pub fn label_value(value: &str) -> Result<(), NameError> {
    check(value, LABEL_MAX, "-_.", LABEL_ALLOWED)
}

const LABEL_ALLOWED: &str = "\"-\", \"_\", \".\"";

fn check(text: &str, max: usize, inside: &str, allowed: &'static str) -> Result<(), NameError> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (Some(first), Some(last)) = (text.chars().next(), text.chars().next_back()) else {
        return Err(NameError::Empty);
    };
    for (index, found) in text.chars().enumerate() {
        if !is_word(found) && !inside.contains(found) {
            return Err(NameError::Character { found, index: index + 1, allowed });
        }
    }
    if let Some(found) = [first, last].into_iter().find(|c| !is_word(*c)) {
        return Err(NameError::Edge { found });
    }
    // Every character is ASCII by now, so bytes are characters.
    if text.len() > max {
        return Err(NameError::TooLong { length: text.len(), max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_names_by_the_rule() {
        for good in ["a", "_", "A9", "a.b", "a-b:c_d", "system:controllers", &"x".repeat(255)] {
            assert_eq!(resource_name(good), Ok(()), "{good}");
        }
        for bad in ["", "-a", "a-", ".a", "a:", "a b", "a/b", "ä", "a\n", "a\tb", &"x".repeat(256)] {
            assert!(resource_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn label_keys_by_the_rule() {
        let longest = format!("{}/{}", "p".repeat(253), "n".repeat(63));
        for good in ["a", "a.b/c", "krake.cloud/installation", "_/_", longest.as_str()] {
            assert_eq!(label_key(good), Ok(()), "{good}");
        }
        let long_prefix = format!("{}/n", "p".repeat(254));
        let long_name = format!("p/{}", "n".repeat(64));
        for bad in
            ["", "/", "a/", "/a", "a/b/c", "a:b", "-a/b", "a/b-", "a b", long_prefix.as_str(), &long_name]
        {
            assert!(label_key(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn label_values_by_the_rule() {
        for good in ["DE", "0", "a.b-c_d", &"v".repeat(63)] {
            assert_eq!(label_value(good), Ok(()), "{good}");
        }
        for bad in ["", "a/b", "a:b", "-1", "5.", "ÖSTERREICH", &"v".repeat(64)] {
            assert!(label_value(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let text = |result: Result<(), NameError>| result.unwrap_err().to_string();
        assert_eq!(
            text(resource_name("my app")),
            "' ' (its character 3) is not allowed: use letters (a-z, A-Z), digits and \"-\", \"_\", \".\", \":\""
        );
        assert_eq!(text(label_value(&"v".repeat(64))), "has 64 characters, at most 63 are allowed");
        assert_eq!(
            text(label_key("a-/b")),
            "the prefix before \"/\" must start and end with a letter (a-z, A-Z), a digit or \"_\", not with '-'"
        );
        assert_eq!(text(label_key("a/")), "the name after \"/\" must not be empty");
    }
}
