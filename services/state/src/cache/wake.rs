//! Wakes those who follow the cache, in groups: a thousand who wake at once would keep every other call waiting.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch::{Receiver, Sender, channel};

use crate::store::Revision;

/// Followers that are woken at a time. Some dozens of messages are encoded and sent in less time than a call to the store
/// takes.
const FOLLOWERS_PER_GROUP: usize = 48;

/// The groups of those who follow.
#[derive(Debug, Default)]
pub(super) struct Followers {
    groups: Mutex<Vec<Sender<Revision>>>,
}

impl Followers {
    /// Joins a group. The receiver tells when there may be something new, and no more than that: the revision it holds
    /// may be an old one.
    pub(super) fn join(&self) -> Receiver<Revision> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        match groups.iter().find(|group| group.receiver_count() < FOLLOWERS_PER_GROUP) {
            Some(group) => group.subscribe(),
            None => {
                let (group, receiver) = channel(Revision::default());
                groups.push(group);
                receiver
            }
        }
    }

    /// Wakes everybody who had joined when this was called; each group has its turn before the next one is woken.
    pub(super) async fn wake(&self, revision: Revision) {
        let mut number = 0;
        while self.wake_group(number, revision) {
            number += 1;
            tokio::task::yield_now().await;
        }
    }

    /// Wakes one group; false if there is none of this number.
    fn wake_group(&self, number: usize, revision: Revision) -> bool {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.get(number).map(|group| group.send_replace(revision)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_is_woken_and_places_are_used_again() {
        let followers = Followers::default();
        let mut receivers: Vec<_> = (0..3 * FOLLOWERS_PER_GROUP + 1).map(|_| followers.join()).collect();
        followers.wake(Revision(7)).await;
        for receiver in &mut receivers {
            assert!(receiver.has_changed().unwrap());
        }
        receivers.truncate(FOLLOWERS_PER_GROUP);
        let again: Vec<_> = (0..FOLLOWERS_PER_GROUP).map(|_| followers.join()).collect();
        assert_eq!(followers.groups.lock().unwrap().len(), 4);
        followers.wake(Revision(8)).await;
        assert!(again.iter().all(|receiver| receiver.has_changed().unwrap()));
    }
}
