//! The SDK over real sockets, against a fake server that answers what each test tells it to.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod connect;
mod fake;
mod watch;
