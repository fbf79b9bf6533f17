//! Elections: who may act as which controller, kept as leased keys in the store.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use krake_proto::error::Violation;
use krake_proto::krake::core::v1::{CampaignRequest, CampaignResponse};
use prost::Message as _;

use super::{Error, Registry};
use crate::object::key;
use crate::store::{self, Batch, Bid, Key, Revision, Standing, WatchError};

/// The longest ttl: how long nobody acts after a leader has died.
const MAX_TTL: Duration = Duration::from_secs(60);
/// The most parts of an election's name, and the most bytes of each.
const NAME_PARTS: usize = 4;
const NAME_PART: usize = 63;
/// The most bytes of a holder and of an address.
const MAX_TEXT: usize = 253;

/// The name of an election, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Election(String);

impl Election {
    /// Reads a name: parts between slashes, each of lower-case letters, digits and hyphens.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let part = |part: &str| {
            let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
            (1..=NAME_PART).contains(&part.len()) && part.bytes().all(allowed)
        };
        let parts = name.split('/').take(NAME_PARTS + 1);
        (parts.clone().count() <= NAME_PARTS && parts.into_iter().all(part))
            .then(|| Election(name.to_owned()))
    }

    /// The key whose creation is the leader's fence.
    pub(crate) fn key(&self) -> Key {
        key::election(&self.0)
    }
}

impl std::fmt::Display for Election {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a leader sends along with its writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    pub(crate) election: Election,
    pub(crate) revision: Revision,
}

impl Fence {
    /// Reads `<election>=<revision>`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (election, revision) = text.split_once('=')?;
        let revision = revision.parse().ok().filter(|revision| *revision > 0).map(Revision)?;
        Some(Fence { election: Election::parse(election)?, revision })
    }
}

/// One candidate of one election.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    bid: Bid,
}

impl Candidate {
    /// Reads the first request of a campaign.
    pub(crate) fn read(request: &CampaignRequest) -> Result<Self, Error> {
        let mut violations = Vec::new();
        let mut refuse = |field: &str, text: String| violations.push(Violation::new(field, text));
        let election = Election::parse(&request.election);
        if election.is_none() {
            let text = format!(
                "{:?} is no name of an election: write up to {NAME_PARTS} parts between slashes, each of 1 to \
                 {NAME_PART} lower-case letters, digits and hyphens",
                request.election.chars().take(MAX_TEXT).collect::<String>()
            );
            refuse("election", text);
        }
        if !(1..=MAX_TEXT).contains(&request.holder.len()) {
            refuse("holder", format!("has {} bytes; 1 to {MAX_TEXT} are allowed", request.holder.len()));
        }
        if request.address.len() > MAX_TEXT {
            refuse("address", format!("has {} bytes; at most {MAX_TEXT} are allowed", request.address.len()));
        }
        let ttl = request.ttl.and_then(|ttl| Duration::try_from(ttl).ok()).unwrap_or_default();
        if ttl < store::MIN_TTL || ttl > MAX_TTL || ttl.subsec_nanos() != 0 {
            refuse(
                "ttl",
                format!("is {ttl:?}; whole seconds from {:?} to {MAX_TTL:?} are allowed", store::MIN_TTL),
            );
        }
        match election {
            Some(election) if violations.is_empty() => {
                let holder = record(&request.holder, &request.address);
                Ok(Candidate { bid: Bid { key: election.key(), holder, ttl } })
            }
            _ => Err(Error::Invalid(violations)),
        }
    }

    /// How long it is one without a sign of life.
    pub(crate) fn ttl(&self) -> Duration {
        self.bid.ttl
    }

    /// What a standing means for this candidate, after it had sent the request `sequence`.
    pub(crate) fn answer(&self, standing: &Standing, sequence: i64) -> CampaignResponse {
        let leader = CampaignRequest::decode(standing.entry.value.clone()).unwrap_or_default();
        let fence = if standing.kept.is_some() { standing.entry.created.0 } else { 0 };
        let ttl = prost_types::Duration::try_from(standing.kept.unwrap_or(self.bid.ttl)).ok();
        CampaignResponse { leader: leader.holder, address: leader.address, fence, ttl, sequence }
    }
}

/// What the store keeps of a holder: a request with nothing but who it is. Two replicas must write the same bytes, and
/// so they do: there are only plain fields, which are encoded in order.
fn record(holder: &str, address: &str) -> Bytes {
    let who =
        CampaignRequest { holder: holder.to_owned(), address: address.to_owned(), ..Default::default() };
    who.encode_to_vec().into()
}

/// Waits for the place of another holder to become free.
pub(crate) struct Vacancy {
    key: Key,
    /// Since when the other holder has it.
    created: Revision,
    changes: BoxStream<'static, Result<Batch, WatchError>>,
}

impl Vacancy {
    /// Ends when somebody has written the key, or when that cannot be told any more: then bid again.
    pub(crate) async fn comes(&mut self) {
        while let Some(Ok(batch)) = self.changes.next().await {
            // The watch is by prefix.
            if batch.changes.iter().any(|change| change.key == self.key) {
                return;
            }
        }
    }
}

impl Registry {
    /// Bids for the place, or keeps it.
    pub(crate) async fn campaign(&self, candidate: &Candidate) -> Result<Standing, Error> {
        Ok(self.store.campaign(candidate.bid.clone()).await?)
    }

    /// What tells when to bid again: as `before`, while that waits for the same holder to go. Nothing for the holder, who
    /// goes on by itself.
    pub(crate) fn vacancy(
        &self,
        candidate: &Candidate,
        standing: &Standing,
        before: Option<Vacancy>,
    ) -> Option<Vacancy> {
        if standing.kept.is_some() {
            return None;
        }
        let (key, created) = (candidate.bid.key.clone(), standing.entry.created);
        before.filter(|vacancy| vacancy.created == created).or_else(|| {
            let changes = self.store.watch(&key, standing.revision);
            Some(Vacancy { key, created, changes })
        })
    }

    /// Gives the place up, if the candidate has it.
    pub(crate) async fn resign(&self, candidate: Candidate) -> Result<(), Error> {
        Ok(self.store.resign(candidate.bid.key, candidate.bid.holder).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(election: &str, holder: &str, seconds: i64) -> CampaignRequest {
        let ttl = Some(prost_types::Duration { seconds, nanos: 0 });
        CampaignRequest { election: election.into(), holder: holder.into(), ttl, ..Default::default() }
    }

    fn wrong(request: &CampaignRequest) -> Vec<String> {
        match Candidate::read(request) {
            Err(Error::Invalid(violations)) => violations.into_iter().map(|wrong| wrong.field).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_are_parts_between_slashes() {
        for name in ["scheduler", "kubernetes/0", "a/b/c/d", &"a".repeat(63)] {
            assert!(Election::parse(name).is_some(), "{name}");
        }
        for name in ["", "/", "a/", "/a", "a//b", "A", "a b", "a=b", "a/b/c/d/e", "ä", &"a".repeat(64)] {
            assert!(Election::parse(name).is_none(), "{name}");
        }
    }

    #[test]
    fn candidates_are_checked_whole() {
        assert!(Candidate::read(&request("scheduler", "me", 2)).is_ok());
        assert!(Candidate::read(&request("scheduler", "me", 60)).is_ok());
        assert_eq!(wrong(&request("Scheduler", "", 1)), ["election", "holder", "ttl"]);
        assert_eq!(wrong(&request("scheduler", &"x".repeat(254), 61)), ["holder", "ttl"]);
        assert_eq!(wrong(&CampaignRequest { ttl: None, ..request("scheduler", "me", 5) }), ["ttl"]);
        let negative = prost_types::Duration { seconds: -5, nanos: 0 };
        assert_eq!(wrong(&CampaignRequest { ttl: Some(negative), ..request("scheduler", "me", 5) }), ["ttl"]);
        assert_eq!(
            wrong(&CampaignRequest { address: "x".repeat(254), ..request("gc", "me", 5) }),
            ["address"]
        );
    }

    #[test]
    fn a_fence_names_its_election_and_a_revision() {
        let fence = Fence::parse("kubernetes/0=17").unwrap();
        assert_eq!((fence.election.to_string().as_str(), fence.revision), ("kubernetes/0", Revision(17)));
        for text in
            ["", "scheduler", "scheduler=", "scheduler=0", "scheduler=-1", "scheduler=x", "=17", "A=1"]
        {
            assert_eq!(Fence::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_the_same_holder_at_the_same_address_is_the_same() {
        assert_eq!(record("a", "x"), record("a", "x"));
        assert_ne!(record("a", "x"), record("a", "y"));
        assert_ne!(record("ax", ""), record("a", "x"));
    }
}
