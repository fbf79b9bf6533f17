//! Faults of single verbs and kinds.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// The kind of a rule that is for the documents which list kinds, for the version and for the health.
const DISCOVERY: &str = "discovery";

/// One fault, and the requests that get it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Verbs that get it; every verb if empty.
    #[serde(default)]
    pub verbs: Vec<RuleVerb>,
    /// Kinds that get it, by the plural in their paths (`deployments`), with or without their group
    /// (`deployments.apps`), subresources included. `discovery` stands for the documents that list kinds, for the
    /// version and for the health. Every request if empty.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// What happens to these requests.
    pub fault: Fault,
    /// Number of following requests that get it; counts down. Absent: until the faults are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

/// A verb of the Kubernetes API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleVerb {
    /// Reads one object, or a document of discovery.
    Get,
    /// Reads a collection.
    List,
    /// Opens a watch. Watches that are open already go on.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH of any type, server-side apply included.
    Patch,
    /// Server-side apply alone.
    Apply,
    /// DELETE of an object or a collection.
    Delete,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// It is not carried out, and answered with this code and the Status that an API server gives with it.
    Code(Refusal),
    /// It is not answered. When the faults are replaced it is judged by the new ones.
    Hang,
    /// It is carried out, and the connection breaks in the middle of the answer.
    Cut,
    /// It is carried out, and the answer comes slowly.
    Slow {
        /// Bytes of the answer's body in a second.
        bytes_per_second: NonZeroU32,
    },
    /// It is carried out, and answered with one long JSON object. The simulator sends it piece by piece: it takes no
    /// memory here.
    Huge {
        /// Length of the body.
        bytes: u64,
    },
    /// It is carried out, and the answer is no JSON.
    BadJson,
}

/// Codes with which an API server refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub enum Refusal {
    /// 401
    Unauthorized,
    /// 403, as of an account without the right.
    Forbidden,
    /// 404
    NotFound,
    /// 409: modified meanwhile; of a create, a quota that was modified meanwhile.
    Conflict,
    /// 422, with a field that is not accepted.
    Invalid,
    /// 429, with [`super::Faults::retry_after_seconds`].
    TooManyRequests,
    /// 500
    Internal,
    /// 503
    Unavailable,
}

const CODES: [(u16, Refusal); 8] = [
    (401, Refusal::Unauthorized),
    (403, Refusal::Forbidden),
    (404, Refusal::NotFound),
    (409, Refusal::Conflict),
    (422, Refusal::Invalid),
    (429, Refusal::TooManyRequests),
    (500, Refusal::Internal),
    (503, Refusal::Unavailable),
];

impl TryFrom<u16> for Refusal {
    type Error = String;

    fn try_from(code: u16) -> Result<Self, String> {
        let known = CODES.iter().find(|(known, _)| *known == code);
        known.map(|(_, refusal)| *refusal).ok_or_else(|| {
            let codes: Vec<String> = CODES.iter().map(|(code, _)| code.to_string()).collect();
            format!("{code} is none of the codes {}", codes.join(", "))
        })
    }
}

impl From<Refusal> for u16 {
    fn from(refusal: Refusal) -> Self {
        CODES.iter().find(|(_, known)| *known == refusal).map_or(500, |(code, _)| *code)
    }
}

/// A request as rules see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) verb: RuleVerb,
    /// Group and plural of the kind; `None` for discovery, the version and the health.
    pub(crate) kind: Option<(&'a str, &'a str)>,
}

impl RuleVerb {
    pub(crate) fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }

    fn covers(self, verb: Self) -> bool {
        self == verb || self == Self::Patch && verb == Self::Apply
    }
}

impl Rule {
    /// Whether the request gets the fault; counts it.
    pub(super) fn meets(&mut self, asked: &Asked<'_>) -> bool {
        let verb = self.verbs.is_empty() || self.verbs.iter().any(|verb| verb.covers(asked.verb));
        let kind = self.kinds.is_empty() || self.kinds.iter().any(|kind| is_of(kind, asked.kind));
        if !verb || !kind || self.times == Some(0) {
            return false;
        }
        self.times = self.times.map(|times| times - 1);
        true
    }
}

fn is_of(wanted: &str, kind: Option<(&str, &str)>) -> bool {
    let Some((group, plural)) = kind else { return wanted == DISCOVERY };
    match wanted.split_once('.') {
        Some((name, rest)) => name == plural && rest == group,
        None => wanted == plural,
    }
}
