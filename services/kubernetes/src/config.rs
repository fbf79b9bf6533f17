//! Settings: command line, environment and file.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use jiff::Timestamp;
use krake_runtime::admin::AdminSection;
use krake_runtime::config::{ApiArgs, ConfigError, pick};
use krake_runtime::controller::{ControllerArgs, ControllerConfig, ControllerSections};
use krake_runtime::leadership::ElectionSection;
use krake_runtime::process::ProcessConfig;
use krake_runtime::telemetry::{TelemetryArgs, TelemetryConfig};
use serde::Deserialize;

use crate::cluster::ProbeTimes;
use crate::cluster::address::{AddressPolicy, Cidr};
use crate::cluster::clusters::Opener;
use crate::controller::applies::LONGEST_PART;
use crate::controller::pauses::SlowRetries;
use crate::controller::surveys::SweepTimes;

/// Default number of applications that are worked on at the same time.
const WORKERS: usize = 32;
/// Default shortest time between two reports of what is seen of one copy: what changes all the time is shown with this delay.
const OBSERVATION_INTERVAL: Duration = Duration::from_secs(10);
/// Default number of seconds that a new copy may take to become available.
const ROLLOUT_DEADLINE: u64 = 300;
/// Default number of seconds that objects which are removed together may take to be gone.
const REMOVAL_DEADLINE: u64 = 300;

/// Tells the time; a parameter so that simulations can.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Runs applications on Kubernetes clusters: applies their objects, watches and repairs them, moves and removes them; and
/// reports the health of the clusters.
///
/// Keeps no state of its own: stop it at any time, start it again anywhere. Of several replicas one works and the
/// others stand by. It must be able to reach the API servers of all registered clusters.
///
/// Settings may come from flags, from environment variables, or from a YAML file with the sections api (url, ca,
/// cert, key), admin (listen), election (enabled, ttl_seconds), telemetry (log_level, log_format, otlp_endpoint) and
/// the keys workers, rollout_deadline, removal_deadline and allow_cluster_addresses (a list).
#[derive(Debug, Parser)]
#[command(name = "krake-kubernetes", version)]
pub struct Args {
    /// Maximum number of applications that are worked on concurrently. [default: 32]
    #[arg(long, env = "KRAKE_WORKERS", value_name = "NUMBER")]
    workers: Option<usize>,
    /// Seconds within which a new copy must be applied and its workloads available; otherwise the copy has failed, and one
    /// that it was to replace stays. Time in which its cluster does not answer does not count. [default: 300]
    #[arg(long, env = "KRAKE_ROLLOUT_DEADLINE", value_name = "SECONDS")]
    rollout_deadline: Option<u64>,
    /// Seconds within which objects that are removed together should be gone: custom resources, then workloads, then
    /// definitions, then namespaces. After that the application's status names what is left and how to give it up.
    /// [default: 300]
    #[arg(long, env = "KRAKE_REMOVAL_DEADLINE", value_name = "SECONDS")]
    removal_deadline: Option<u64>,
    /// Range of addresses, such as `10.0.0.0/8`, that clusters may have whatever else holds; may be given several
    /// times. Otherwise link-local addresses, those of clouds' metadata services and those of this machine are refused,
    /// and credentials over http. `127.0.0.0/8,::1` allows clusters on this machine, as kind and minikube make.
    #[arg(
        long = "allow-cluster-address",
        env = "KRAKE_ALLOW_CLUSTER_ADDRESS",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    allow_cluster_addresses: Vec<Cidr>,
    // Last: the headings of its groups would hold for what follows.
    #[command(flatten)]
    controller: ControllerArgs<7704>,
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
    removal_deadline: Option<u64>,
    allow_cluster_addresses: Vec<String>,
}

/// The settings in force.
#[derive(Clone)]
pub struct Config {
    /// Settings that all controllers share.
    pub controller: ControllerConfig,
    /// Maximum number of applications that are worked on concurrently.
    pub workers: usize,
    /// Maximum time that a new copy takes to become available.
    pub rollout_deadline: Duration,
    /// Maximum time that objects which are removed together take before the status offers to give them up.
    pub removal_deadline: Duration,
    /// Pauses between attempts at a copy that failed, and at an update that was refused.
    pub slow_retries: SlowRetries,
    /// How long objects of one copy are written before what was accepted so far is recorded.
    pub longest_part: Duration,
    /// Shortest time between two reports of what is seen of one copy.
    pub observation_interval: Duration,
    /// How connections to clusters are made.
    pub opener: Opener,
    /// Intervals and timeouts of the probes of clusters.
    pub probe: ProbeTimes,
    /// Intervals of the orphan surveys of clusters.
    pub sweep: SweepTimes,
    /// The time that records of copies begin at.
    pub clock: Clock,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config {
            controller,
            workers,
            rollout_deadline,
            removal_deadline,
            slow_retries,
            longest_part,
            observation_interval,
            probe,
            sweep,
            ..
        } = self;
        f.debug_struct("Config")
            .field("controller", controller)
            .field("workers", workers)
            .field("rollout_deadline", rollout_deadline)
            .field("removal_deadline", removal_deadline)
            .field("slow_retries", slow_retries)
            .field("longest_part", longest_part)
            .field("observation_interval", observation_interval)
            .field("probe", probe)
            .field("sweep", sweep)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The defaults.
    pub fn new(controller: ControllerConfig) -> Self {
        Config {
            workers: WORKERS,
            rollout_deadline: Duration::from_secs(ROLLOUT_DEADLINE),
            removal_deadline: Duration::from_secs(REMOVAL_DEADLINE),
            slow_retries: SlowRetries::default(),
            longest_part: LONGEST_PART,
            observation_interval: OBSERVATION_INTERVAL,
            opener: Opener::default(),
            probe: ProbeTimes::default(),
            sweep: SweepTimes::default(),
            clock: Arc::new(Timestamp::now),
            controller,
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
        let workers = pick(self.workers, file.workers, WORKERS);
        let deadline = pick(self.rollout_deadline, file.rollout_deadline, ROLLOUT_DEADLINE);
        let removal = pick(self.removal_deadline, file.removal_deadline, REMOVAL_DEADLINE);
        for (option, zero) in [
            ("--workers", workers == 0),
            ("--rollout-deadline", deadline == 0),
            ("--removal-deadline", removal == 0),
        ] {
            if zero {
                return Err(ConfigError::Invalid { option, message: "must be 1 or more".to_owned() });
            }
        }
        let mut allowed = self.allow_cluster_addresses;
        if allowed.is_empty() {
            let ranges = file.allow_cluster_addresses.iter().map(|range| range.parse());
            allowed = ranges
                .collect::<Result<_, String>>()
                .map_err(|message| ConfigError::Invalid { option: "--allow-cluster-address", message })?;
        }
        let File { api, admin, election, telemetry, .. } = file;
        let sections = ControllerSections { api, admin, election, telemetry };
        let user_agent = concat!("krake-kubernetes/", env!("CARGO_PKG_VERSION"));
        let controller = self.controller.resolve(sections, user_agent)?;
        let addresses = AddressPolicy { loopback: false, allowed };
        Ok(Config {
            workers,
            rollout_deadline: Duration::from_secs(deadline),
            removal_deadline: Duration::from_secs(removal),
            opener: Opener::over_network(addresses),
            ..Config::new(controller)
        })
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
    use crate::cluster::connection::Deadlines;

    #[test]
    fn flags_are_checked_and_default() {
        let resolve = |args: &[&str]| Args::try_parse_from(["x"].iter().chain(args)).unwrap().resolve();
        let config = resolve(&[]).unwrap();
        assert_eq!((config.workers, config.rollout_deadline), (32, Duration::from_secs(300)));
        assert!(resolve(&["--allow-cluster-address", "10.0.0.0/8,127.0.0.1"]).is_ok());
        assert!(Args::try_parse_from(["x", "--allow-cluster-address", "10"]).is_err());
        assert!(resolve(&["--workers", "0"]).unwrap_err().to_string().starts_with("--workers"));
    }

    #[tokio::test]
    async fn clusters_of_this_machine_are_for_a_flag_to_allow_wherever_the_api_is() {
        let kubeconfig = serde_json::json!({
            "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443"}}],
            "users": [{"name": "u", "user": {"token": "s3cret"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]
        });
        let open = |more: &[&str]| {
            // The near end of a tunnel, perhaps.
            let args = [&["x", "--api-url", "http://127.0.0.1:7700"], more].concat();
            let config = Args::try_parse_from(args).unwrap().resolve().unwrap();
            config.opener.open(&kubeconfig, Deadlines::default())
        };
        let refused = open(&[]).unwrap_err().to_string();
        assert!(refused.contains("--allow-cluster-address 127.0.0.1"), "{refused}");
        assert!(open(&["--allow-cluster-address", "127.0.0.0/8,::1"]).is_ok());
    }
}
