//! Waiting for a condition with a deadline, in place of sleeping.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep, timeout};

/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(50);
/// One look may take this long, so that a peer that hangs costs a look and not the whole deadline.
const LOOK: Duration = Duration::from_secs(5);

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
