//! How calls fail: gRPC status with `ErrorInfo` and field violations (AIP-193), made and read in one place.
//!
//! A gRPC status travels in HTTP/2 headers. A peer that receives more headers than it allows (16 KiB by default) closes
//! the whole connection, with every other call on it. So every status made here is bounded to 8 KiB on the wire,
//! whatever the request held.

use std::borrow::Cow;
use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

pub use crate::krake::meta::v1::ErrorReason;

/// `ErrorInfo.domain` of every error that Krake makes.
pub const DOMAIN: &str = "krake";

const PREFIX: &str = "ERROR_REASON_";

/// The most violations that one error lists; the rest is counted.
pub const MAX_VIOLATIONS: usize = 20;
/// The longest description of a violation, in bytes.
pub const MAX_DESCRIPTION: usize = 200;
/// The longest path of a field, in bytes. Paths hold map keys, which callers choose.
pub const MAX_FIELD: usize = 100;
/// The most bytes of all violations of an error: 20 of usual length fit.
const MAX_VIOLATIONS_BYTES: usize = 3840;
/// What a violation takes beside its texts: tags and lengths in two nested messages, at most.
const VIOLATION_OVERHEAD: usize = 12;
/// The longest message of a status, in bytes. It travels twice: percent-encoded (three times as long, at worst) and in
/// the details, in base64.
const MAX_MESSAGE: usize = 512;
/// The longest value in the metadata of an error, in bytes.
const MAX_METADATA: usize = 100;
/// The longest text of [`Violation::more`] with what separates it, in bytes.
const MAX_REMAINDER: usize = 40;

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Path of the field, from the resource, for example `spec.constraints.cluster.labels[0]`.
    pub field: String,
    /// What is wrong and what is allowed.
    pub description: String,
}

impl Violation {
    /// A violation of `field`.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Violation { field: field.into(), description: description.into() }
    }

    /// The last violation of a list that leaves out `count` others.
    fn more(count: usize) -> Self {
        Self::new("", format!("and {count} more"))
    }

    /// How many violations this one stands for; `None` if it is one itself.
    fn remainder(&self) -> Option<usize> {
        let count = self.description.strip_prefix("and ")?.strip_suffix(" more")?;
        count.parse().ok().filter(|_| self.field.is_empty())
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.field.is_empty() {
            return f.write_str(&self.description);
        }
        write!(f, "{}: {}", self.field, self.description)
    }
}

/// Collects the violations of one request. However many there are, it keeps at most [`MAX_VIOLATIONS`], with shortened
/// texts, and counts the rest; what is not kept is not even formatted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations {
    kept: Vec<Violation>,
    /// What `kept` takes in a status.
    bytes: usize,
    /// Violations that are counted only.
    more: usize,
}

impl Violations {
    /// Adds a violation of `field`.
    pub fn add(&mut self, field: impl std::fmt::Display, description: impl std::fmt::Display) {
        if self.is_full() {
            self.more = self.more.saturating_add(1);
        } else {
            self.push(Violation::new(field.to_string(), description.to_string()));
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.more == 0
    }

    /// The violations in the order in which they were added; after those that are kept, one that counts the rest:
    /// "and 7 more", of no field.
    pub fn into_vec(self) -> Vec<Violation> {
        let mut violations = self.kept;
        violations.extend((self.more > 0).then(|| Violation::more(self.more)));
        violations
    }

    /// Whether further violations are counted only: the first that does not fit ends the list.
    pub fn is_full(&self) -> bool {
        self.more > 0 || self.kept.len() >= MAX_VIOLATIONS
    }

    fn push(&mut self, violation: Violation) {
        if let Some(more) = violation.remainder() {
            self.more = self.more.saturating_add(more);
            return;
        }
        let field = shortened(&violation.field, MAX_FIELD).into_owned();
        let description = shortened(&violation.description, MAX_DESCRIPTION).into_owned();
        let bytes = self.bytes + field.len() + description.len() + VIOLATION_OVERHEAD;
        if self.is_full() || bytes > MAX_VIOLATIONS_BYTES {
            self.more = self.more.saturating_add(1);
            return;
        }
        self.bytes = bytes;
        self.kept.push(Violation { field, description });
    }
}

impl Extend<Violation> for Violations {
    fn extend<I: IntoIterator<Item = Violation>>(&mut self, violations: I) {
        for violation in violations {
            self.push(violation);
        }
    }
}

impl FromIterator<Violation> for Violations {
    fn from_iter<I: IntoIterator<Item = Violation>>(violations: I) -> Self {
        let mut collected = Self::default();
        collected.extend(violations);
        collected
    }
}

/// `text` in at most `limit` bytes (8 or more): what is too long loses its middle, since both ends tell most.
pub fn shortened(text: &str, limit: usize) -> Cow<'_, str> {
    const GAP: &str = " … ";
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    let kept = limit.saturating_sub(GAP.len());
    let head = text.floor_char_boundary(kept * 2 / 3);
    let tail = text.ceil_char_boundary(text.len() - (kept - kept * 2 / 3));
    Cow::Owned(format!("{}{GAP}{}", &text[..head], &text[tail..]))
}

/// An error with a reason.
pub fn status(code: Code, reason: ErrorReason, message: impl Into<String>) -> Status {
    status_with(code, reason, message, [])
}

/// An error with a reason and metadata for programs, for example the present `resource_version` of a conflict.
pub fn status_with<const N: usize>(
    code: Code,
    reason: ErrorReason,
    message: impl Into<String>,
    metadata: [(&str, String); N],
) -> Status {
    const { assert!(N <= 2, "more entries would not fit the bound on a status") };
    let metadata: HashMap<String, String> = metadata
        .into_iter()
        .map(|(key, value)| (key.to_owned(), shortened(&value, MAX_METADATA).into_owned()))
        .collect();
    let details = ErrorDetails::with_error_info(name(reason), DOMAIN, metadata);
    Status::with_error_details(code, shortened(&message.into(), MAX_MESSAGE), details)
}

/// `INVALID_ARGUMENT` with one or more field violations; the message repeats them for clients that show only that.
pub fn invalid(violations: &[Violation]) -> Status {
    refused(ErrorReason::InvalidField, violations)
}

/// `INVALID_ARGUMENT` with field violations and a reason of its own.
pub fn refused(reason: ErrorReason, violations: &[Violation]) -> Status {
    let violations = violations.iter().cloned().collect::<Violations>().into_vec();
    let mut details = ErrorDetails::with_error_info(name(reason), DOMAIN, HashMap::new());
    for violation in &violations {
        details.add_bad_request_violation(&violation.field, &violation.description);
    }
    Status::with_error_details(Code::InvalidArgument, joined(&violations), details)
}

/// The violations on one line, separated by semicolons; as many as fit into the message of a status.
pub fn joined(violations: &[Violation]) -> String {
    let mut text = String::new();
    for (index, violation) in violations.iter().enumerate() {
        let next = violation.to_string();
        let next = shortened(&next, MAX_MESSAGE - MAX_REMAINDER);
        if index > 0 && text.len() + next.len() > MAX_MESSAGE - MAX_REMAINDER {
            let rest = violations[index..].iter().map(|violation| violation.remainder().unwrap_or(1));
            return format!("{text}; {}", Violation::more(rest.sum()));
        }
        if index > 0 {
            text.push_str("; ");
        }
        text.push_str(&next);
    }
    text
}

/// The reason of an error that Krake made.
pub fn reason(status: &Status) -> Option<ErrorReason> {
    let info = status.get_details_error_info()?;
    if info.domain != DOMAIN {
        return None;
    }
    ErrorReason::from_str_name(&format!("{PREFIX}{}", info.reason))
}

/// One entry of an error's metadata, for example `resource_version`.
pub fn metadata(status: &Status, key: &str) -> Option<String> {
    status.get_details_error_info()?.metadata.remove(key)
}

/// The field violations of an error.
pub fn violations(status: &Status) -> Vec<Violation> {
    let details = status.get_details_bad_request();
    details
        .into_iter()
        .flat_map(|details| details.field_violations)
        .map(|violation| Violation { field: violation.field, description: violation.description })
        .collect()
}

fn name(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix(PREFIX).unwrap_or(name)
}

#[cfg(test)]
mod tests;
