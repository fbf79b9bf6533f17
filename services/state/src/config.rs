//! Configuration of the state service.

mod store;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use krake_runtime::admin::{AdminArgs, AdminSection};
use krake_runtime::config::{ConfigError, ConfigFileArgs, listen_address, pick};
use krake_runtime::process::ProcessConfig;
use krake_runtime::serve::{ListenerArgs, ServeOptions};
use krake_runtime::telemetry::{TelemetryArgs, TelemetryConfig};
use krake_runtime::tls::TlsArgs;
use serde::Deserialize;

use crate::access::Authorization;
use crate::grpc::Authentication;
pub use store::{StoreArgs, StoreConfig, StoreKind};

/// The Krake API server: keeps all resources and serves them over gRPC.
///
/// Any number of replicas may run on one etcd, and one on an SQLite file. Without a command it serves.
#[derive(Debug, Parser)]
#[command(name = "krake-state", version, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    file: ConfigFileArgs,
    /// Address and port of the API. Other hosts can reach it only if this is not a loopback address; use TLS then.
    /// [default: 127.0.0.1:7700]
    #[arg(long, env = "KRAKE_LISTEN", value_name = "ADDRESS", value_parser = listen_address)]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    authentication: AuthenticationArgs,
    /// What authenticated callers may do. [default: always-allow]
    #[arg(long, env = "KRAKE_AUTHORIZATION", value_enum)]
    authorization: Option<Authorization>,
    #[command(flatten)]
    listener: ListenerArgs,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    admin: AdminArgs<7701>,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
enum Command {
    /// Write all that the store holds into one file, while services go on using it.
    ///
    /// The file shows one moment, and appears when it is whole. It fits every kind of store: a back-up of an SQLite file
    /// can be restored into etcd, and the other way round. It holds credentials as the store does; only its owner can
    /// read it. Logs warnings and errors, unless --log-level asks for more.
    ///
    /// Example: krake-state backup --store sqlite --sqlite-file krake-data/krake.db --to krake-2026-11-20.backup
    #[command(name = "backup")]
    BackUp {
        /// The file to make; it must not be there yet.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Make a back-up the contents of a store. Stop all services of the store first.
    ///
    /// The file is checked before anything is written. The store must be empty unless --replace is given. The
    /// installation stays the same and gets a new epoch. Objects on clusters that the back-up does not contain are not
    /// removed; they are reported as orphans. After a restore that failed or was interrupted, no service uses the store
    /// until the restore is repeated with --replace. Logs warnings and errors, unless --log-level asks for more.
    ///
    /// Example: krake-state restore --etcd-endpoints http://10.0.0.5:2379 --from krake-2026-11-20.backup
    Restore {
        /// The back-up.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// Remove all that Krake has in the store first.
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        place: Place,
    },
}

/// Which store a command is about; named as for serving, and in the same file.
#[derive(Debug, clap::Args)]
struct Place {
    #[command(flatten)]
    file: ConfigFileArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

/// How callers are authenticated. In the file: section `authentication`.
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthenticationArgs {
    /// Accept callers without credentials, as the user system:anonymous. Without this and without --static-user every
    /// call is refused.
    #[arg(long, env = "KRAKE_ALLOW_ANONYMOUS", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    allow_anonymous: Option<bool>,
    /// Authenticate every caller as this user, whatever its credentials: for a single user's own machine.
    #[arg(long, env = "KRAKE_STATIC_USER", value_name = "NAME")]
    static_user: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    store: StoreArgs,
    authentication: AuthenticationArgs,
    authorization: Option<Authorization>,
    listener: ListenerArgs,
    tls: TlsArgs,
    admin: AdminSection,
    telemetry: TelemetryArgs,
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
    /// How callers are authenticated.
    pub authentication: Authentication,
    /// What authenticated callers may do.
    pub authorization: Authorization,
    /// Certificates, limits and host names of the API's listener.
    pub serve: ServeOptions,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
}

/// What to do.
#[derive(Debug)]
pub enum Task {
    /// Serve the API.
    Serve(Box<Config>),
    /// Write a back-up.
    BackUp {
        /// Of which store.
        store: StoreConfig,
        /// The file to make.
        to: PathBuf,
        /// Logs and traces.
        telemetry: TelemetryConfig,
    },
    /// Restore a back-up.
    Restore {
        /// Into which store.
        store: StoreConfig,
        /// The back-up.
        from: PathBuf,
        /// Whether to remove what is there.
        replace: bool,
        /// Logs and traces.
        telemetry: TelemetryConfig,
    },
}

impl Args {
    /// Joins flags, environment and file.
    pub fn task(mut self) -> Result<Task, ConfigError> {
        Ok(match self.command.take() {
            None => Task::Serve(Box::new(self.resolve()?)),
            Some(Command::BackUp { to, place }) => {
                let (store, telemetry) = place.resolve()?;
                Task::BackUp { store, to, telemetry }
            }
            Some(Command::Restore { from, replace, place }) => {
                let (store, telemetry) = place.resolve()?;
                Task::Restore { store, from, replace, telemetry }
            }
        })
    }

    fn resolve(self) -> Result<Config, ConfigError> {
        let file: File = self.file.read()?;
        let (who, file_who) = (self.authentication, file.authentication);
        let (limits, hosts) = self.listener.resolve(file.listener)?;
        Ok(Config {
            listen: pick(self.listen, file.listen, SocketAddr::from((Ipv4Addr::LOCALHOST, 7700))),
            admin: self.admin.resolve(file.admin),
            store: self.store.resolve(file.store)?,
            authentication: Authentication {
                static_user: who.static_user.or(file_who.static_user),
                allow_anonymous: pick(who.allow_anonymous, file_who.allow_anonymous, false),
            },
            authorization: pick(self.authorization, file.authorization, Authorization::default()),
            serve: ServeOptions { tls: self.tls.resolve(file.tls)?, limits, hosts, ..Default::default() },
            telemetry: self.telemetry.resolve(file.telemetry)?,
        })
    }
}

impl Place {
    fn resolve(self) -> Result<(StoreConfig, TelemetryConfig), ConfigError> {
        let mut file: File = self.file.read()?;
        // A command is for a person, who reads its result.
        file.telemetry.log_level.get_or_insert_with(|| "warn".to_owned());
        Ok((self.store.resolve(file.store)?, self.telemetry.resolve(file.telemetry)?))
    }
}

impl ProcessConfig for Task {
    fn telemetry(&self) -> &TelemetryConfig {
        match self {
            Self::Serve(config) => &config.telemetry,
            Self::BackUp { telemetry, .. } | Self::Restore { telemetry, .. } => telemetry,
        }
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

    fn task(args: &[&str]) -> Task {
        Args::parse_from([&["krake-state"], args].concat()).task().unwrap()
    }

    #[test]
    fn the_store_is_named_the_same_way_for_every_task() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.yaml");
        std::fs::write(&file, "listen: 127.0.0.1:1\nstore: {store: sqlite, sqlite_file: /a/b.db}\n").unwrap();
        let file = file.to_str().unwrap();
        let sqlite = |path: &str| StoreConfig::Sqlite { file: path.into() };
        let Task::Serve(config) = task(&["-c", file]) else { panic!("it serves") };
        assert_eq!(config.store, sqlite("/a/b.db"));
        let Task::BackUp { store, to, .. } = task(&["backup", "--to", "x", "-c", file]) else {
            panic!("a back-up")
        };
        assert_eq!((store, to), (sqlite("/a/b.db"), PathBuf::from("x")));
        let args = ["restore", "--from", "x", "--store", "sqlite", "--sqlite-file", "c.db"];
        let Task::Restore { store, replace, .. } = task(&args) else { panic!("a restore") };
        assert_eq!((store, replace), (sqlite("c.db"), false), "nothing is removed unless told so");
        let Task::Serve(config) = task(&["--store", "sqlite"]) else { panic!("it serves") };
        assert_eq!(config.store, sqlite("krake-data/krake.db"));
        assert!(Args::try_parse_from(["krake-state", "--store", "sqlite", "backup", "--to", "x"]).is_err());
    }
}
