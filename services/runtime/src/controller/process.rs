//! What every controller process is told, and what it begins with: connection, admin listener, election.

use std::net::SocketAddr;

use anyhow::Context;
use krake_client::{Client, ConnectOptions};
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

use super::ControllerMetrics;
use crate::admin::{Admin, AdminArgs, AdminSection};
use crate::config::{ApiArgs, ConfigError, ConfigFileArgs};
use crate::leadership::{ElectionArgs, ElectionConfig, ElectionSection, Leadership};
use crate::metrics::Metrics;
use crate::readiness::Condition;
use crate::serve::bind;
use crate::shutdown::Shutdown;
use crate::telemetry::{TelemetryArgs, TelemetryConfig};

/// The flags of every controller; `PORT` is the default port of its admin listener.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ControllerArgs<const PORT: u16> {
    #[command(flatten)]
    file: ConfigFileArgs,
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    admin: AdminArgs<PORT>,
    #[command(flatten)]
    election: ElectionArgs,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

/// The same in the file: a section each, beside those of the service itself.
#[derive(Clone, Debug, Default)]
pub struct ControllerSections {
    /// Section `api`.
    pub api: ApiArgs,
    /// Section `admin`.
    pub admin: AdminSection,
    /// Section `election`.
    pub election: ElectionSection,
    /// Section `telemetry`.
    pub telemetry: TelemetryArgs,
}

impl<const PORT: u16> ControllerArgs<PORT> {
    /// The contents of the configuration file, or nothing set where none is named.
    ///
    /// # Errors
    /// When it cannot be read, or holds what `T` does not know.
    pub fn read_file<T: DeserializeOwned + Default>(&self) -> Result<T, ConfigError> {
        self.file.read()
    }

    /// The settings in force: flags win over environment variables, those over the file, that over the defaults.
    /// `user_agent` names the service and its version.
    ///
    /// # Errors
    /// When a setting makes no sense; the text names it.
    pub fn resolve(
        self,
        file: ControllerSections,
        user_agent: &str,
    ) -> Result<ControllerConfig, ConfigError> {
        Ok(ControllerConfig {
            connect: self.api.resolve(file.api, user_agent)?,
            admin: AdminPlace::Listen(self.admin.resolve(file.admin)),
            election: self.election.resolve(file.election)?,
            telemetry: self.telemetry.resolve(file.telemetry)?,
        })
    }
}

/// Where a controller shows metrics and readiness.
#[derive(Clone, Debug)]
pub enum AdminPlace {
    /// On a listener of its own.
    Listen(SocketAddr),
    /// Among those of others in the same process, which serves them, or does not.
    Shared(Admin),
}

/// The settings of every controller, in force.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// How to reach the API.
    pub connect: ConnectOptions,
    /// Where metrics and readiness are shown.
    pub admin: AdminPlace,
    /// Whether and how to share the work with other replicas.
    pub election: ElectionConfig,
    /// What to log and where to send traces; heeded by [`crate::process::run_main`] alone.
    pub telemetry: TelemetryConfig,
}

impl ControllerConfig {
    /// The defaults, but for the admin listener: nothing is served.
    pub fn new(connect: ConnectOptions) -> Self {
        Self {
            connect,
            admin: AdminPlace::Shared(Admin::new()),
            election: ElectionConfig::default(),
            telemetry: TelemetryConfig::default(),
        }
    }

    /// Connects, binds the admin listener and stands for `election`. `ready` names the condition that must hold before
    /// the process is ready. In the metrics of a process of its own, the service is `krake-` and the election's name
    /// without its shard (`kubernetes/0`).
    ///
    /// # Errors
    /// When the API's address, a certificate or the admin listener cannot be used. An API that is not there is no error.
    pub async fn start(self, election: &str, ready: &str) -> anyhow::Result<ControllerProcess> {
        let client = Client::new(&self.connect)?;
        let (admin, listener) = match self.admin {
            AdminPlace::Listen(address) => {
                let service = election.split('/').next().unwrap_or_default();
                let admin = Admin::of_service(&format!("krake-{service}"));
                (admin, Some(bind(address, false).await?))
            }
            AdminPlace::Shared(admin) => (admin, None),
        };
        Ok(ControllerProcess {
            leadership: self.election.lead(election, &client, &admin.metrics),
            metrics: ControllerMetrics::register(&admin.metrics),
            ready: admin.readiness.condition(ready),
            client,
            admin: AdminServer { admin, listener },
        })
    }
}

/// What a controller works with.
#[derive(Debug)]
pub struct ControllerProcess {
    /// The connection, without a fence: to follow and to read.
    pub client: Client,
    /// The place in the election.
    pub leadership: Leadership,
    /// Shown by the admin listener.
    pub metrics: ControllerMetrics,
    /// To be set when all objects are known.
    pub ready: Condition,
    /// Shows metrics and readiness.
    pub admin: AdminServer,
}

/// The admin listener, if there is one of its own.
#[derive(Debug)]
pub struct AdminServer {
    admin: Admin,
    listener: Option<TcpListener>,
}

impl AdminServer {
    /// What the listener shows.
    pub fn metrics(&self) -> &Metrics {
        &self.admin.metrics
    }

    /// Waits for `work`, and serves meanwhile.
    ///
    /// # Errors
    /// Those of `work`, and when the listener fails.
    pub async fn beside(
        self,
        shutdown: &Shutdown,
        work: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        let Some(listener) = self.listener else { return work.await };
        let serve = async {
            self.admin.serve(listener, shutdown.clone()).await.context("the admin listener failed")?;
            // Ended by the shutdown: the work ends in its own time.
            std::future::pending().await
        };
        tokio::select! {
            result = work => result,
            result = serve => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Args {
        #[command(flatten)]
        controller: ControllerArgs<7799>,
    }

    #[test]
    fn flags_win_over_sections_and_the_rest_is_default() {
        let args = Args::parse_from(["x", "--api-url", "http://a:1", "--election", "false"]);
        let mut file = ControllerSections::default();
        file.api.api_url = Some("http://b:2".to_owned());
        file.election.ttl_seconds = Some(7);
        let config = args.controller.resolve(file, "krake-x/1").unwrap();
        assert_eq!(
            (config.connect.url.as_str(), config.connect.user_agent.as_str()),
            ("http://a:1", "krake-x/1")
        );
        assert_eq!((config.election.enabled, config.election.ttl.as_secs()), (false, 7));
        assert!(matches!(config.admin, AdminPlace::Listen(address) if address.port() == 7799));
    }

    #[tokio::test]
    async fn a_process_of_its_own_shows_which_service_it_is() {
        let mut config = ControllerConfig::new(ConnectOptions::new("http://127.0.0.1:1"));
        config.admin = AdminPlace::Listen(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.election = ElectionConfig::unopposed();
        let process = config.start("kubernetes/0", "kubernetes-synced").await.unwrap();
        let text = process.admin.admin.metrics.encode().unwrap();
        let version = env!("CARGO_PKG_VERSION");
        let build = format!("krake_build_info{{service=\"krake-kubernetes\",version=\"{version}\"}} 1");
        assert!(text.contains(&build), "{text}");
    }

    #[tokio::test]
    async fn several_controllers_of_a_process_share_metrics_and_readiness() {
        let admin = Admin::new();
        let start = async |name: &str| {
            let mut config = ControllerConfig::new(ConnectOptions::new("http://127.0.0.1:1"));
            config.admin = AdminPlace::Shared(admin.clone());
            config.election = ElectionConfig::unopposed();
            config.start(name, &format!("{name}-synced")).await.unwrap()
        };
        let (one, two) = (start("one").await, start("two").await);
        one.ready.set(true);
        let conditions = admin.readiness.conditions();
        assert_eq!(conditions, [("one-synced".to_owned(), true), ("two-synced".to_owned(), false)]);
        for (process, name) in [(&one, "one"), (&two, "two")] {
            process.metrics.reconciled(name, Duration::ZERO, Some("error"));
        }
        let text = admin.metrics.encode().unwrap();
        for (family, label) in [("krake_leader", "election"), ("krake_reconcile_errors", "controller")] {
            assert_eq!(text.matches(&format!("# TYPE {family} ")).count(), 1, "{family}: {text}");
            for name in ["one", "two"] {
                assert!(text.contains(&format!("{label}=\"{name}\"")), "{text}");
            }
        }
        let shutdown = Shutdown::new();
        two.admin.beside(&shutdown, async { Ok(()) }).await.unwrap();
    }
}
