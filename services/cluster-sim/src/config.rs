//! Settings: command line, environment and file.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use krake_runtime::admin::{AdminArgs, AdminSection};
use krake_runtime::config::{ConfigError, ConfigFileArgs, listen_address, pick};
use krake_runtime::process::ProcessConfig;
use krake_runtime::telemetry::{TelemetryArgs, TelemetryConfig};
use serde::Deserialize;

/// Simulated Kubernetes API servers: for demos, for tests of scale, and for faults on demand.
///
/// Every cluster answers at /clusters/NAME as a Kubernetes 1.35 API server does, as far as Krake's adapter and kubectl's
/// everyday commands use one; whatever is not simulated is answered with 501. No container runs: workloads become ready
/// after a while. Everything is in memory and gone when the process ends.
///
/// PUT /clusters/NAME/faults, without credentials, replaces the faults of a cluster, and GET shows them. The body is
/// JSON, {} for none: delay_ms; down (refuse, hang, unavailable); conflicts and too_many_requests (numbers of requests);
/// retry_after_seconds; cut_watches_after_ms; expire_watches; identity (uid of kube-system); rules. A rule gives a fault
/// to some requests: {"verbs": ["create", "apply"], "kinds": ["deployments"], "fault": {"code": 403}, "times": 3}. Verbs
/// are get, list, watch, create, update, patch (apply included), apply and delete; kinds are plurals such as deployments
/// or deployments.apps, or discovery; without verbs, kinds or times it is for all. Faults are {"code": N} with 401, 403,
/// 404, 409, 422, 429, 500 or 503, "hang", "cut" (in the middle of the answer), {"slow": {"bytes_per_second": N}},
/// {"huge": {"bytes": N}} and "bad_json".
///
/// Settings may come from flags, from environment variables, or from a YAML file with the sections admin (listen) and
/// telemetry (log_level, log_format, otlp_endpoint) and the keys listen, clusters, count, nodes, ready_after,
/// kubeconfig_dir, advertise and insecure_http.
#[derive(Debug, Parser)]
#[command(name = "krake-cluster-sim", version)]
pub struct Args {
    #[command(flatten)]
    file: ConfigFileArgs,
    /// Address and port to serve all clusters on. [default: 127.0.0.1:7710]
    #[arg(long, env = "KRAKE_CLUSTER_SIM_LISTEN", value_name = "ADDRESS", value_parser = listen_address)]
    listen: Option<SocketAddr>,
    /// Names of the clusters.
    #[arg(
        long,
        env = "KRAKE_CLUSTERS",
        value_name = "NAME",
        value_delimiter = ',',
        conflicts_with = "count"
    )]
    clusters: Option<Vec<String>>,
    /// Number of clusters, named sim-0, sim-1, … [default: 1]
    #[arg(long, env = "KRAKE_COUNT", value_name = "NUMBER")]
    count: Option<usize>,
    /// Nodes of each cluster. [default: 1]
    #[arg(long, env = "KRAKE_NODES", value_name = "NUMBER")]
    nodes: Option<usize>,
    /// Seconds that pods take to become ready. [default: 1]
    #[arg(long, env = "KRAKE_READY_AFTER", value_name = "SECONDS")]
    ready_after: Option<f64>,
    /// Folder for one kubeconfig per cluster, NAME.yaml, for its owner's eyes only; made if it is not there. A kubeconfig
    /// of an earlier run is replaced.
    #[arg(long, env = "KRAKE_KUBECONFIG_DIR", value_name = "PATH")]
    kubeconfig_dir: Option<PathBuf>,
    /// URL by which clients reach this process, for the kubeconfigs. [default: https:// and the address served on]
    #[arg(long, env = "KRAKE_ADVERTISE", value_name = "URL")]
    advertise: Option<String>,
    /// Serve plain HTTP. By default the clusters are served by TLS, and the kubeconfigs hold the authority, which is also
    /// written to ca.crt beside them. kubectl sends no token by plain HTTP.
    #[arg(long, env = "KRAKE_INSECURE_HTTP")]
    insecure_http: bool,
    #[command(flatten)]
    admin: AdminArgs<7709>,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

/// The file's form.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    clusters: Option<Vec<String>>,
    count: Option<usize>,
    nodes: Option<usize>,
    ready_after: Option<f64>,
    kubeconfig_dir: Option<PathBuf>,
    advertise: Option<String>,
    insecure_http: bool,
    admin: AdminSection,
    telemetry: TelemetryArgs,
}

/// The settings in force.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where all clusters are served.
    pub listen: SocketAddr,
    /// Names of the clusters.
    pub clusters: Vec<String>,
    /// Nodes of each cluster.
    pub nodes: usize,
    /// Time that pods take to become ready.
    pub ready_after: Duration,
    /// Where one kubeconfig per cluster is written.
    pub kubeconfig_dir: Option<PathBuf>,
    /// URL for the kubeconfigs; the address served on if absent.
    pub advertise: Option<String>,
    /// Whether plain HTTP is served in place of TLS.
    pub insecure_http: bool,
    /// Where metrics and health are served.
    pub admin: SocketAddr,
    /// What to log and where to send traces.
    pub telemetry: TelemetryConfig,
}

impl Args {
    /// Flags win over environment variables, those over the file, that over the defaults.
    ///
    /// # Errors
    /// When the file cannot be read, or a setting makes no sense; the text names it.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let file: File = self.file.read()?;
        let named = self.clusters.or(if self.count.is_none() { file.clusters } else { None });
        let count = pick(self.count, file.count, 1);
        let clusters = named.unwrap_or_else(|| (0..count).map(|index| format!("sim-{index}")).collect());
        let ready_after = pick(self.ready_after, file.ready_after, 1.0);
        let ready_after = Duration::try_from_secs_f64(ready_after).map_err(|_| ConfigError::Invalid {
            option: "--ready-after",
            message: "must be a number of seconds, 0 or more".to_owned(),
        })?;
        let insecure_http = self.insecure_http || file.insecure_http;
        let advertise = self.advertise.or(file.advertise).map(|url| url.trim_end_matches('/').to_owned());
        let scheme = if insecure_http { "http://" } else { "https://" };
        if advertise.as_ref().is_some_and(|url| !url.starts_with(scheme)) {
            return Err(ConfigError::Invalid {
                option: "--advertise",
                message: format!(
                    "must begin with {scheme}, as the clusters are served (see --insecure-http)"
                ),
            });
        }
        Ok(Config {
            listen: pick(self.listen, file.listen, SocketAddr::from((Ipv4Addr::LOCALHOST, 7710))),
            clusters,
            nodes: pick(self.nodes, file.nodes, 1),
            ready_after,
            kubeconfig_dir: self.kubeconfig_dir.or(file.kubeconfig_dir),
            advertise,
            insecure_http,
            admin: self.admin.resolve(file.admin),
            telemetry: self.telemetry.resolve(file.telemetry)?,
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
        Args::try_parse_from(["krake-cluster-sim"].iter().chain(args)).unwrap().resolve()
    }

    #[test]
    fn clusters_are_named_or_counted() {
        assert_eq!(resolve(&[]).unwrap().clusters, ["sim-0"]);
        assert_eq!(resolve(&["--count", "2"]).unwrap().clusters, ["sim-0", "sim-1"]);
        assert_eq!(resolve(&["--clusters", "north,south"]).unwrap().clusters, ["north", "south"]);
    }

    #[test]
    fn times_are_checked_and_urls_lose_their_slash() {
        assert!(resolve(&["--ready-after=-1"]).unwrap_err().to_string().contains("--ready-after"));
        let config = resolve(&["--ready-after", "0.5", "--advertise", "https://sim:7710/"]).unwrap();
        assert_eq!(config.ready_after, Duration::from_millis(500));
        assert!(!config.insecure_http);
        let plain = ["--insecure-http", "--advertise", "http://sim:7710"];
        assert!(resolve(&plain).unwrap().insecure_http);
        assert!(resolve(&plain[1..]).unwrap_err().to_string().contains("https://"));
        assert_eq!(config.advertise.as_deref(), Some("https://sim:7710"));
    }
}
