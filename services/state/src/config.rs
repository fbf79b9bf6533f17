//! Configuration of the state service.

use std::net::{Ipv4Addr, SocketAddr};

use clap::{Parser, ValueEnum};
use krake_runtime::admin::{AdminArgs, AdminSection};
use krake_runtime::config::{ConfigError, ConfigFileArgs, pick};
use krake_runtime::process::ProcessConfig;
use krake_runtime::telemetry::{TelemetryArgs, TelemetryConfig};
use krake_runtime::tls::TlsArgs;
use serde::Deserialize;
use tonic::transport::ServerTlsConfig;

use crate::grpc::Authentication;

/// The Krake API server: keeps all resources and serves them over gRPC.
///
/// Any number of replicas may run on one etcd.
#[derive(Debug, Parser)]
#[command(name = "krake-state", version)]
pub struct Args {
    #[command(flatten)]
    file: ConfigFileArgs,
    /// Address and port of the API. Other hosts can reach it only if this is not a loopback address; use TLS then.
    /// [default: 127.0.0.1:7700]
    #[arg(long, env = "KRAKE_LISTEN", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    authentication: AuthenticationArgs,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    admin: AdminArgs<7701>,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

/// Where resources are kept. In the file: section `store`.
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreArgs {
    /// Where resources are kept. [default: etcd]
    #[arg(long, env = "KRAKE_STORE", value_enum)]
    store: Option<Backend>,
    /// Addresses of the etcd members, separated by commas. [default: http://127.0.0.1:2379]
    #[arg(long, env = "KRAKE_ETCD_ENDPOINTS", value_delimiter = ',', value_name = "URL")]
    etcd_endpoints: Option<Vec<String>>,
    /// Put before all of Krake's keys, so that several installations can share an etcd. [default: none]
    #[arg(long, env = "KRAKE_ETCD_PREFIX", value_name = "PREFIX")]
    etcd_prefix: Option<String>,
}

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// An etcd, version 3.4 or later.
    Etcd,
    /// Memory: everything is lost when the process ends. For trying things out.
    Memory,
}

/// Who may call. In the file: section `authentication`.
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthenticationArgs {
    /// Serve callers that nobody vouches for, as system:anonymous. Without this and without --static-user every call
    /// is refused.
    #[arg(long, env = "KRAKE_ALLOW_ANONYMOUS", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    allow_anonymous: Option<bool>,
    /// Take every caller for this user: for one person's own machine.
    #[arg(long, env = "KRAKE_STATIC_USER", value_name = "NAME")]
    static_user: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    store: StoreArgs,
    authentication: AuthenticationArgs,
    tls: TlsArgs,
    admin: AdminSection,
    telemetry: TelemetryArgs,
}

/// Which store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// An etcd.
    Etcd {
        /// Addresses of its members.
        endpoints: Vec<String>,
        /// Put before all keys.
        prefix: String,
    },
    /// Memory.
    Memory,
}

/// What is in force.
#[derive(Debug)]
pub struct Config {
    /// Where to serve the API.
    pub listen: SocketAddr,
    /// Where to serve metrics and probes.
    pub admin: SocketAddr,
    /// Where resources are kept.
    pub store: StoreConfig,
    /// Who may call.
    pub authentication: Authentication,
    /// Certificates; `None` serves in the clear.
    pub tls: Option<ServerTlsConfig>,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
}

impl Args {
    /// Joins flags, environment and file.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let file: File = self.file.read()?;
        let (store, file_store) = (self.store, file.store);
        let store = match pick(store.store, file_store.store, Backend::Etcd) {
            Backend::Memory => StoreConfig::Memory,
            Backend::Etcd => StoreConfig::Etcd {
                endpoints: pick(
                    store.etcd_endpoints,
                    file_store.etcd_endpoints,
                    vec!["http://127.0.0.1:2379".to_owned()],
                ),
                prefix: pick(store.etcd_prefix, file_store.etcd_prefix, String::new()),
            },
        };
        let (who, file_who) = (self.authentication, file.authentication);
        Ok(Config {
            listen: pick(self.listen, file.listen, SocketAddr::from((Ipv4Addr::LOCALHOST, 7700))),
            admin: self.admin.resolve(file.admin),
            store,
            authentication: Authentication {
                static_user: who.static_user.or(file_who.static_user),
                allow_anonymous: pick(who.allow_anonymous, file_who.allow_anonymous, false),
            },
            tls: self.tls.resolve(file.tls)?,
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
    use clap::CommandFactory;

    #[test]
    fn defaults_are_safe() {
        Args::command().debug_assert();
        let config = Args::parse_from(["krake-state"]).resolve().unwrap();
        assert!(config.listen.ip().is_loopback() && config.admin.ip().is_loopback());
        assert_eq!(config.authentication, Authentication::default(), "nobody is let in unless told so");
        assert!(matches!(config.store, StoreConfig::Etcd { .. }), "nothing is kept in memory unless told so");
    }
}
