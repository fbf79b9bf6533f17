//! What every Krake process is made of: configuration, telemetry, serving, shutdown and the controller loop.
//!
//! A service crate is a library with one entry point and a `main.rs` that only joins the parts:
//!
//! ```no_run
//! use clap::Parser;
//! use krake_runtime::admin::{AdminArgs, AdminSection};
//! use krake_runtime::config::{ApiArgs, ConfigError, ConfigFileArgs, pick};
//! use krake_runtime::process::{ProcessConfig, run_main};
//! use krake_runtime::shutdown::Shutdown;
//! use krake_runtime::telemetry::{TelemetryArgs, TelemetryConfig};
//!
//! /// What the command line and the environment say: everything optional, so that the file can fill in.
//! #[derive(Parser)]
//! struct Args {
//!     #[command(flatten)]
//!     file: ConfigFileArgs,
//!     #[command(flatten)]
//!     api: ApiArgs,
//!     #[command(flatten)]
//!     admin: AdminArgs<7702>,
//!     #[command(flatten)]
//!     telemetry: TelemetryArgs,
//!     /// How many objects are worked on at the same time. [default: 4]
//!     #[arg(long, env = "KRAKE_WORKERS")]
//!     workers: Option<usize>,
//! }
//!
//! /// What the file says: a section per group, own settings beside them.
//! #[derive(Default, serde::Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! struct File {
//!     api: ApiArgs,
//!     admin: AdminSection,
//!     telemetry: TelemetryArgs,
//!     workers: Option<usize>,
//! }
//!
//! /// What is in force: flag > environment > file > default.
//! struct Config {
//!     api: krake_client::ConnectOptions,
//!     admin: std::net::SocketAddr,
//!     telemetry: TelemetryConfig,
//!     workers: usize,
//! }
//!
//! impl Args {
//!     fn resolve(self) -> Result<Config, ConfigError> {
//!         let file: File = self.file.read()?;
//!         Ok(Config {
//!             api: self.api.resolve(file.api, "krake-example/1")?,
//!             admin: self.admin.resolve(file.admin),
//!             telemetry: self.telemetry.resolve(file.telemetry)?,
//!             workers: pick(self.workers, file.workers, 4),
//!         })
//!     }
//! }
//!
//! impl ProcessConfig for Config {
//!     fn telemetry(&self) -> &TelemetryConfig {
//!         &self.telemetry
//!     }
//! }
//!
//! /// The library's entry point: ends by itself after `shutdown` is requested.
//! async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
//!     shutdown.requested().await;
//!     Ok(())
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     run_main("krake-example", Args::parse().resolve(), run)
//! }
//! ```

pub mod address;
pub mod admin;
pub mod config;
pub mod controller;
pub mod counts;
mod der;
pub mod dial;
pub mod kubeconfig;
pub mod leadership;
pub mod log_limit;
pub mod metrics;
pub mod process;
pub mod reachable;
pub mod readiness;
pub mod serve;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
