//! Waiting for a condition with a deadline, in place of sleeping.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep, timeout};

/// Longest time that a test waits for something that must come, and that a component may take to start or end. A machine
/// that is busy with other work may be ten times slower than an idle one, so a test fails by this only if something
/// hangs. No deadline of the product is checked by it.
pub const HANG_GUARD: Duration = Duration::from_secs(180);
/// The same for the `--timeout` of `rok`.
pub const ROK_HANG_GUARD: &str = "180s";

/// Time between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest duration of one look, so that a peer that hangs costs a look and not the whole deadline.
const LOOK: Duration = Duration::from_secs(30);

/// Looks until `look` answers `Some`, and gives that; an error that names `what` after `deadline`.
pub async fn until<T>(what: &str, deadline: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Ok(Some(found)) = timeout(LOOK, look()).await {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("waited {} s in vain for {what}", deadline.as_secs_f32());
        }
        sleep(PAUSE).await;
    }
}
