//! Settings: command line, environment and file.

use std::time::Duration;

use clap::Parser;
use krake_runtime::admin::AdminSection;
use krake_runtime::config::{ApiArgs, ConfigError, pick};
use krake_runtime::controller::{ControllerArgs, ControllerConfig, ControllerSections};
use krake_runtime::leadership::ElectionSection;
use krake_runtime::process::ProcessConfig;
use krake_runtime::telemetry::{TelemetryArgs, TelemetryConfig};
use serde::Deserialize;

/// Default number of objects that are worked on at the same time.
const WORKERS: usize = 4;
/// Default time between two looks at all waiting objects.
const RESYNC_SECONDS: u64 = 300;

/// Deletes what belongs to objects that are being deleted: dependents first, owners last.
///
/// An object names its owners in metadata.owners. When an owner is deleted, the garbage collector deletes everything
/// that names it (except references with on_delete: RELEASE) and lets the owner go when nothing is left. It keeps no
/// state of its own: start it beside the API server, stop it at any time, start it again anywhere. Of several replicas one
/// works and the others stand by.
///
/// Settings may come from flags, from environment variables, or from a YAML file with the sections api (url, ca,
/// cert, key), admin (listen), election (enabled, ttl_seconds), telemetry (log_level, log_format, otlp_endpoint) and the keys workers and
/// resync_seconds.
#[derive(Debug, Parser)]
#[command(name = "krake-gc", version)]
pub struct Args {
    /// Maximum number of objects that are worked on concurrently. [default: 4]
    #[arg(long, env = "KRAKE_WORKERS", value_name = "NUMBER")]
    workers: Option<usize>,
    /// Seconds between two looks at all waiting objects while nothing changes. [default: 300]
    #[arg(long, env = "KRAKE_RESYNC_SECONDS", value_name = "SECONDS")]
    resync_seconds: Option<u64>,
    // Last: the headings of its groups would hold for what follows.
    #[command(flatten)]
    controller: ControllerArgs<7703>,
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
    /// Settings that all controllers share.
    pub controller: ControllerConfig,
    /// Maximum number of objects that are worked on concurrently.
    pub workers: usize,
    /// Pause between two looks at all waiting objects while nothing changes.
    pub resync: Duration,
}

impl Args {
    /// Flags win over environment variables, those over the file, that over the defaults.
    ///
    /// # Errors
    /// When the file cannot be read, or a setting makes no sense; the text names it.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let file: File = self.controller.read_file()?;
        let positive = |option, value: u64| match value {
            0 => Err(ConfigError::Invalid { option, message: "must be 1 or more".to_owned() }),
            value => Ok(value),
        };
        let workers = pick(self.workers, file.workers, WORKERS);
        positive("--workers", workers as u64)?;
        let resync =
            positive("--resync-seconds", pick(self.resync_seconds, file.resync_seconds, RESYNC_SECONDS))?;
        let File { api, admin, election, telemetry, .. } = file;
        let sections = ControllerSections { api, admin, election, telemetry };
        let user_agent = concat!("krake-gc/", env!("CARGO_PKG_VERSION"));
        let controller = self.controller.resolve(sections, user_agent)?;
        Ok(Config { controller, workers, resync: Duration::from_secs(resync) })
    }
}

impl Config {
    /// The defaults.
    pub fn new(controller: ControllerConfig) -> Self {
        Config { controller, workers: WORKERS, resync: Duration::from_secs(RESYNC_SECONDS) }
    }
}

impl ProcessConfig for Config {
    fn telemetry(&self) -> &TelemetryConfig {
        &self.controller.telemetry
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
        let Config { workers, resync, controller } =
            Config::new(ControllerConfig::new(config.controller.connect));
        assert_eq!((config.workers, config.resync), (workers, resync));
        assert!(controller.election.enabled);
        assert_eq!((config.workers, config.resync), (4, Duration::from_secs(300)));
        assert!(resolve(&["--workers", "0"]).unwrap_err().to_string().contains("--workers"));
        assert!(resolve(&["--api-url", "localhost"]).unwrap_err().to_string().contains("--api-url"));
    }
}
