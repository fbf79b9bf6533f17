//! The second Ctrl-C: ends the process where it stands.

use std::io;

use krake_runtime::shutdown::Shutdown;
use tokio::signal::unix::{SignalKind, signal};

/// As shells tell the end by SIGINT.
const INTERRUPTED: i32 = 130;

/// Waits until the end is requested, and then for one more SIGINT or SIGTERM, which ends the process at once: the store
/// survives that. Never returns unless signals cannot be had.
pub(crate) async fn end_at_once_on_the_second(shutdown: Shutdown) -> io::Result<()> {
    shutdown.requested().await;
    // New listeners do not hear of the signal that requested the end.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::warn!("asked to end a second time: ending at once");
    std::process::exit(INTERRUPTED)
}
