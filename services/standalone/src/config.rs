//! Settings: command line, environment and file.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use krake_kubernetes::cluster::address::{AddressPolicy, Cidr};
use krake_runtime::admin::{AdminArgs, AdminSection};
use krake_runtime::config::{ConfigError, ConfigFileArgs, listen_address, pick};
use krake_runtime::process::ProcessConfig;
use krake_runtime::serve::{ConnectionLimits, HostRules, ListenerArgs};
use krake_runtime::telemetry::{TelemetryArgs, TelemetryConfig};
use krake_state::Authentication;
use serde::Deserialize;

use crate::demo;

/// Krake in one process: the API, its REST gateway and all controllers, on an embedded store in one folder.
///
/// Nothing else is needed. Ctrl-C stops it in order; started again on the same folder, everything is still there. To run
/// several replicas, or with TLS, run the services one by one (krake-state, krake-gateway, krake-scheduler, krake-gc,
/// krake-kubernetes) on an etcd.
///
/// Settings may come from flags, from environment variables, or from a YAML file with the sections admin (listen),
/// telemetry (log_level, log_format, otlp_endpoint), rules (reschedule_after, metrics_interval), listener
/// (max_connections, max_connections_per_peer, allowed_hosts) and the keys data_dir, listen, rest_listen, allow_anonymous
/// and static_user.
#[derive(Debug, Parser)]
#[command(name = "krake", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  krake demo                        see Krake do its main job on three simulated clusters
  krake                             start it; then: rok kube app list
  krake --data-dir ./team-a --listen 127.0.0.1:7800 --rest-listen 127.0.0.1:8090 --admin-listen 127.0.0.1:7801";

/// What else there is to do.
#[derive(Debug, Subcommand)]
enum Command {
    Demo(DemoArgs),
}

/// Shows the main job: three simulated clusters in three countries, an application, and wind that turns.
///
/// Places examples/echo-demo.yaml where most wind power is, moves it when the wind turns, and prints what the API shows as
/// it happens. Clusters, pods and wind are simulated, inside of this process; all else is Krake as it is. Applications
/// stay only a few seconds on their cluster (--reschedule-after), and metrics are read every second.
#[derive(Debug, clap::Args)]
struct DemoArgs {
    /// End after the story: with 0, or with 1 if something did not happen in time. Otherwise Krake stays up until Ctrl-C.
    #[arg(long)]
    exit: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, clap::Args)]
struct Settings {
    #[command(flatten)]
    file: ConfigFileArgs,
    /// Folder with everything that is kept; made if it is not there, for its owner's eyes only. One process at a time
    /// may use it. [default: krake in $XDG_DATA_HOME or ~/.local/share; for the demo: krake-demo]
    #[arg(long, env = "KRAKE_DATA_DIR", value_name = "PATH")]
    data_dir: Option<PathBuf>,
    /// Address and port of the gRPC API; port 0 takes a free one. [default: 127.0.0.1:7700]
    #[arg(long, env = "KRAKE_LISTEN", value_name = "ADDRESS", value_parser = listen_address)]
    listen: Option<SocketAddr>,
    /// Address and port of the REST API; port 0 takes a free one. [default: 127.0.0.1:8080]
    #[arg(long, env = "KRAKE_REST_LISTEN", value_name = "ADDRESS", value_parser = listen_address)]
    rest_listen: Option<SocketAddr>,
    #[command(flatten)]
    admin: AdminArgs<7701>,
    /// Accept callers without credentials. [default: true, unless an API listens on more than this machine's own
    /// loopback addresses]
    #[arg(long, env = "KRAKE_ALLOW_ANONYMOUS", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    allow_anonymous: Option<bool>,
    /// Authenticate every caller as this user, whatever its credentials.
    #[arg(long, env = "KRAKE_STATIC_USER", value_name = "NAME")]
    static_user: Option<String>,
    /// Range of addresses, such as `10.0.0.0/8`, that clusters may have whatever else holds; may be given several
    /// times. Otherwise some are refused: see `krake-kubernetes --help`.
    #[arg(
        long = "allow-cluster-address",
        env = "KRAKE_ALLOW_CLUSTER_ADDRESS",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    allow_cluster_addresses: Vec<Cidr>,
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    listener: ListenerArgs,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

/// How decisions are made. In the file: section `rules`.
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rules {
    /// Seconds that an application stays on its cluster before a better one can draw it away.
    /// [default: 60; for the demo: 2]
    #[arg(long, env = "KRAKE_RESCHEDULE_AFTER", value_name = "SECONDS")]
    reschedule_after: Option<f64>,
    /// Seconds between two questions to a metrics provider. [default: 10; for the demo: 1]
    #[arg(long, env = "KRAKE_METRICS_INTERVAL", value_name = "SECONDS")]
    metrics_interval: Option<f64>,
    /// Range of addresses that metrics providers may have whatever else holds: see `krake-scheduler --help`.
    #[arg(long, env = "KRAKE_ALLOW_METRICS_ADDRESS", value_name = "CIDR", value_delimiter = ',')]
    #[serde(rename = "allow_metrics_addresses")]
    allow_metrics_address: Vec<Cidr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    data_dir: Option<PathBuf>,
    listen: Option<SocketAddr>,
    rest_listen: Option<SocketAddr>,
    admin: AdminSection,
    allow_anonymous: Option<bool>,
    static_user: Option<String>,
    rules: Rules,
    listener: ListenerArgs,
    telemetry: TelemetryArgs,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Task {
    /// Run Krake.
    Serve(Config),
    /// Run the demo.
    Demo(demo::Config),
}

/// The settings in force.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder with everything that is kept.
    pub data_dir: PathBuf,
    /// Where the gRPC API is served.
    pub listen: Listen,
    /// Where the REST API is served.
    pub rest: Listen,
    /// Where metrics and probes are served.
    pub admin: Listen,
    /// Who may call.
    pub authentication: Authentication,
    /// Limits of connections, for gRPC and for REST each.
    pub limits: ConnectionLimits,
    /// By which host names the APIs may be called.
    pub hosts: HostRules,
    /// Which addresses clusters may have.
    pub cluster_addresses: AddressPolicy,
    /// Which addresses metrics providers may have beside the usual ones.
    pub metrics_addresses: Vec<Cidr>,
    /// Minimum time that an application stays before it moves to a better cluster.
    pub reschedule_after: Duration,
    /// Time between two questions to a metrics provider.
    pub metrics_interval: Duration,
    /// What to log and where to send traces.
    pub telemetry: TelemetryConfig,
}

impl Config {
    /// The defaults, with everything in this folder and on free ports of this machine's own.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let free = Listen { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), or_free: false };
        Config {
            data_dir: data_dir.into(),
            listen: free,
            rest: free,
            admin: free,
            authentication: Authentication { static_user: None, allow_anonymous: true },
            limits: ConnectionLimits::default(),
            hosts: HostRules::default(),
            cluster_addresses: AddressPolicy { loopback: true, allowed: Vec::new() },
            metrics_addresses: Vec::new(),
            reschedule_after: Duration::from_secs_f64(SERVE.reschedule_after),
            metrics_interval: Duration::from_secs_f64(SERVE.metrics_interval),
            telemetry: TelemetryConfig::default(),
        }
    }
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Take a free port if this one is in use: it is a default, which the user did not choose.
    pub or_free: bool,
}

/// What differs between Krake and its demo where nothing is said.
struct Defaults {
    folder: &'static str,
    or_free: bool,
    log_level: &'static str,
    reschedule_after: f64,
    metrics_interval: f64,
}

const SERVE: Defaults = Defaults {
    folder: "krake",
    or_free: false,
    log_level: "info",
    reschedule_after: 60.0,
    metrics_interval: 10.0,
};

/// The story is on the terminal: what is not a problem need not stand between its lines.
const DEMO: Defaults = Defaults {
    folder: "krake-demo",
    or_free: true,
    log_level: "warn",
    reschedule_after: 2.0,
    metrics_interval: 1.0,
};

impl Args {
    /// Flags win over environment variables, those over the file, that over the defaults.
    ///
    /// # Errors
    /// When the file cannot be read, or a setting makes no sense; the text names it.
    pub fn resolve(self) -> Result<Task, ConfigError> {
        match self.command {
            Some(Command::Demo(demo)) => {
                let krake = demo.settings.resolve(&DEMO)?;
                Ok(Task::Demo(demo::Config { krake, exit: demo.exit }))
            }
            None => self.settings.resolve(&SERVE).map(Task::Serve),
        }
    }
}

impl Settings {
    fn resolve(self, defaults: &Defaults) -> Result<Config, ConfigError> {
        let mut file: File = self.file.read()?;
        let listen = |given: Option<SocketAddr>, port| match given {
            Some(address) => Listen { address, or_free: false },
            None => {
                Listen { address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), or_free: defaults.or_free }
            }
        };
        let api = listen(self.listen.or(file.listen), 7700);
        let rest = listen(self.rest_listen.or(file.rest_listen), 8080);
        let local = api.address.ip().is_loopback() && rest.address.ip().is_loopback();
        let authentication = Authentication {
            static_user: self.static_user.or(file.static_user),
            allow_anonymous: pick(self.allow_anonymous, file.allow_anonymous, local),
        };
        if authentication == Authentication::default() {
            return Err(ConfigError::Invalid {
                option: "--allow-anonymous",
                message: "no caller would be served, not even Krake's own controllers: set --allow-anonymous, or name \
                          the user of all callers by --static-user. Any caller that reaches the API may then do \
                          everything"
                    .to_owned(),
            });
        }
        file.telemetry.log_level.get_or_insert_with(|| defaults.log_level.to_owned());
        let (rules, filed) = (self.rules, file.rules);
        let metrics_interval = seconds(
            "--metrics-interval",
            pick(rules.metrics_interval, filed.metrics_interval, defaults.metrics_interval),
        )?;
        if metrics_interval < Duration::from_millis(100) {
            let message = "must be at least 0.1".to_owned();
            return Err(ConfigError::Invalid { option: "--metrics-interval", message });
        }
        let (limits, hosts) = self.listener.resolve(file.listener)?;
        Ok(Config {
            data_dir: self.data_dir.or(file.data_dir).unwrap_or_else(|| default_folder(defaults.folder)),
            listen: api,
            rest,
            admin: listen(self.admin.admin_listen.or(file.admin.listen), 7701),
            authentication,
            limits,
            hosts,
            cluster_addresses: AddressPolicy {
                loopback: api.address.ip().is_loopback() && rest.address.ip().is_loopback(),
                allowed: self.allow_cluster_addresses,
            },
            metrics_addresses: [rules.allow_metrics_address, filed.allow_metrics_address].concat(),
            reschedule_after: seconds(
                "--reschedule-after",
                pick(rules.reschedule_after, filed.reschedule_after, defaults.reschedule_after),
            )?,
            metrics_interval,
            telemetry: self.telemetry.resolve(file.telemetry)?,
        })
    }
}

fn seconds(option: &'static str, value: f64) -> Result<Duration, ConfigError> {
    let message = "must be a number of seconds, 0 or more".to_owned();
    Duration::try_from_secs_f64(value).map_err(|_| ConfigError::Invalid { option, message })
}

/// Where the XDG base directory specification wants data; the current folder for users without a home.
fn default_folder(name: &str) -> PathBuf {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    data.unwrap_or_default().join(name)
}

impl ProcessConfig for Config {
    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn serve(args: &[&str]) -> Result<Config, ConfigError> {
        match Args::try_parse_from(["krake"].iter().chain(args)).unwrap().resolve()? {
            Task::Serve(config) => Ok(config),
            Task::Demo(_) => panic!("not the demo"),
        }
    }

    #[test]
    fn defaults_are_local_and_the_demo_is_quick_and_takes_other_ports() {
        Args::command().debug_assert();
        let config = serve(&[]).unwrap();
        for (listen, port) in [(config.listen, 7700), (config.rest, 8080), (config.admin, 7701)] {
            assert_eq!(listen, Listen { address: SocketAddr::from(([127, 0, 0, 1], port)), or_free: false });
        }
        assert_eq!((config.reschedule_after.as_secs(), config.metrics_interval.as_secs()), (60, 10));
        assert!(config.authentication.allow_anonymous && config.data_dir.ends_with("krake"));

        let args = ["krake", "demo", "--exit", "--listen", "127.0.0.1:7800"];
        let Ok(Task::Demo(demo)) = Args::try_parse_from(args).unwrap().resolve() else { panic!("the demo") };
        assert!(demo.exit && demo.krake.data_dir.ends_with("krake-demo"));
        assert_eq!(demo.krake.reschedule_after.as_secs(), 2);
        assert!(!demo.krake.listen.or_free, "a port that was asked for is meant");
        assert!(demo.krake.rest.or_free && demo.krake.admin.or_free);
    }

    #[test]
    fn services_that_run_side_by_side_listen_by_variables_of_their_own() {
        let variable = |command: clap::Command| {
            let listen = command.get_arguments().find(|arg| arg.get_id() == "listen").cloned();
            listen.and_then(|arg| arg.get_env().map(|name| name.to_string_lossy().into_owned()))
        };
        let services = [
            krake_state::config::Args::command(),
            krake_gateway::Args::command(),
            krake_cluster_sim::Args::command(),
        ];
        let variables = services.map(variable);
        let expected = ["KRAKE_LISTEN", "KRAKE_REST_LISTEN", "KRAKE_CLUSTER_SIM_LISTEN"];
        assert_eq!(variables, expected.map(|name| Some(name.to_owned())));
    }

    #[test]
    fn a_name_in_place_of_an_address_is_an_error_that_says_so() {
        for option in ["--listen", "--rest-listen", "--admin-listen"] {
            let error = Args::try_parse_from(["krake", option, "localhost:0"]).unwrap_err().to_string();
            assert!(error.contains(option) && error.contains("names such as localhost"), "{error}");
        }
    }

    #[test]
    fn an_api_that_is_open_to_other_hosts_needs_a_decision_on_callers() {
        for wrong in [["--listen", "0.0.0.0:7700"], ["--rest-listen", "[::]:0"]] {
            let error = serve(&wrong).unwrap_err().to_string();
            assert!(error.starts_with("--allow-anonymous"), "{error}");
            let open = serve(&[wrong[0], wrong[1], "--allow-anonymous"]).unwrap();
            assert!(open.authentication.allow_anonymous);
            let named = serve(&[wrong[0], wrong[1], "--static-user", "alice"]).unwrap();
            assert_eq!(named.authentication.static_user.as_deref(), Some("alice"));
        }
    }

    #[test]
    fn wrong_numbers_name_their_option() {
        for wrong in [["--reschedule-after", "inf"], ["--metrics-interval", "0"]] {
            let error = serve(&wrong).unwrap_err().to_string();
            assert!(error.starts_with(wrong[0]), "{error}");
        }
    }
}
