//! The Krake platform adapter for Kubernetes clusters and the applications on them.
//!
//! The controllers mirror the Krake API, look at the clusters, and carry out plans. What is decided ([`plan`],
//! [`ownership`], [`health`], [`drift`], …) is pure; what is done ([`apply`], [`remove`], [`watch`], …) makes no choices.

pub mod apply;
pub mod cache;
pub mod cluster;
pub mod clusters;
mod config;
pub mod connection;
mod controller;
pub mod discovery;
pub mod drift;
pub mod error;
mod field_ownership;
pub mod health;
mod kubeconfig;
pub mod nodes;
pub mod object;
pub mod observation;
pub mod ownership;
pub mod plan;
pub mod prepare;
mod probe;
pub mod remove;
mod run;
pub mod services;
pub mod wake;
pub mod watch;

pub use config::{Args, Config};
pub use kubeconfig::KubeconfigError;
pub use run::run;
