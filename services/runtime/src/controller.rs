//! The controller loop: keys are queued, handed to a reconciler one at a time per key, and retried with backoff.
//!
//! Watches and timers put *keys* into a [`Queue`]; [`run`] hands them to a [`Reconciler`], which looks at the
//! present state and brings the world a step closer to what is wanted. Events carry no meaning beyond "look again",
//! so losing, repeating or joining them does no harm.

mod backoff;
mod metrics;
mod own_writes;
mod process;
mod queue;
mod reconcile;
mod schedule;
mod trace;

pub use backoff::Backoff;
pub use metrics::ControllerMetrics;
pub use own_writes::{OWN_WRITE_PATIENCE, OwnWrites};
pub use process::{
    AdminPlace, AdminServer, ControllerArgs, ControllerConfig, ControllerProcess, ControllerSections,
};
pub use queue::{Claim, Queue};
pub use reconcile::{ControllerOptions, Next, Reconciler, run};
pub use schedule::{Depth, Priority};
