//! Settings of elections, and who this process is in them.

use std::time::Duration;

use krake_client::Client;
use serde::Deserialize;

use super::Leadership;
use crate::config::{ConfigError, pick};
use crate::metrics::Metrics;

/// The ttls that the API accepts, in seconds.
const TTL_SECONDS: std::ops::RangeInclusive<u64> = 2..=60;
/// The default ttl in seconds.
const DEFAULT_TTL_SECONDS: u64 = 15;
/// The longest holder that the API accepts, in bytes.
const MAX_HOLDER: usize = 253;

/// Whether and how to share work with other replicas.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ElectionArgs {
    /// Act only while leading, so that further replicas can stand by. Without it, only one replica may run.
    /// [default: true]
    #[arg(long, env = "KRAKE_ELECTION", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub election: Option<bool>,
    /// How long the leader's place is kept without a sign of life of it, 2 to 60: so long nobody acts after it has
    /// died. What it does outside of the API ends with the first nine tenths of it, whatever the deadlines are.
    /// [default: 15]
    #[arg(long, env = "KRAKE_ELECTION_TTL_SECONDS", value_name = "SECONDS")]
    pub election_ttl_seconds: Option<u64>,
}

/// The same as section `election` of the file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ElectionSection {
    /// As `--election`.
    pub enabled: Option<bool>,
    /// As `--election-ttl-seconds`.
    pub ttl_seconds: Option<u64>,
}

/// The settings in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectionConfig {
    /// Whether to act only while leading.
    pub enabled: bool,
    /// How long the leader's place is kept without a sign of life.
    pub ttl: Duration,
    /// Where others find this process while it leads; empty if nobody needs to.
    pub address: String,
}

impl ElectionArgs {
    /// Flags and environment win over the file, that over the defaults.
    ///
    /// # Errors
    /// When the ttl is not one that the API accepts.
    pub fn resolve(self, file: ElectionSection) -> Result<ElectionConfig, ConfigError> {
        let seconds = pick(self.election_ttl_seconds, file.ttl_seconds, DEFAULT_TTL_SECONDS);
        if !TTL_SECONDS.contains(&seconds) {
            let message = format!("must be from {} to {}", TTL_SECONDS.start(), TTL_SECONDS.end());
            return Err(ConfigError::Invalid { option: "--election-ttl-seconds", message });
        }
        let enabled = pick(self.election, file.enabled, true);
        Ok(ElectionConfig { enabled, ttl: Duration::from_secs(seconds), ..ElectionConfig::default() })
    }
}

impl Default for ElectionConfig {
    fn default() -> Self {
        Self { enabled: true, ttl: Duration::from_secs(DEFAULT_TTL_SECONDS), address: String::new() }
    }
}

impl ElectionConfig {
    /// No election: for a controller of which there is only one.
    pub fn unopposed() -> Self {
        Self { enabled: false, ..Self::default() }
    }

    /// Takes part in an election, and shows in `metrics` whether this process leads. Must be called within a Tokio
    /// runtime.
    pub fn lead(&self, election: &str, client: &Client, metrics: &Metrics) -> Leadership {
        let leadership = if self.enabled {
            let candidacy =
                Candidacy { ttl: self.ttl, address: self.address.clone(), ..Candidacy::new(election) };
            Leadership::campaign(client, candidacy)
        } else {
            Leadership::unopposed(client, election)
        };
        leadership.register(metrics);
        leadership
    }
}

/// Who stands for which election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidacy {
    /// Name of the election: parts between slashes, of lower-case letters, digits and hyphens.
    pub election: String,
    /// Who this is; no other process may be called so.
    pub holder: String,
    /// Where others find the leader; empty if nobody needs to.
    pub address: String,
    /// How long the place is kept without a sign of life: whole seconds, 2 to 60.
    pub ttl: Duration,
}

impl Candidacy {
    /// This process: host name, process id and a random number, no address, the default ttl.
    pub fn new(election: &str) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host: String = host.trim().chars().filter(char::is_ascii_graphic).take(MAX_HOLDER / 2).collect();
        let holder = format!("{host}/{}-{:016x}", std::process::id(), rand::random::<u64>());
        let ttl = Duration::from_secs(DEFAULT_TTL_SECONDS);
        Candidacy { election: election.to_owned(), holder, address: String::new(), ttl }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elections_are_on_by_default_and_ttls_are_checked() {
        let resolve = |args: ElectionArgs| args.resolve(ElectionSection::default());
        let config = resolve(ElectionArgs::default()).unwrap();
        assert_eq!((config.enabled, config.ttl), (true, Duration::from_secs(15)));
        assert_eq!(config, ElectionConfig::default());
        for seconds in [0, 1, 61] {
            let args = ElectionArgs { election_ttl_seconds: Some(seconds), ..Default::default() };
            assert!(resolve(args).unwrap_err().to_string().starts_with("--election-ttl-seconds"));
        }
        let file = ElectionSection { enabled: Some(false), ttl_seconds: Some(5) };
        let config = ElectionArgs::default().resolve(file).unwrap();
        assert_eq!((config.enabled, config.ttl), (false, Duration::from_secs(5)));
    }

    #[test]
    fn no_two_candidates_are_the_same() {
        let (one, two) = (Candidacy::new("gc"), Candidacy::new("gc"));
        assert_ne!(one.holder, two.holder);
        assert!((1..=MAX_HOLDER).contains(&one.holder.len()));
    }
}
