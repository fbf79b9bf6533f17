//! Which members of an etcd cluster calls are sent to: those that answer and have a leader.
//!
//! etcd's client picks a connection at random. A member that is frozen, or cut off from the others, keeps its connections:
//! its share of the calls would wait until their deadline, and soon all callers would wait for it.

use std::collections::BTreeSet;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error};
use futures::future::join_all;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

/// Pause between two looks at the members.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time for a member's answer. It holds nothing but its own state for it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The members that calls are sent to.
pub(super) struct Balance {
    /// Every endpoint, and a client of it alone.
    members: Vec<(String, Client)>,
    /// The connections that are balanced, all with the same endpoints.
    balanced: Vec<Client>,
    left_out: BTreeSet<usize>,
}

impl Balance {
    /// Looks at the members until the handle is dropped; `None` for a single endpoint, where there is no choice. `options`
    /// need no user.
    pub(super) async fn keep(
        endpoints: &[String],
        options: &ConnectOptions,
        balanced: Vec<Client>,
    ) -> Result<Option<AbortOnDropHandle<()>>, Error> {
        if endpoints.len() < 2 {
            return Ok(None);
        }
        let mut members = Vec::new();
        for endpoint in endpoints {
            // Makes no connection yet.
            let client = Box::pin(Client::connect([endpoint], Some(options.clone()))).await?;
            members.push((endpoint.clone(), client));
        }
        let balance = Self { members, balanced, left_out: BTreeSet::new() };
        Ok(Some(AbortOnDropHandle::new(tokio::spawn(balance.run()))))
    }

    /// Looks at the members without end.
    async fn run(mut self) {
        let mut looks = interval(INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let answers = join_all(self.members.iter().map(|(_, client)| is_usable(client))).await;
            let wanted = left_out(&answers);
            self.change(wanted).await;
        }
    }

    async fn change(&mut self, wanted: BTreeSet<usize>) {
        for place in wanted.symmetric_difference(&self.left_out) {
            let Some((endpoint, _)) = self.members.get(*place) else { continue };
            let leaves = wanted.contains(place);
            if leaves {
                tracing::warn!(
                    endpoint,
                    "an etcd member does not answer or has no leader: calls go to the others"
                );
            } else {
                tracing::info!(endpoint, "an etcd member takes calls again");
            }
            for client in &self.balanced {
                let changed = if leaves {
                    client.remove_endpoint(endpoint).await
                } else {
                    client.add_endpoint(endpoint).await
                };
                if let Err(error) = changed {
                    tracing::warn!(endpoint, %error, "cannot change which etcd members calls are sent to");
                }
            }
        }
        self.left_out = wanted;
    }
}

/// The members to leave out, by their places. None where that would leave none.
fn left_out(usable: &[bool]) -> BTreeSet<usize> {
    if !usable.contains(&true) {
        return BTreeSet::new();
    }
    (0..usable.len()).filter(|place| !usable[*place]).collect()
}

async fn is_usable(client: &Client) -> bool {
    let status = timeout(ANSWER_TIMEOUT, async { client.clone().status().await });
    match status.await {
        Ok(Ok(status)) => status.leader() != 0,
        // It answers; proxies and imitations of etcd have no status.
        Ok(Err(Error::GRpcStatus(status))) => std::error::Error::source(&status).is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_members_are_left_out_unless_all_are() {
        assert_eq!(left_out(&[true, false, true]), BTreeSet::from([1]));
        assert_eq!(left_out(&[false, false]), BTreeSet::new());
        assert_eq!(left_out(&[true, true]), BTreeSet::new());
    }
}
