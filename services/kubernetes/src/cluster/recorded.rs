//! For unit tests: what API servers of several releases answered, as it was recorded.
//!
//! Of each release the `kube-apiserver` alone was asked, over an empty etcd, with the options that the scenarios give it.
//! Releases do not have all answers: 1.20 does not validate fields, and policies are there from 1.30 on.

use serde::Deserialize;
use serde_json::Value;

/// What one release answered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recorded {
    /// `v1.35.8`
    pub(crate) version: String,
    /// Answers that are errors.
    pub(crate) errors: Vec<Refusal>,
    /// `GET /apis/apps/v1`.
    pub(crate) apps: Value,
    /// `GET /apis`.
    pub(crate) groups: Value,
}

/// An answer that is an error.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refusal {
    /// What was asked for.
    pub(crate) to: String,
    /// HTTP code.
    pub(crate) code: u16,
    /// A document or, as a JSON string, plain text.
    body: Value,
}

impl Refusal {
    /// The bytes of the body.
    pub(crate) fn body(&self) -> Vec<u8> {
        match &self.body {
            Value::String(text) => text.clone().into_bytes(),
            document => document.to_string().into_bytes(),
        }
    }
}

/// All releases.
pub(crate) fn releases() -> Vec<Recorded> {
    let texts = [
        include_str!("recorded/1.20.json"),
        include_str!("recorded/1.28.json"),
        include_str!("recorded/1.31.json"),
        include_str!("recorded/1.35.json"),
        include_str!("recorded/1.37.json"),
    ];
    texts.into_iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}
