//! When which cluster has workloads to take a step on: one list for all clusters.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The list; a cluster is on it at most once for each time.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    entries: Mutex<BTreeSet<(Instant, String)>>,
    earlier: Notify,
}

impl Agenda {
    /// Has the cluster looked at when it is `due`.
    pub(crate) fn add(&self, due: Instant, cluster: &str) {
        let mut entries = self.entries();
        let entry = (due, cluster.to_owned());
        let first = entries.first().is_none_or(|first| entry < *first);
        entries.insert(entry);
        if first {
            self.earlier.notify_one();
        }
    }

    /// Waits for the next cluster whose time has come.
    pub(crate) async fn next(&self) -> String {
        loop {
            let due = self.entries().first().map(|(due, _)| *due);
            match due {
                Some(due) if due <= Instant::now() => {
                    if let Some((_, cluster)) = self.entries().pop_first() {
                        return cluster;
                    }
                }
                Some(due) => tokio::select! {
                    () = sleep_until(due) => {}
                    () = self.earlier.notified() => {}
                },
                None => self.earlier.notified().await,
            }
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeSet<(Instant, String)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn clusters_come_in_the_order_of_their_time() {
        let agenda = Agenda::default();
        let start = Instant::now();
        agenda.add(start + Duration::from_secs(9), "late");
        agenda.add(start + Duration::from_secs(3), "soon");
        agenda.add(start, "now");
        for (name, seconds) in [("now", 0), ("soon", 3), ("late", 9)] {
            assert_eq!(agenda.next().await, name);
            assert_eq!(start.elapsed().as_secs(), seconds);
        }
    }
}
