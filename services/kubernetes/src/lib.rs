//! The Krake platform adapter for Kubernetes clusters and the applications on them.
//!
//! The controllers mirror the Krake API, look at the clusters, and carry out plans. What is decided ([`plan`],
//! [`object::ownership`], [`object::health`], [`object::drift`], …) is pure; what is done ([`object::apply`],
//! [`object::remove`], [`cluster::watch`], …) makes no choices.

pub mod cluster;
mod config;
mod controller;
pub mod error;
pub mod failure;
pub mod object;
pub mod plan;
mod run;

pub use cluster::kubeconfig::KubeconfigError;
pub use config::{Args, Clock, Config};
pub use controller::pauses::SlowRetries;
pub use controller::surveys::SweepTimes;
pub use run::run;
