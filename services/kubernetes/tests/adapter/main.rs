//! The adapter's input and output against a fake API server in the same process. What only a real API server can show
//! (merging of fields, garbage collection) is tested in the integration tests.

#![allow(clippy::unwrap_used, reason = "tests")]

mod apply;
mod carried;
mod cluster;
mod controllers;
mod discovery;
mod explained;
mod failures;
mod fake_api_server;
mod fake_faults;
mod fake_krake;
mod fake_objects;
mod fake_store;
mod fenced;
mod identity;
mod marks;
mod observed;
mod orphans;
mod passes;
mod reachability;
mod refused;
mod remove;
mod scaled;
mod survey;
mod used;
mod validation;
mod watches;
mod waves;
mod works;
