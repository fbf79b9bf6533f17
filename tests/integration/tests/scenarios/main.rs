//! What users do, on real components: every Krake service its own process, driven by `rok` and by `grpcurl`.
#![allow(clippy::unwrap_used, reason = "in a test, its helpers included, a panic is the verdict")]

mod bad_input;
mod grpc_tools;
mod main_job;
