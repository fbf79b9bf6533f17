//! The Krake scheduler: constraints, metrics and scores become bindings.
//!
//! [`metrics`] reads values, [`world`] is the snapshot of what is known, [`filter`] and [`score`] say which clusters
//! come into question and how good they are, [`decide`] makes the decision. Around them, the controller mirrors the
//! API's objects, turns decisions into writes and sends those.

mod act;
mod bitset;
mod config;
mod controller;
pub mod decide;
pub mod filter;
#[cfg(test)]
mod fixture;
mod inputs;
pub mod metrics;
mod project;
mod run;
pub mod score;
pub mod world;

pub use config::{Args, Config};
pub use run::run;
