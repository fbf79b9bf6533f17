//! What is asked of the API server when a manifest is written, and what it found in it. Pure.
//!
//! A POST drops fields that the server does not know, and takes lists that name an item twice; a server-side apply of the
//! same object refuses both. So the first write of a manifest is validated, and is preceded by an apply that changes nothing:
//! what would keep later applies from succeeding is found before the object exists.

pub(crate) mod undeclared;

use std::fmt::Write as _;

use crate::error::ClusterError;
use crate::object::ObjectKey;
use crate::object::redaction::SecretValues;

/// Maximum number of warnings that a status shows.
const SHOWN: usize = 8;
/// Maximum number of warnings that are kept of one apply.
const KEPT: usize = 64;
/// The first release of Kubernetes that heeds `fieldValidation` unless it is told otherwise: (major, minor).
const KNOWN_SINCE: (u32, u32) = (1, 25);

/// What becomes of fields that a cluster's API server does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// The object is refused.
    #[default]
    Strict,
    /// They are left out, and the status names them.
    Warn,
}

impl FieldValidation {
    /// The value of the query parameter `fieldValidation`.
    pub(crate) fn parameter(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Warn => "Warn",
        }
    }
}

/// Whether a manifest is written for the first time, or was accepted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// The cluster has not accepted this manifest yet.
    First(FieldValidation),
    /// The cluster accepted it, and what somebody changed is put back.
    Repair(FieldValidation),
}

impl Writes {
    /// Whether the cluster has not accepted the manifest yet.
    pub(crate) fn is_first(self) -> bool {
        matches!(self, Self::First(_))
    }

    /// What becomes of unknown fields.
    pub(crate) fn validation(self) -> FieldValidation {
        match self {
            Self::First(validation) | Self::Repair(validation) => validation,
        }
    }

    /// What requests ask for: repairs only ever for warnings, since what was accepted once must not be refused later.
    pub(crate) fn parameter(self) -> &'static str {
        match self {
            Self::First(validation) => validation.parameter(),
            Self::Repair(_) => FieldValidation::Warn.parameter(),
        }
    }
}

/// What the API server said about objects that it accepted. Holds no value of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    warnings: Vec<(ObjectKey, String)>,
    unchecked: Vec<(ObjectKey, String)>,
    more: usize,
}

impl Findings {
    /// Takes warnings about an object.
    pub(crate) fn warn(&mut self, key: &ObjectKey, mut texts: Vec<String>, secrets: &SecretValues) {
        // A server names unknown fields in another order each time, which is nothing new to tell.
        texts.sort_unstable();
        for text in texts {
            let warning = (key.clone(), secrets.cut_out_of(&text));
            if self.warnings.contains(&warning) {
                continue;
            }
            match self.warnings.len() < KEPT {
                true => self.warnings.push(warning),
                false => self.more += 1,
            }
        }
    }

    /// Notes that an object could not be tried before it was written; why.
    pub(crate) fn not_tried(&mut self, key: &ObjectKey, why: String) {
        if self.unchecked.len() < KEPT {
            self.unchecked.push((key.clone(), why));
        }
    }

    /// What to tell of a first write. `version`: the server's version, if it is known.
    pub fn verdict(&self, version: Option<&str>) -> Verdict {
        let warnings = self.warnings.iter().map(|(key, text)| format!("{key}: {text}"));
        let warnings = listed(warnings.collect(), self.more);
        let mut unchecked: Vec<String> = Vec::new();
        if !knows_validation(version) {
            let version = version.unwrap_or("of a version that it does not tell");
            unchecked.push(format!(
                "not validated: Kubernetes {version} does not know fieldValidation, which 1.25 and later have"
            ));
        }
        unchecked
            .extend(self.unchecked.iter().map(|(key, why)| format!("{key} was not tried before: {why}")));
        match (unchecked.is_empty(), warnings.is_empty()) {
            (true, true) => Verdict::Clean,
            (true, false) => Verdict::Warned(warnings),
            (false, true) => Verdict::NotValidated(listed(unchecked, 0)),
            (false, false) => Verdict::NotValidated(format!("{}; {warnings}", listed(unchecked, 0))),
        }
    }
}

/// What the first write of a manifest showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All was validated, and the server warned of nothing.
    Clean,
    /// The server warned; of what.
    Warned(String),
    /// Not all could be validated; why, and what the server warned of.
    NotValidated(String),
}

/// The first of several texts, and how many more there are.
fn listed(texts: Vec<String>, more: usize) -> String {
    let more = more + texts.len().saturating_sub(SHOWN);
    let mut list = texts.into_iter().take(SHOWN).collect::<Vec<_>>().join("; ");
    if more > 0 {
        let _ = write!(list, "; and {more} more");
    }
    list
}

/// Whether a server of this version heeds `fieldValidation`: an older one ignores the parameter without a word.
fn knows_validation(version: Option<&str>) -> bool {
    let Some(version) = version else { return false };
    let mut numbers = version.trim_start_matches('v').split(['.', '-', '+']);
    let mut number = || numbers.next()?.parse::<u32>().ok();
    number().zip(number()).is_some_and(|version| version >= KNOWN_SINCE)
}

/// Whether an apply that changes nothing failed only because something on the cluster does not support that.
pub(crate) fn cannot_be_tried(error: &ClusterError) -> bool {
    error.status().is_some_and(|status| {
        let message = status.message.to_lowercase();
        message.contains("dry run") || message.contains("dryrun") || message.contains("dry-run")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn key(name: &str) -> ObjectKey {
        ObjectKey { api_version: "v1".into(), kind: "ConfigMap".into(), namespace: None, name: name.into() }
    }

    #[rstest]
    #[case(Some("v1.35.8"), true)]
    #[case(Some("v1.25.0-gke.100"), true)]
    #[case(Some("v2.0.0"), true)]
    #[case(Some("v1.24.17+k3s1"), false)]
    #[case(Some("v1.20.2"), false)]
    #[case(Some("strange"), false)]
    #[case(None, false)]
    fn versions_that_validate(#[case] version: Option<&str>, #[case] expected: bool) {
        assert_eq!(knows_validation(version), expected);
    }

    #[test]
    fn warnings_are_listed_once_by_object_and_bounded() {
        let mut findings = Findings::default();
        assert_eq!(findings.verdict(Some("v1.35.8")), Verdict::Clean);
        let secrets = SecretValues::default();
        // A server tells them in any order.
        findings.warn(&key("a"), vec!["older".into(), "old".into()], &secrets);
        findings.warn(&key("a"), vec!["old".into(), "older".into()], &secrets);
        let expected = "ConfigMap a: old; ConfigMap a: older";
        assert_eq!(findings.verdict(Some("v1.35.8")), Verdict::Warned(expected.into()));
        for index in 0..100 {
            findings.warn(&key("b"), vec![index.to_string()], &secrets);
        }
        let Verdict::Warned(text) = findings.verdict(Some("v1.35.8")) else { panic!("no warning") };
        assert!(text.ends_with("ConfigMap b: 5; and 94 more"), "{text}");
    }

    #[test]
    fn what_was_not_validated_is_never_silent() {
        let mut findings = Findings::default();
        let Verdict::NotValidated(why) = findings.verdict(Some("v1.20.2")) else { panic!("silent") };
        assert!(why.starts_with("not validated: Kubernetes v1.20.2"), "{why}");
        findings.not_tried(&key("a"), "no dry run".into());
        findings.warn(&key("b"), vec!["old".into()], &SecretValues::default());
        let expected = "ConfigMap a was not tried before: no dry run; ConfigMap b: old";
        assert_eq!(findings.verdict(Some("v1.35.8")), Verdict::NotValidated(expected.into()));
    }
}
