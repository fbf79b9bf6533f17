//! The members of an etcd cluster, each reached by a connection of its own: the store's connections lead to any of them.

use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error, GetOptions, KvClient, StatusResponse};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use krake_runtime::reachable::Contact;

/// The members of an etcd cluster by their client URLs. One URL may lead to several of them, through a load balancer.
pub(super) struct Members {
    pub(super) endpoints: Vec<String>,
    /// Without a user.
    pub(super) anonymous: ConnectOptions,
    /// With the user, if there is one.
    pub(super) connect: ConnectOptions,
    /// The deadline of every call.
    pub(super) deadline: Duration,
}

impl Members {
    /// Returns the best contact with any member: the cluster is unreachable only if all members are. `key` is read.
    pub(super) async fn contact(&self, key: &[u8]) -> Contact {
        let probes = self.endpoints.iter().map(|endpoint| self.contact_with(endpoint, key));
        let mut contacts: FuturesUnordered<_> = probes.collect();
        let mut best = Contact::Unreachable;
        while let Some(contact) = contacts.next().await {
            match contact {
                Contact::Answered => return contact,
                Contact::Silent => best = contact,
                Contact::Unreachable => {}
            }
        }
        best
    }

    /// Reads without a user: to log in is slow, and a refusal is not a lost connection.
    async fn contact_with(&self, endpoint: &String, key: &[u8]) -> Contact {
        // Makes no connection yet.
        match Box::pin(Client::connect([endpoint], Some(self.anonymous.clone()))).await {
            Ok(client) => probe(client.kv_client(), key, self.deadline).await,
            Err(_) => Contact::Unreachable,
        }
    }

    /// Returns the version of the member with this id; `None` if no member with it returns its status.
    pub(super) async fn version(&self, member: u64) -> Option<String> {
        let mut statuses: FuturesUnordered<_> =
            self.endpoints.iter().map(|endpoint| self.status(endpoint)).collect();
        while let Some(status) = statuses.next().await {
            // The failure of one member does not matter: the others may be the one that is looked for.
            if let Ok(status) = status
                && status.header().is_some_and(|header| header.member_id() == member)
            {
                return Some(status.version().to_owned());
            }
        }
        None
    }

    async fn status(&self, endpoint: &String) -> Result<StatusResponse, Error> {
        let mut client = Box::pin(Client::connect([endpoint], Some(self.connect.clone()))).await?;
        client.status().await
    }
}

/// Returns whether etcd answers a read of `key`.
pub(super) async fn probe(mut kv: KvClient, key: &[u8], deadline: Duration) -> Contact {
    let options = GetOptions::new().with_count_only();
    match tokio::time::timeout(deadline, kv.get(key, Some(options))).await {
        Ok(Ok(_)) => Contact::Answered,
        Ok(Err(error)) if is_connection(&error) => Contact::Unreachable,
        // No answer, or etcd's own error: it has no leader at the moment.
        _ => Contact::Silent,
    }
}

/// Whether a call failed because of the connection: etcd's own errors have no source.
fn is_connection(error: &Error) -> bool {
    match error {
        Error::GRpcStatus(status) => std::error::Error::source(status).is_some(),
        error => matches!(error, Error::TransportError(_) | Error::IoError(_)),
    }
}
