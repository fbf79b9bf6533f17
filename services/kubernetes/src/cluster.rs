//! Clusters: how they are reached, what they serve, how they do, and what is seen on them.

pub(crate) mod bounded;
pub mod cache;
pub mod clusters;
mod confirmation;
mod connect;
pub mod connection;
pub mod discovery;
mod handle;
pub(crate) mod holdings;
pub mod identity;
pub(crate) mod kubeconfig;
mod node_watch;
pub mod nodes;
mod paging;
mod pods;
mod probe;
pub mod reachability;
#[cfg(test)]
pub(crate) mod recorded;
#[cfg(test)]
pub(crate) mod scripted;
mod shared;
pub mod survey;
pub mod wake;
pub(crate) mod warnings;
pub mod watch;

pub use krake_runtime::address;

pub use handle::{ClusterHandle, Resolved, TargetError};
pub use probe::{ClusterReport, ProbeTimes};
