//! The gateway over REST: upstream's client library, upstream's conventions, bad input, and the OpenAPI document.
#![allow(clippy::unwrap_used, reason = "in a test, its helpers included, a panic is the verdict")]

mod behaviour;
mod bounds;
mod deletion;
mod hostile;
mod input;
mod observed;
mod openapi;
mod restart;
mod roles;
mod unshowable;
mod upstream;
mod watch;
mod world;
