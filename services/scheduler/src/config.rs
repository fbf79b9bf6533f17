//! Settings: command line, environment and file.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use jiff::Timestamp;
use krake_runtime::address::{AddressPolicy, Cidr};
use krake_runtime::admin::AdminSection;
use krake_runtime::config::{ApiArgs, ConfigError, pick};
use krake_runtime::controller::{ControllerArgs, ControllerConfig, ControllerSections};
use krake_runtime::leadership::ElectionSection;
use krake_runtime::process::ProcessConfig;
use krake_runtime::telemetry::{TelemetryArgs, TelemetryConfig};
use serde::Deserialize;

use crate::controller::Clock;
use crate::decide::Options;

/// Default time between two questions to a metrics provider.
const METRICS_INTERVAL: Duration = Duration::from_secs(10);
/// Default number of bindings that are written at the same time.
const WORKERS: usize = 16;

/// Chooses the cluster for every application, by constraints and metrics, and moves applications to better ones.
///
/// Keeps no state of its own: stop it at any time, start it again anywhere. Of several replicas one schedules and the
/// others stand by.
///
/// Settings may come from flags, from environment variables, or from a YAML file with the sections api (url, ca,
/// cert, key), admin (listen), election (enabled, ttl_seconds), telemetry (log_level, log_format, otlp_endpoint) and rules (keys named as
/// the flags: reschedule_after, …; allow_metrics_addresses is a list).
#[derive(Debug, Parser)]
#[command(name = "krake-scheduler", version)]
pub struct Args {
    #[command(flatten)]
    rules: Rules,
    // Last: the headings of its groups would hold for what follows.
    #[command(flatten)]
    controller: ControllerArgs<7702>,
}

/// How decisions are made.
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rules {
    /// Seconds that an application stays on its cluster before a better one can draw it away. [default: 60]
    #[arg(long, env = "KRAKE_RESCHEDULE_AFTER", value_name = "SECONDS")]
    reschedule_after: Option<f64>,
    /// Advantage of the present cluster: added to its score with this weight and the value 1. [default: 0.1]
    #[arg(long, env = "KRAKE_STICKINESS", value_name = "WEIGHT")]
    stickiness: Option<f64>,
    /// Seconds that a cluster may not answer before its applications move, from the first probe that failed.
    /// [default: 60]
    #[arg(long, env = "KRAKE_OFFLINE_GRACE", value_name = "SECONDS")]
    offline_grace: Option<f64>,
    /// Seconds that a cluster may answer as no Kubernetes API that works before its applications move. [default: 600]
    #[arg(long, env = "KRAKE_BROKEN_GRACE", value_name = "SECONDS")]
    broken_grace: Option<f64>,
    /// Seconds that a cluster may refuse Krake's credentials before its applications move. They run on there, and nothing
    /// can stop them: each then runs twice. [default: never]
    #[arg(long, env = "KRAKE_UNAUTHORIZED_FAILOVER_AFTER", value_name = "SECONDS")]
    unauthorized_failover_after: Option<f64>,
    /// Seconds that a cluster is no candidate for an application after its copy failed there while another one still
    /// ran. Doubles with every further failure. [default: 600]
    #[arg(long, env = "KRAKE_FAILURE_COOLDOWN", value_name = "SECONDS")]
    failure_cooldown: Option<f64>,
    /// Maximum number of clusters that one spec of an application is tried on while nothing of it runs; at most 2 if the
    /// spec is to blame. [default: 3]
    #[arg(long, env = "KRAKE_MAX_CANDIDATES", value_name = "NUMBER")]
    max_candidates: Option<usize>,
    /// Seconds between two queries of a metrics provider. [default: 10]
    #[arg(long, env = "KRAKE_METRICS_INTERVAL", value_name = "SECONDS")]
    metrics_interval: Option<f64>,
    /// Range of addresses, such as `10.0.0.0/8`, that metrics providers may have whatever else holds; may be given several
    /// times. Otherwise link-local addresses and those of clouds' metadata services are refused.
    #[arg(
        long = "allow-metrics-address",
        env = "KRAKE_ALLOW_METRICS_ADDRESS",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    allow_metrics_addresses: Vec<Cidr>,
    /// Maximum number of bindings that are written concurrently. [default: 16]
    #[arg(long, env = "KRAKE_WORKERS", value_name = "NUMBER")]
    workers: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    api: ApiArgs,
    admin: AdminSection,
    election: ElectionSection,
    telemetry: TelemetryArgs,
    rules: Rules,
}

/// The settings in force.
#[derive(Clone)]
pub struct Config {
    /// Settings that all controllers share.
    pub controller: ControllerConfig,
    /// How decisions are made.
    pub options: Options,
    /// Time between two questions to a metrics provider.
    pub metrics_interval: Duration,
    /// Which addresses metrics providers may have.
    pub metrics_addresses: AddressPolicy,
    /// Maximum number of bindings that are written concurrently.
    pub workers: usize,
    /// The time that decisions are made at.
    pub clock: Clock,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Config { controller, options, metrics_interval, metrics_addresses, workers, clock: _ } = self;
        f.debug_struct("Config")
            .field("controller", controller)
            .field("options", options)
            .field("metrics_interval", metrics_interval)
            .field("metrics_addresses", metrics_addresses)
            .field("workers", workers)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The defaults.
    pub fn new(controller: ControllerConfig) -> Self {
        Config {
            controller,
            options: Options::default(),
            metrics_interval: METRICS_INTERVAL,
            metrics_addresses: metrics_addresses(Vec::new()),
            workers: WORKERS,
            clock: Arc::new(Timestamp::now),
        }
    }
}

impl Args {
    /// Flags win over environment variables, those over the file, that over the defaults.
    ///
    /// # Errors
    /// When the file cannot be read, or a setting makes no sense; the text names it.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let file: File = self.controller.read_file()?;
        let (rules, filed) = (self.rules, file.rules);
        let File { api, admin, election, telemetry, .. } = file;
        let sections = ControllerSections { api, admin, election, telemetry };
        let user_agent = concat!("krake-scheduler/", env!("CARGO_PKG_VERSION"));
        let controller = self.controller.resolve(sections, user_agent)?;
        let interval = seconds(
            "--metrics-interval",
            pick(rules.metrics_interval, filed.metrics_interval, METRICS_INTERVAL.as_secs_f64()),
        )?;
        let workers = pick(rules.workers, filed.workers, WORKERS);
        if interval < Duration::from_millis(100) {
            return Err(invalid("--metrics-interval", "must be at least 0.1"));
        }
        let max_candidates = pick(rules.max_candidates, filed.max_candidates, 3);
        if max_candidates == 0 {
            return Err(invalid("--max-candidates", "must be 1 or more"));
        }
        if workers == 0 {
            return Err(invalid("--workers", "must be 1 or more"));
        }
        Ok(Config {
            options: Options {
                reschedule_after: seconds(
                    "--reschedule-after",
                    pick(rules.reschedule_after, filed.reschedule_after, 60.0),
                )?,
                stickiness: weight(pick(rules.stickiness, filed.stickiness, 0.1))?,
                offline_grace: seconds(
                    "--offline-grace",
                    pick(rules.offline_grace, filed.offline_grace, 60.0),
                )?,
                broken_grace: seconds("--broken-grace", pick(rules.broken_grace, filed.broken_grace, 600.0))?,
                unauthorized_failover_after: rules
                    .unauthorized_failover_after
                    .or(filed.unauthorized_failover_after)
                    .map(|value| seconds("--unauthorized-failover-after", value))
                    .transpose()?,
                failure_cooldown: seconds(
                    "--failure-cooldown",
                    pick(rules.failure_cooldown, filed.failure_cooldown, 600.0),
                )?,
                max_candidates,
            },
            metrics_interval: interval,
            metrics_addresses: metrics_addresses(match rules.allow_metrics_addresses.is_empty() {
                true => filed.allow_metrics_addresses,
                false => rules.allow_metrics_addresses,
            }),
            workers,
            ..Config::new(controller)
        })
    }
}

/// Providers may be on the scheduler's own machine, as a Prometheus beside it is.
fn metrics_addresses(allowed: Vec<Cidr>) -> AddressPolicy {
    AddressPolicy { loopback: true, allowed }
}

fn invalid(option: &'static str, message: &str) -> ConfigError {
    ConfigError::Invalid { option, message: message.to_owned() }
}

fn seconds(option: &'static str, value: f64) -> Result<Duration, ConfigError> {
    Duration::try_from_secs_f64(value).map_err(|_| invalid(option, "must be a number of seconds, 0 or more"))
}

fn weight(value: f64) -> Result<f64, ConfigError> {
    if value.is_finite() && value >= 0.0 {
        Ok(value)
    } else {
        Err(invalid("--stickiness", "must be 0 or more"))
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
        Args::try_parse_from(["krake-scheduler"].iter().chain(args)).unwrap().resolve()
    }

    #[test]
    fn defaults_are_upstreams_and_values_are_checked() {
        let config = resolve(&[]).unwrap();
        assert_eq!(config.options, Options::default());
        assert_eq!(config.metrics_interval, Duration::from_secs(10));
        let quick = resolve(&["--reschedule-after", "5", "--metrics-interval", "0.5"]).unwrap();
        assert_eq!(quick.options.reschedule_after, Duration::from_secs(5));
        let brave = resolve(&["--unauthorized-failover-after", "3600"]).unwrap();
        assert_eq!(brave.options.unauthorized_failover_after, Some(Duration::from_secs(3600)));
        let allowed =
            resolve(&["--allow-metrics-address", "169.254.0.0/16,fe80::/10"]).unwrap().metrics_addresses;
        assert_eq!((allowed.loopback, allowed.allowed.len()), (true, 2));
        for wrong in [
            ["--unauthorized-failover-after", "inf"],
            ["--stickiness", "NaN"],
            ["--reschedule-after", "inf"],
            ["--failure-cooldown", "nan"],
            ["--metrics-interval", "0"],
            ["--workers", "0"],
            ["--max-candidates", "0"],
        ] {
            let error = resolve(&wrong).unwrap_err().to_string();
            assert!(error.starts_with(wrong[0]), "{error}");
        }
    }
}
