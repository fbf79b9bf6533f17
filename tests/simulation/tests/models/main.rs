//! Models of Krake's protocols, small enough to look at every state that any timing can lead to.
#![allow(clippy::unwrap_used, reason = "in a test, its helpers included, a panic is the verdict")]

mod leadership;
mod placement;
