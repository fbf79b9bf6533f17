//! `Debug` of messages that hold secrets: everything but those.

use std::fmt;

use crate::krake::core::v1::{CampaignRequest, CampaignResponse};

/// Stands for a secret: whether there is one, not which.
struct Secret<'a>(&'a str);

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "<redacted>" })
    }
}

impl fmt::Debug for CampaignRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CampaignRequest { election, holder, ttl, address, sequence, resign, ticket } = self;
        f.debug_struct("CampaignRequest")
            .field("election", election)
            .field("holder", holder)
            .field("ttl", ttl)
            .field("address", address)
            .field("sequence", sequence)
            .field("resign", resign)
            .field("ticket", &Secret(ticket))
            .finish()
    }
}

impl fmt::Debug for CampaignResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CampaignResponse { leader, address, fence, ttl, sequence, ticket } = self;
        f.debug_struct("CampaignResponse")
            .field("leader", leader)
            .field("address", address)
            .field("fence", fence)
            .field("ttl", ttl)
            .field("sequence", sequence)
            .field("ticket", &Secret(ticket))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_are_not_shown() {
        let request = CampaignRequest { holder: "me".into(), ticket: "s3cret".into(), ..Default::default() };
        let response =
            CampaignResponse { leader: "me".into(), ticket: "s3cret".into(), ..Default::default() };
        for shown in [format!("{request:?}"), format!("{response:#?}")] {
            assert!(shown.contains("me") && !shown.contains("s3cret"), "{shown}");
        }
    }
}
