//! The adapter's input and output against simulated API servers in the same process. What only a real one can show
//! (admission, garbage collection, pods) is tested in the integration tests.

#![allow(clippy::unwrap_used, reason = "tests")]

mod api_server;
mod apply;
mod carried;
mod cluster;
mod controllers;
mod discovery;
mod explained;
mod failures;
mod fake_krake;
mod fake_store;
mod fenced;
mod identity;
mod jobs;
mod marks;
mod observed;
mod orphans;
mod parts;
mod passes;
mod reachability;
mod refused;
mod remove;
mod scaled;
mod scripted;
mod successors;
mod survey;
mod used;
mod validation;
mod watches;
mod waves;
mod works;
mod world;
