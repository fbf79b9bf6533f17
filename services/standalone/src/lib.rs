//! Krake in one process on its embedded store: the API server, its REST gateway and all controllers.
//!
//! [`serve`] starts what the other services are made of, on one data folder, and stops it in order; [`demo`] does so with
//! simulated clusters and reports what happens.

pub mod config;
mod controllers;
pub mod demo;
mod descriptors;
mod folder;
mod interrupt;
mod parts;
mod ready;
mod run;

pub use config::Config;
pub use ready::Endpoints;
pub use run::{run, serve};
