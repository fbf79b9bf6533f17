//! Limits of a listener, and its flags.

use std::time::Duration;

use serde::Deserialize;

use super::hosts::{AllowedHosts, HostRules};
use crate::config::{ConfigError, pick};

/// Maximum of a limit that is configured: more than one process can have open, and less than a semaphore can count.
const MAX_LIMIT: usize = 10_000_000;

/// Limits on the connections of one listener, for gRPC and REST alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections open at the same time; further ones wait to be accepted. Default 4096.
    pub max_connections: usize,
    /// Connections open at the same time from one address (of IPv6: from one /64 network); further ones are closed at
    /// once. Default 1024, a quarter of all: one peer cannot take every place. A gateway or a proxy needs few.
    pub max_connections_per_peer: usize,
    /// Calls open at the same time from one address, over all its connections, watches among them; further ones are
    /// refused before they are authenticated. A gateway or a proxy is one peer, whose calls are those of all its users.
    /// Default 16,384: what four connections may have open.
    pub max_calls_per_peer: usize,
    /// Bytes of answers to one address that are not sent yet, over all its connections: pages of lists, and other answers
    /// of 64 KiB and more. Further ones wait, then they are refused; watches have bounds of their own. Default 64 MiB: 16
    /// pages of the largest size at the same time.
    pub max_unread_bytes_per_peer: usize,
    /// The same of all addresses together. Default 512 MiB, or as much as one address may have if that is more: eight
    /// peers that read nothing leave no room, for [`Self::stall_timeout`].
    pub max_unread_bytes: usize,
    /// Longest wait of a call for room for its answer. Default 20 s: less than the 30 s that clients wait for an answer,
    /// so that they learn why there is none.
    pub room_timeout: Duration,
    /// Time for the TLS handshake, and then for the peer to show which protocol it speaks. Default 10 s: enough for a
    /// handshake over a satellite link with lost packets.
    pub opening_timeout: Duration,
    /// A connection without any call for this long is closed. Clients of the SDK connect again with their next call.
    /// Default 5 min: longer than the period of every controller.
    pub idle_timeout: Duration,
    /// A peer that does not read for this long, while something is being sent to it, is disconnected; over HTTP/2, a call
    /// whose large answer is not read for this long is reset. Default 60 s: a client that pauses longer can connect again.
    pub stall_timeout: Duration,
    /// An HTTP/2 connection on which nothing arrives for this long is pinged. Default 10 s.
    pub keep_alive_interval: Duration,
    /// A connection that does not answer a ping for this long is closed. Default 10 s.
    pub keep_alive_timeout: Duration,
    /// Calls open at the same time on one HTTP/2 connection, watches among them. Default 4096.
    pub max_concurrent_streams: u32,
    /// Bytes of the headers of one HTTP/2 request, as HTTP/2 counts them. Default 16 KiB.
    pub max_header_bytes: u32,
    /// Time for calls under way once shutdown is requested; then connections are cut. Services end their watches
    /// themselves, at once. Default 5 s, less than [`crate::shutdown::SHUTDOWN_DEADLINE`].
    pub drain: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_connections_per_peer: 1024,
            max_calls_per_peer: 4 * 4096,
            max_unread_bytes_per_peer: 64 << 20,
            max_unread_bytes: 512 << 20,
            room_timeout: Duration::from_secs(20),
            opening_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            stall_timeout: Duration::from_secs(60),
            keep_alive_interval: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(10),
            max_concurrent_streams: 4096,
            max_header_bytes: 16 * 1024,
            drain: Duration::from_secs(5),
        }
    }
}

/// Limits and host names of a listener. In the file: section `listener` with `max_connections`,
/// `max_connections_per_peer`, `max_calls_per_peer`, `max_unread_mib_per_peer`, `max_unread_mib` and `allowed_hosts`.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Connections")]
pub struct ListenerArgs {
    /// Connections open at the same time; further ones wait. [default: 4096]
    #[arg(long, env = "KRAKE_MAX_CONNECTIONS", value_name = "NUMBER")]
    pub max_connections: Option<usize>,
    /// Connections open at the same time from one address; further ones are closed at once. [default: 1024]
    #[arg(long, env = "KRAKE_MAX_CONNECTIONS_PER_PEER", value_name = "NUMBER")]
    pub max_connections_per_peer: Option<usize>,
    /// Calls open at the same time from one address, watches among them; further ones are refused. A gateway or a proxy
    /// counts as one address for all its users: where it serves many watches, raise this at the API. [default: 16384]
    #[arg(long, env = "KRAKE_MAX_CALLS_PER_PEER", value_name = "NUMBER")]
    pub max_calls_per_peer: Option<usize>,
    /// MiB of answers to one address that it has not read; further calls with large answers wait, then they are refused.
    /// A proxy that makes its users' slowness its own needs more. [default: 64]
    #[arg(long, env = "KRAKE_MAX_UNREAD_MIB_PER_PEER", value_name = "NUMBER")]
    pub max_unread_mib_per_peer: Option<usize>,
    /// MiB of answers that have not been read, of all addresses together. [default: 512, or --max-unread-mib-per-peer if
    /// that is more]
    #[arg(long, env = "KRAKE_MAX_UNREAD_MIB", value_name = "NUMBER")]
    pub max_unread_mib: Option<usize>,
    /// Host name, without port, that requests may name beside loopback names and IP addresses; may be given several
    /// times. On a loopback address other names are always refused, so that no web page can reach the API by a name of
    /// its own (DNS rebinding). On other addresses every name is served until this is set.
    #[arg(long = "allowed-host", env = "KRAKE_ALLOWED_HOSTS", value_delimiter = ',', value_name = "NAME")]
    pub allowed_hosts: Option<Vec<String>>,
}

impl ListenerArgs {
    /// The limits and host rules in force; everything that has no flag is default.
    ///
    /// # Errors
    /// When a limit is not between 1 and 10,000,000, or an allowed host is not a host name.
    pub fn resolve(self, file: ListenerArgs) -> Result<(ConnectionLimits, HostRules), ConfigError> {
        let defaults = ConnectionLimits::default();
        let default_unread = defaults.max_unread_bytes_per_peer >> 20;
        let unread_mib = pick(self.max_unread_mib_per_peer, file.max_unread_mib_per_peer, default_unread);
        check("--max-unread-mib-per-peer", unread_mib)?;
        let default_unread = (defaults.max_unread_bytes >> 20).max(unread_mib);
        let all_unread_mib = pick(self.max_unread_mib, file.max_unread_mib, default_unread);
        check("--max-unread-mib", all_unread_mib)?;
        let limits = ConnectionLimits {
            max_connections: pick(self.max_connections, file.max_connections, defaults.max_connections),
            max_connections_per_peer: pick(
                self.max_connections_per_peer,
                file.max_connections_per_peer,
                defaults.max_connections_per_peer,
            ),
            max_calls_per_peer: pick(
                self.max_calls_per_peer,
                file.max_calls_per_peer,
                defaults.max_calls_per_peer,
            ),
            max_unread_bytes_per_peer: unread_mib << 20,
            max_unread_bytes: all_unread_mib << 20,
            ..defaults
        };
        check("--max-connections", limits.max_connections)?;
        check("--max-connections-per-peer", limits.max_connections_per_peer)?;
        check("--max-calls-per-peer", limits.max_calls_per_peer)?;
        let allowed = AllowedHosts::parse(&self.allowed_hosts.or(file.allowed_hosts).unwrap_or_default());
        let allowed = allowed.map_err(|name| ConfigError::Invalid {
            option: "--allowed-host",
            message: format!("{name:?} is not a host name; write NAME, without scheme and port"),
        })?;
        Ok((limits, HostRules { allowed, ..HostRules::default() }))
    }
}

fn check(option: &'static str, number: usize) -> Result<(), ConfigError> {
    if (1..=MAX_LIMIT).contains(&number) {
        return Ok(());
    }
    Err(ConfigError::Invalid { option, message: format!("must be between 1 and {MAX_LIMIT}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_make_sense() {
        let file =
            ListenerArgs { max_connections: Some(7), max_calls_per_peer: Some(9), ..Default::default() };
        let flags = ListenerArgs { allowed_hosts: Some(vec!["Krake.example".into()]), ..Default::default() };
        let (limits, rules) = flags.resolve(file).unwrap();
        assert_eq!((limits.max_connections, limits.max_connections_per_peer), (7, 1024));
        assert_eq!((limits.max_calls_per_peer, limits.max_unread_bytes_per_peer), (9, 64 << 20));
        let unread = |peer, all| {
            let args =
                ListenerArgs { max_unread_mib_per_peer: peer, max_unread_mib: all, ..Default::default() };
            args.resolve(ListenerArgs::default()).unwrap().0.max_unread_bytes >> 20
        };
        assert_eq!((unread(None, None), unread(Some(600), None), unread(None, Some(9))), (512, 600, 9));
        assert!(!rules.allowed.is_empty());
        let none = || ListenerArgs::default();
        for wrong in [
            ListenerArgs { max_connections: Some(0), ..none() },
            ListenerArgs { max_connections: Some(usize::MAX), ..none() },
            ListenerArgs { max_connections_per_peer: Some(0), ..none() },
            ListenerArgs { max_calls_per_peer: Some(0), ..none() },
            ListenerArgs { max_calls_per_peer: Some(usize::MAX), ..none() },
            ListenerArgs { max_unread_mib_per_peer: Some(0), ..none() },
            ListenerArgs { max_unread_mib_per_peer: Some(usize::MAX), ..none() },
            ListenerArgs { max_unread_mib: Some(0), ..none() },
            ListenerArgs { allowed_hosts: Some(vec!["http://a".into()]), ..none() },
            ListenerArgs { allowed_hosts: Some(vec!["a:80".into()]), ..none() },
            ListenerArgs { allowed_hosts: Some(vec![String::new()]), ..none() },
        ] {
            let refused = wrong.clone().resolve(none()).unwrap_err().to_string();
            assert!(!refused.contains(&usize::MAX.to_string()), "{wrong:?}: {refused}");
        }
    }
}
