//! The Krake SDK for Rust: connect, typed API, resumable watch and mirror.
//!
//! [`Client`] is one lazily opened connection to a state service. [`Client::api`] gives the standard methods of a kind,
//! [`Api::watch`] follows its objects through lost connections and restarts of the server, [`Mirror`] keeps a local
//! copy of what a watch delivers. Calls fail with [`Error`], which says whether trying again can help;
//! [`Client::diagnose`] finds out why a server does not answer.

mod api;
mod backoff;
mod bounded;
mod connect;
mod diagnosis;
mod epoch;
mod error;
mod fence;
mod mirror;
mod objects;
mod options;
mod transport;
mod uid;
mod watch;

pub use api::{Api, Listing, Page};
pub use backoff::Backoff;
// No part of the SDK: `rok` and the services read files as it does, and no crate below all of them reads any.
#[doc(hidden)]
pub use bounded::{read_at_most, read_file_at_most};
pub use connect::{Client, ConnectError, ConnectOptions};
pub use diagnosis::{Cause, Diagnosis};
pub use error::Error;
pub use fence::{Fence, Ticket, is_read};
pub use mirror::{Barrier, Change, Mirror, MirrorClosed, MirrorFeed, NamespacedName, Notice};
pub use objects::ObjectKey;
pub use options::{CreateOptions, DeleteOptions, ListOptions, Mask, Start, WatchOptions};
pub use transport::Transport;
pub use uid::{ApplicationUid, ClusterUid};
pub use watch::{Watch, WatchEvent};
