//! Tickets: the secret that proves to have won a place, and what the store keeps of its holder.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use prost::Message as _;
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};

use crate::error::Error;

/// Length of a ticket in bytes: 256 bits cannot be guessed.
pub(super) const TICKET_BYTES: usize = 32;

/// What proves to have won a place: a secret of its holder.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Ticket(String);

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ticket(..)")
    }
}

impl Ticket {
    /// A new one.
    pub(super) fn random() -> Result<Self, Error> {
        let mut secret = [0; TICKET_BYTES];
        let failed = |_| Error::Internal("the system has no random numbers".to_owned());
        SystemRandom::new().fill(&mut secret).map_err(failed)?;
        Ok(Ticket(URL_SAFE_NO_PAD.encode(secret)))
    }

    /// Reads a text of the form of a ticket: shorter ones could be guessed.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let secret = URL_SAFE_NO_PAD.decode(text).ok()?;
        (secret.len() == TICKET_BYTES).then(|| Ticket(text.to_owned()))
    }

    /// The text, for its holder alone.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// The hash that the store keeps.
    pub(super) fn hash(&self) -> Bytes {
        Bytes::copy_from_slice(digest::digest(&digest::SHA256, self.0.as_bytes()).as_ref())
    }
}

/// What the store keeps of a holder. Name and address have the numbers of `CampaignRequest`, which was the record before
/// tickets came; such an old record has no hash, and no ticket fits it. Two replicas must write the same bytes for the
/// same holder, and so they do: there are only plain fields, which are encoded in order.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Record {
    /// The holder's name.
    #[prost(string, tag = "2")]
    pub(super) holder: String,
    /// Where the holder serves.
    #[prost(string, tag = "4")]
    pub(super) address: String,
    /// User who won the place.
    #[prost(string, tag = "20")]
    pub(super) user: String,
    /// SHA-256 of the ticket, as text.
    #[prost(bytes = "bytes", tag = "21")]
    pub(super) ticket_hash: Bytes,
}

impl Record {
    /// Reads a stored record. A record that cannot be read is held by no one.
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
