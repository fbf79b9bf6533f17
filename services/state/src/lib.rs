//! The Krake API server: admission, store and watch cache over etcd or memory.

mod admission;
mod cache;
pub mod config;
mod derive;
mod grpc;
mod housekeeping;
mod installation;
mod object;
mod reachable;
mod registry;
mod run;
pub mod store;

pub use grpc::Authentication;
pub use run::{run, serve};
