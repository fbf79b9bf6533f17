//! What an answer of the election proves, and for how long. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use krake_client::Ticket;
use krake_proto::krake::core::v1::CampaignResponse;
use tokio::time::Instant;

/// How many signs of life may be unanswered; an answer to an older one proves nothing.
const UNANSWERED: usize = 16;

/// The right to act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    /// What writes carry.
    pub(super) fence: i64,
    /// What proves that they may.
    pub(super) ticket: Ticket,
    /// When it is over unless it is renewed.
    pub(super) until: Instant,
}

impl Lease {
    /// Whether it is good at this moment.
    pub(super) fn holds(&self, now: Instant) -> bool {
        now < self.until
    }
}

/// When signs of life were sent.
#[derive(Debug, Default)]
pub(super) struct Signs {
    last: i64,
    sent: VecDeque<(i64, Instant)>,
}

impl Signs {
    /// The number of a sign of life that is about to be sent.
    pub(super) fn next(&mut self, now: Instant) -> i64 {
        self.last += 1;
        self.sent.push_back((self.last, now));
        if self.sent.len() > UNANSWERED {
            self.sent.pop_front();
        }
        self.last
    }

    /// The lease that an answer proves. The place cannot have been kept before the sign of life was sent that the answer
    /// names: so its ttl is counted from there, less a tenth for clocks that run unevenly.
    pub(super) fn lease(&mut self, answer: &CampaignResponse) -> Option<Lease> {
        let ttl = answer.ttl.and_then(|ttl| Duration::try_from(ttl).ok())?;
        while self.sent.front().is_some_and(|(sequence, _)| *sequence < answer.sequence) {
            self.sent.pop_front();
        }
        let (sequence, sent) = self.sent.front()?;
        (answer.fence > 0 && *sequence == answer.sequence).then(|| Lease {
            fence: answer.fence,
            ticket: Ticket::from(answer.ticket.as_str()),
            until: *sent + ttl.mul_f64(0.9),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(sequence: i64, fence: i64) -> CampaignResponse {
        let ttl = Some(prost_types::Duration { seconds: 10, nanos: 0 });
        CampaignResponse { fence, ttl, sequence, ..Default::default() }
    }

    #[test]
    fn a_lease_counts_from_before_its_sign_of_life_was_sent() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut signs = Signs::default();
        let (first, second) = (signs.next(start), signs.next(after(3)));
        let lease = signs.lease(&answer(first, 7)).unwrap();
        assert_eq!(lease, Lease { fence: 7, ticket: Ticket::default(), until: after(9) });
        assert!(lease.holds(after(8)) && !lease.holds(after(9)), "whenever the answer came");
        assert_eq!(signs.lease(&answer(second, 7)).unwrap().until, after(12));
        assert_eq!(
            signs.lease(&answer(second, 8)).unwrap().until,
            after(12),
            "won without a new sign of life"
        );
        assert_eq!(signs.lease(&answer(first, 7)), None, "an answer that comes too late proves nothing");
    }

    #[test]
    fn who_does_not_lead_has_no_lease() {
        let mut signs = Signs::default();
        let sequence = signs.next(Instant::now());
        assert_eq!(signs.lease(&answer(sequence, 0)), None);
        assert_eq!(signs.lease(&answer(sequence + 1, 7)), None, "nothing of that number was sent");
    }

    #[test]
    fn unanswered_signs_are_bounded() {
        let mut signs = Signs::default();
        let first = signs.next(Instant::now());
        for _ in 0..100 {
            signs.next(Instant::now());
        }
        assert!(signs.sent.len() <= UNANSWERED);
        assert_eq!(signs.lease(&answer(first, 7)), None);
    }
}
