//! Elections: who may act as which controller, kept as leased keys in the store.
//!
//! A place belongs to who can show its ticket: state makes it, the store keeps its hash. The holder's name is a label,
//! which everybody can read and claim.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use krake_proto::error::Violation;
use krake_proto::krake::core::v1::{CampaignRequest, CampaignResponse};
use prost::Message as _;
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};

use super::{Call, Error, Registry};
use crate::object::key;
use crate::store::{self, Batch, Bid, Key, Revision, Standing, WatchError};

/// The longest ttl: how long nobody acts after a leader has died.
const MAX_TTL: Duration = Duration::from_secs(60);
/// The most parts of an election's name, and the most bytes of each.
const NAME_PARTS: usize = 4;
const NAME_PART: usize = 63;
/// The most bytes of a holder and of an address.
const MAX_TEXT: usize = 253;
/// Bytes of a ticket: more than anybody can guess.
const TICKET_BYTES: usize = 32;

/// The name of an election, checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
pub(crate) struct Fence {
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

/// What proves to have won a place: a secret of its holder.
#[derive(Clone, PartialEq, Eq)]
struct Ticket(String);

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ticket(..)")
    }
}

impl Ticket {
    /// A new one.
    fn random() -> Result<Self, Error> {
        let mut secret = [0; TICKET_BYTES];
        let failed = |_| Error::Internal("the system has no random numbers".to_owned());
        SystemRandom::new().fill(&mut secret).map_err(failed)?;
        Ok(Ticket(URL_SAFE_NO_PAD.encode(secret)))
    }

    /// Reads what looks like one: shorter texts could be guessed.
    fn parse(text: &str) -> Option<Self> {
        let secret = URL_SAFE_NO_PAD.decode(text).ok()?;
        (secret.len() == TICKET_BYTES).then(|| Ticket(text.to_owned()))
    }

    fn hash(&self) -> Bytes {
        Bytes::copy_from_slice(digest::digest(&digest::SHA256, self.0.as_bytes()).as_ref())
    }
}

/// What the store keeps of a holder. Name and address have the numbers of `CampaignRequest`, which the record was until
/// tickets came; such an old record has no hash, and no ticket fits it. Two replicas must write the same bytes for the
/// same holder, and so they do: there are only plain fields, which are encoded in order.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Record {
    /// The holder's name.
    #[prost(string, tag = "2")]
    holder: String,
    /// Where the holder serves.
    #[prost(string, tag = "4")]
    address: String,
    /// User who won the place.
    #[prost(string, tag = "20")]
    user: String,
    /// SHA-256 of the ticket, as text.
    #[prost(bytes = "bytes", tag = "21")]
    ticket_hash: Bytes,
}

impl Record {
    /// Reads a stored record. What cannot be read is nobody's.
    pub(super) fn read(value: &Bytes) -> Self {
        Record::decode(value.clone()).unwrap_or_default()
    }

    /// Whether the caller who shows this ticket has won the place. A record without a hash was won at a replica of the
    /// version before: its holder has no ticket and needs none until its term ends.
    pub(super) fn is_proved_by(&self, ticket: &str, user: &str) -> bool {
        let has_no_ticket = self.ticket_hash.is_empty() && !self.holder.is_empty();
        has_no_ticket
            || (!self.ticket_hash.is_empty()
                && self.user == user
                && Ticket::parse(ticket).is_some_and(|ticket| ticket.hash() == self.ticket_hash))
    }
}

/// One candidate of one election.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    bid: Bid,
    ticket: Ticket,
}

impl Candidate {
    /// Reads the first request of a campaign. With the ticket of a place it is the place's holder who comes back; with
    /// none, or with one of another place, it is a candidate like all others.
    pub(crate) fn read(call: &Call, request: &CampaignRequest) -> Result<Self, Error> {
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
        let ticket = match request.ticket.as_str() {
            "" => Some(Ticket::random()?),
            shown => Ticket::parse(shown),
        };
        if ticket.is_none() {
            // The text is a secret, perhaps of another place.
            refuse("ticket", "is not a ticket: send what the campaign answered, or nothing".to_owned());
        }
        match (election, ticket) {
            (Some(election), Some(ticket)) if violations.is_empty() => {
                let record = Record {
                    holder: request.holder.clone(),
                    address: request.address.clone(),
                    user: call.user.clone(),
                    ticket_hash: ticket.hash(),
                };
                let bid = Bid { key: election.key(), holder: record.encode_to_vec().into(), ttl };
                Ok(Candidate { bid, ticket })
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
        let leader = Record::read(&standing.entry.value);
        let (fence, ticket) = match standing.kept {
            Some(_) => (standing.entry.created.0, self.ticket.0.clone()),
            None => (0, String::new()),
        };
        let ttl = prost_types::Duration::try_from(standing.kept.unwrap_or(self.bid.ttl)).ok();
        CampaignResponse { leader: leader.holder, address: leader.address, fence, ttl, sequence, ticket }
    }
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
        match Candidate::read(&Call::by("alice"), request) {
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
        for seconds in [2, 60] {
            assert!(Candidate::read(&Call::by("alice"), &request("scheduler", "me", seconds)).is_ok());
        }
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

    fn candidate(user: &str, holder: &str, ticket: &str) -> Candidate {
        let request = CampaignRequest { ticket: ticket.into(), ..request("gc", holder, 5) };
        Candidate::read(&Call::by(user), &request).unwrap()
    }

    #[test]
    fn only_ticket_and_identity_together_are_the_holder() {
        let won = candidate("alice", "a", "");
        let again = |user, holder, ticket: &Ticket| candidate(user, holder, &ticket.0).bid.holder;
        assert_eq!(again("alice", "a", &won.ticket), won.bid.holder, "at any replica");
        assert_ne!(candidate("alice", "a", "").bid.holder, won.bid.holder, "the name is only a label");
        assert_ne!(again("alice", "a", &Ticket::random().unwrap()), won.bid.holder);
        assert_ne!(again("bob", "a", &won.ticket), won.bid.holder);
        assert_ne!(again("alice", "b", &won.ticket), won.bid.holder);
    }

    #[test]
    fn a_ticket_that_could_be_guessed_is_refused_and_none_is_shown() {
        for guessed in ["a", "x=y", &URL_SAFE_NO_PAD.encode([7; TICKET_BYTES - 1])] {
            let request = CampaignRequest { ticket: guessed.to_owned(), ..request("gc", "me", 5) };
            assert_eq!(wrong(&request), ["ticket"]);
        }
        let won = candidate("alice", "a", "");
        assert!(!format!("{won:?}").contains(&won.ticket.0));
    }

    #[test]
    fn a_record_of_the_version_before_is_read_and_kept_by_nobody() {
        let old = CampaignRequest { holder: "a".into(), address: "x".into(), ..Default::default() };
        let old: Bytes = old.encode_to_vec().into();
        let record = Record::read(&old);
        assert_eq!((record.holder.as_str(), record.address.as_str()), ("a", "x"));
        assert!(record.is_proved_by("", "system:anonymous"), "its holder writes on until its term ends");
        assert_ne!(candidate("alice", "a", "").bid.holder, old, "taken until its ttl");
    }
}
