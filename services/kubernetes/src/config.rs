//! Settings: command line, environment and file.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use krake_client::ConnectOptions;
use krake_runtime::admin::{AdminArgs, AdminSection};
use krake_runtime::config::{ApiArgs, ConfigError, ConfigFileArgs, pick};
use krake_runtime::leadership::{ElectionArgs, ElectionConfig, ElectionSection};
use krake_runtime::process::ProcessConfig;
use krake_runtime::telemetry::{TelemetryArgs, TelemetryConfig};
use serde::Deserialize;

use crate::cluster::ProbeTimes;
use crate::cluster::clusters::Opener;
use crate::controller::orphans::SweepTimes;

/// Runs applications on Kubernetes clusters: applies their objects, watches and repairs them, moves and removes them; and
/// tells how the clusters do.
///
/// Keeps no state of its own: stop it at any time, start it again anywhere. Of several replicas one works and the
/// others stand by. It must be able to reach the API servers of all registered clusters.
///
/// Settings may come from flags, from environment variables, or from a YAML file with the sections api (url), admin
/// (listen), election (enabled, ttl_seconds), telemetry (log_level, log_format, otlp_endpoint) and the keys workers and
/// rollout_deadline.
#[derive(Debug, Parser)]
#[command(name = "krake-kubernetes", version)]
pub struct Args {
    #[command(flatten)]
    file: ConfigFileArgs,
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    admin: AdminArgs<7704>,
    #[command(flatten)]
    election: ElectionArgs,
    #[command(flatten)]
    telemetry: TelemetryArgs,
    /// How many applications are worked on at the same time. [default: 32]
    #[arg(long, env = "KRAKE_WORKERS", value_name = "NUMBER")]
    workers: Option<usize>,
    /// Seconds within which a new copy's workloads must be available; otherwise the copy has failed, and one that it was
    /// to replace stays. [default: 300]
    #[arg(long, env = "KRAKE_ROLLOUT_DEADLINE", value_name = "SECONDS")]
    rollout_deadline: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    api: ApiArgs,
    admin: AdminSection,
    election: ElectionSection,
    telemetry: TelemetryArgs,
    workers: Option<usize>,
    rollout_deadline: Option<u64>,
}

/// The settings in force.
#[derive(Debug, Clone)]
pub struct Config {
    /// How to reach the API.
    pub connect: ConnectOptions,
    /// Where metrics and health are served.
    pub admin: SocketAddr,
    /// Whether and how to share the work with other replicas.
    pub election: ElectionConfig,
    /// What to log and where to send traces.
    pub telemetry: TelemetryConfig,
    /// How many applications are worked on at the same time.
    pub workers: usize,
    /// How long a new copy may take to become available.
    pub rollout_deadline: Duration,
    /// How connections to clusters are made.
    pub opener: Opener,
    /// How often clusters are asked whether they are there.
    pub probe: ProbeTimes,
    /// How often clusters are looked through for objects that belong to nobody.
    pub sweep: SweepTimes,
}

impl Args {
    /// Flags win over environment variables, those over the file, that over the defaults.
    ///
    /// # Errors
    /// When the file cannot be read, or a setting makes no sense; the text names it.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let file: File = self.file.read()?;
        let workers = pick(self.workers, file.workers, 32);
        let deadline = pick(self.rollout_deadline, file.rollout_deadline, 300);
        for (option, zero) in [("--workers", workers == 0), ("--rollout-deadline", deadline == 0)] {
            if zero {
                return Err(ConfigError::Invalid { option, message: "must be 1 or more".to_owned() });
            }
        }
        let mut connect = ConnectOptions::new(self.api.resolve(file.api)?);
        connect.user_agent = concat!("krake-kubernetes/", env!("CARGO_PKG_VERSION")).to_owned();
        Ok(Config {
            connect,
            admin: self.admin.resolve(file.admin),
            election: self.election.resolve(file.election)?,
            telemetry: self.telemetry.resolve(file.telemetry)?,
            workers,
            rollout_deadline: Duration::from_secs(deadline),
            opener: Opener::default(),
            probe: ProbeTimes::default(),
            sweep: SweepTimes::default(),
        })
    }
}

impl ProcessConfig for Config {
    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_checked_and_default() {
        let resolve = |args: &[&str]| Args::try_parse_from(["x"].iter().chain(args)).unwrap().resolve();
        let config = resolve(&[]).unwrap();
        assert_eq!((config.workers, config.rollout_deadline), (32, Duration::from_secs(300)));
        assert!(resolve(&["--workers", "0"]).unwrap_err().to_string().starts_with("--workers"));
    }
}
