//! The REST gateway: upstream's REST API, driven by descriptors, over gRPC.
//!
//! It holds no rules and no state. `matcher` finds the routes of a path in the table that comes from the contract's
//! HTTP options, `object`, `list` and `watch` turn requests into calls of the state service and its encoded messages
//! into JSON, `problem` turns refusals into upstream's problems. A kind is defined by its descriptor, so that a new one
//! needs no code here.

mod answer;
mod blocking;
mod body;
mod call;
mod config;
mod cors;
#[cfg(test)]
mod fake_state;
mod fixed;
mod frame;
#[doc(hidden)]
pub mod fuzz;
mod gateway;
mod headers;
mod list;
mod matcher;
mod object;
mod parameters;
#[cfg(test)]
mod precondition_tests;
mod problem;
mod python;
mod run;
mod target;
mod upstream;
mod version;
mod watch;
mod work;

pub use config::{Args, Config};
pub use cors::Origins;
pub use gateway::Options;
pub use run::{run, serve};
