//! The Krake scheduler: constraints, metrics and scores become bindings.
//!
//! [`metrics`] reads values, [`world`] is the snapshot of what is known, [`filter`] and [`score`] say which clusters
//! come into question and how good they are, [`decide`] makes the decision.

mod bitset;
pub mod decide;
pub mod filter;
#[cfg(test)]
mod fixture;
pub mod metrics;
pub mod score;
pub mod world;
