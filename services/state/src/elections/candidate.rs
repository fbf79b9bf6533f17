//! One candidate of one election: its request, checked, and its answers.

use std::time::Duration;

use krake_proto::error::Violation;
use krake_proto::krake::core::v1::{CampaignRequest, CampaignResponse};
use prost::Message as _;

use super::fence::{Election, MAX_NAME_PART_BYTES, MAX_NAME_PARTS};
use super::ticket::{Record, Ticket};
use crate::error::Error;
use crate::store::{self, Bid, Standing};

/// Longest lease: after a leader has died, no controller acts for this time.
const MAX_TTL: Duration = Duration::from_secs(60);
/// Maximum length of a holder and of an address, in bytes: that of a host name.
const MAX_TEXT_BYTES: usize = 253;

/// One candidate of one election.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    bid: Bid,
    ticket: Ticket,
}

impl Candidate {
    /// Reads the first request of `user`'s campaign. With the ticket of a place it is the place's holder who comes back;
    /// with none, or with one of another place, it is a candidate like all others.
    pub(crate) fn read(user: &str, request: &CampaignRequest) -> Result<Self, Error> {
        let mut violations = Vec::new();
        let mut refuse = |field: &str, text: String| violations.push(Violation::new(field, text));
        let election = Election::parse(&request.election);
        if election.is_none() {
            let text = format!(
                "{:?} is not the name of an election: write up to {MAX_NAME_PARTS} parts between slashes, each of 1 \
                 to {MAX_NAME_PART_BYTES} lower-case letters, digits and hyphens",
                request.election.chars().take(MAX_TEXT_BYTES).collect::<String>()
            );
            refuse("election", text);
        }
        let holder = request.holder.len();
        if !(1..=MAX_TEXT_BYTES).contains(&holder) {
            refuse("holder", format!("has {holder} bytes; 1 to {MAX_TEXT_BYTES} are allowed"));
        }
        let address = request.address.len();
        if address > MAX_TEXT_BYTES {
            refuse("address", format!("has {address} bytes; at most {MAX_TEXT_BYTES} are allowed"));
        }
        let ttl = request.ttl.and_then(|ttl| Duration::try_from(ttl).ok()).unwrap_or_default();
        if ttl < store::MIN_TTL || ttl > MAX_TTL || ttl.subsec_nanos() != 0 {
            let allowed = format!("whole seconds from {:?} to {MAX_TTL:?} are allowed", store::MIN_TTL);
            refuse("ttl", format!("is {} s; {allowed}", ttl.as_secs_f64()));
        }
        let ticket = match request.ticket.as_str() {
            "" => Some(Ticket::random()?),
            shown => Ticket::parse(shown),
        };
        if ticket.is_none() {
            // The text is a secret, perhaps of another place.
            refuse("ticket", "is not a ticket: send the one that Campaign returned, or none".to_owned());
        }
        match (election, ticket) {
            (Some(election), Some(ticket)) if violations.is_empty() => {
                let record = Record {
                    holder: request.holder.clone(),
                    address: request.address.clone(),
                    user: user.to_owned(),
                    ticket_hash: ticket.hash(),
                };
                let bid = Bid { key: election.key(), holder: record.encode_to_vec().into(), ttl };
                Ok(Candidate { bid, ticket })
            }
            _ => Err(Error::Invalid(violations)),
        }
    }

    /// How long it is one without a heartbeat.
    pub(crate) fn ttl(&self) -> Duration {
        self.bid.ttl
    }

    /// What a standing means for this candidate, after it had sent the request `sequence`.
    pub(crate) fn answer(&self, standing: &Standing, sequence: i64) -> CampaignResponse {
        let leader = Record::read(&standing.entry.value);
        let (fence, ticket) = match standing.kept {
            Some(_) => (standing.entry.created.0, self.ticket.reveal().to_owned()),
            None => (0, String::new()),
        };
        let ttl = prost_types::Duration::try_from(standing.kept.unwrap_or(self.bid.ttl)).ok();
        CampaignResponse { leader: leader.holder, address: leader.address, fence, ttl, sequence, ticket }
    }

    /// What the store is asked for.
    pub(super) fn bid(&self) -> &Bid {
        &self.bid
    }

    /// The same, by value.
    pub(super) fn into_bid(self) -> Bid {
        self.bid
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use bytes::Bytes;

    use super::super::ticket::TICKET_BYTES;
    use super::*;

    fn request(election: &str, holder: &str, seconds: i64) -> CampaignRequest {
        let ttl = Some(prost_types::Duration { seconds, nanos: 0 });
        CampaignRequest { election: election.into(), holder: holder.into(), ttl, ..Default::default() }
    }

    fn wrong(request: &CampaignRequest) -> Vec<String> {
        match Candidate::read("alice", request) {
            Err(Error::Invalid(violations)) => violations.into_iter().map(|wrong| wrong.field).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn candidates_are_checked_whole() {
        for seconds in [2, 60] {
            assert!(Candidate::read("alice", &request("scheduler", "me", seconds)).is_ok());
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

    fn candidate(user: &str, holder: &str, ticket: &str) -> Candidate {
        let request = CampaignRequest { ticket: ticket.into(), ..request("gc", holder, 5) };
        Candidate::read(user, &request).unwrap()
    }

    #[test]
    fn only_ticket_and_identity_together_are_the_holder() {
        let won = candidate("alice", "a", "");
        let again = |user, holder, ticket: &Ticket| candidate(user, holder, ticket.reveal()).bid.holder;
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
        assert!(!format!("{won:?}").contains(won.ticket.reveal()));
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
