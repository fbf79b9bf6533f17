//! Decides which part of the history the cache keeps for watches that resume. Pure, but for the type of its clock.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::store::Revision;

/// Limits of the history: revisions younger than an age are kept, and a number of newest ones if they are older; but
/// never more than a number of bytes, except for the newest revision. A first read of everything over a slow connection
/// takes a minute, whatever is written meanwhile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Number of the newest revisions that are kept however old they are.
    pub(super) revisions: usize,
    /// Age up to which revisions are kept however many they are: as long as the store keeps its own history.
    pub(super) age: Duration,
    /// Maximum size in bytes.
    pub(super) bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { revisions: 10_000, age: Duration::from_secs(5 * 60), bytes: 128 * 1024 * 1024 }
    }
}

/// Time between two marks: three hundred of them for five minutes, and ages are right to a second.
const MARK_INTERVAL: Duration = Duration::from_secs(1);

/// The ages of revisions: once in a while the present revision is marked with the time.
#[derive(Debug, Default)]
pub(super) struct Ages {
    marks: VecDeque<(Revision, Instant)>,
    /// This revision and all earlier ones are older than the age.
    old: Revision,
}

impl Ages {
    /// Notes that `revision` is the present one.
    pub(super) fn mark(&mut self, revision: Revision, now: Instant, age: Duration) {
        if self.marks.back().is_none_or(|(_, last)| now.saturating_duration_since(*last) >= MARK_INTERVAL) {
            self.marks.push_back((revision, now));
        }
        while let Some((marked, at)) = self.marks.front().copied() {
            if now.saturating_duration_since(at) < age {
                break;
            }
            self.old = marked;
            self.marks.pop_front();
        }
    }

    /// Whether to drop the oldest of `count` revisions that have `bytes` together.
    pub(super) fn drops(&self, oldest: Revision, count: usize, bytes: usize, limits: &Limits) -> bool {
        (bytes > limits.bytes && count > 1) || (count > limits.revisions && oldest <= self.old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_revision_is_dropped_when_it_is_old_and_one_of_too_many_or_for_its_bytes() {
        let limits = Limits { revisions: 10, age: 300 * SECOND, bytes: 1000 };
        let (start, mut ages) = (Instant::now(), Ages::default());
        // 2,000 revisions a second.
        for second in 0..=300 {
            for part in 0..4 {
                let now = start + second * SECOND + part * SECOND / 4;
                ages.mark(Revision(i64::from(second * 2000 + part * 500)), now, limits.age);
            }
        }
        assert!(ages.marks.len() <= 301, "a mark a second: {}", ages.marks.len());
        let drops = |oldest, count, bytes| ages.drops(Revision(oldest), count, bytes, &limits);
        assert!(!drops(2001, 600_000, 0), "it is younger, however many there are");
        assert!(drops(0, 600_000, 0), "it is older");
        assert!(!drops(0, 10, 0), "it is older, but one of few");
        assert!(drops(600_000, 2, 1001) && !drops(600_000, 1, 1001), "all but the newest for its bytes");
    }
}
