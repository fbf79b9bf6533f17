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

/// Deletes what belongs to objects that are being deleted: dependents first, owners last.
///
/// An object names its owners in metadata.owners. When an owner is deleted, the garbage collector deletes everything
/// that names it (except references with on_delete: RELEASE) and lets the owner go when nothing is left. It keeps no
/// state of its own: start it beside the API server, stop it at any time, start it again anywhere. Of several replicas one
/// works and the others stand by.
///
/// Settings may come from flags, from environment variables, or from a YAML file with the sections api (url), admin
/// (listen), election (enabled, ttl_seconds), telemetry (log_level, log_format, otlp_endpoint) and the keys workers and
/// resync_seconds.
#[derive(Debug, Parser)]
#[command(name = "krake-gc", version)]
pub struct Args {
    #[command(flatten)]
    file: ConfigFileArgs,
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    admin: AdminArgs<7703>,
    #[command(flatten)]
    election: ElectionArgs,
    /// How many objects are worked on at the same time. [default: 4]
    #[arg(long, env = "KRAKE_WORKERS", value_name = "NUMBER")]
    workers: Option<usize>,
    /// How often, in seconds, all waiting objects are looked at though nothing changed. [default: 300]
    #[arg(long, env = "KRAKE_RESYNC_SECONDS", value_name = "SECONDS")]
    resync_seconds: Option<u64>,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

/// The file's form.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    api: ApiArgs,
    admin: AdminSection,
    election: ElectionSection,
    telemetry: TelemetryArgs,
    workers: Option<usize>,
    resync_seconds: Option<u64>,
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
    /// How many objects are worked on at the same time.
    pub workers: usize,
    /// How often all waiting objects are looked at though nothing changed.
    pub resync: Duration,
}

impl Args {
    /// Flags win over environment variables, those over the file, that over the defaults.
    ///
    /// # Errors
    /// When the file cannot be read, or a setting makes no sense; the text names it.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let file: File = self.file.read()?;
        let positive = |option, value: u64| match value {
            0 => Err(ConfigError::Invalid { option, message: "must be 1 or more".to_owned() }),
            value => Ok(value),
        };
        let workers = pick(self.workers, file.workers, 4);
        positive("--workers", workers as u64)?;
        let resync = positive("--resync-seconds", pick(self.resync_seconds, file.resync_seconds, 300))?;
        let mut connect = ConnectOptions::new(self.api.resolve(file.api)?);
        connect.user_agent = concat!("krake-gc/", env!("CARGO_PKG_VERSION")).to_owned();
        Ok(Config {
            connect,
            admin: self.admin.resolve(file.admin),
            election: self.election.resolve(file.election)?,
            telemetry: self.telemetry.resolve(file.telemetry)?,
            workers,
            resync: Duration::from_secs(resync),
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

    fn resolve(args: &[&str]) -> Result<Config, ConfigError> {
        Args::try_parse_from(["krake-gc"].iter().chain(args)).unwrap().resolve()
    }

    #[test]
    fn flags_are_checked_and_default() {
        let config = resolve(&[]).unwrap();
        assert_eq!(config.admin, "127.0.0.1:7703".parse().unwrap());
        assert_eq!((config.workers, config.resync), (4, Duration::from_secs(300)));
        assert!(resolve(&["--workers", "0"]).unwrap_err().to_string().contains("--workers"));
        assert!(resolve(&["--api-url", "localhost"]).unwrap_err().to_string().contains("--api-url"));
    }
}
