//! The Krake scheduler: constraints, metrics and scores become bindings.
//!
//! [`metrics`] reads values, [`world`] is the snapshot of what is known, [`filter`] and [`score`] say which clusters
//! come into question and how good they are, [`decide`] makes the decision, with [`retry`] for applications without a
//! candidate and [`handover`] for clusters where one failed. Around them, controllers mirror the API's objects, turn
//! decisions into writes and send those: one for applications, and one that says on clusters whether their metrics can
//! be read.

mod act;
mod availability;
mod bitset;
mod config;
mod controller;
pub mod decide;
mod exodus;
pub mod filter;
#[cfg(test)]
mod fixture;
pub mod handover;
mod in_flight;
mod inputs;
pub mod metrics;
mod project;
mod reporter;
pub mod retry;
mod run;
pub mod score;
pub mod world;

pub use config::{Args, Config};
pub use controller::Clock;
pub use run::run;
