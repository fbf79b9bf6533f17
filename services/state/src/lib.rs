//! The Krake API server: admission, store and watch cache over etcd, SQLite or memory.

mod access;
mod admission;
pub mod backup;
mod cache;
pub mod config;
mod derive;
mod documents;
mod elections;
mod error;
mod figures;
#[doc(hidden)]
pub mod fuzz;
mod grpc;
mod housekeeping;
mod installation;
mod kinds;
mod object;
mod opened;
mod registry;
mod run;
pub mod store;
mod task;
mod upgrade;

pub use access::{Access, AuthenticationMethod, Authorization, Caller, Verb};
pub use grpc::{Authenticate, Authentication, Callers, Finished, Observer};
pub use housekeeping::Clock;
pub use run::{run, serve, serve_at};
pub use task::perform;
