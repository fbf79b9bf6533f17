//! What users do, on real components: every Krake service its own process, driven by `rok` and by `grpcurl`.
#![allow(clippy::unwrap_used, reason = "in a test, its helpers included, a panic is the verdict")]

mod access;
mod applications;
mod bad_input;
mod chaos;
mod connection;
mod definitions;
mod demo;
mod documents;
mod failover;
mod grpc_tools;
mod hostile;
mod leadership;
mod main_job;
mod obstacles;
mod restore;
mod rollouts;
mod safety;
mod standalone;
mod tracing;
mod upkeep;
mod webhooks;
mod world;
