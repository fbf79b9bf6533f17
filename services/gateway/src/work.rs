//! Long work on bodies: on threads of its own, so that it holds up nobody's I/O, and only so much at the same time.

use std::num::NonZero;
use std::sync::{Arc, LazyLock};

use http::StatusCode;
use tokio::sync::Semaphore;

use crate::problem::Problem;

/// Bodies up to this many bytes are worked on where they are: a millisecond at most.
const SHORT: usize = 16 * 1024;

/// As much runs at a time as there are processors; the rest waits.
static SLOTS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    Arc::new(Semaphore::new(processors))
});

/// Does `work`, which takes time by the `size` of a body in bytes.
///
/// # Errors
/// When the work panicked.
pub(crate) async fn run<T: Send + 'static>(
    size: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    if size <= SHORT {
        return Ok(work());
    }
    // The semaphore is never closed.
    let slot = SLOTS.clone().acquire_owned().await.ok();
    let work = move || {
        let done = work();
        drop(slot);
        done
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "the work on a body failed");
        Problem::plain(StatusCode::INTERNAL_SERVER_ERROR)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread::ThreadId;

    use super::*;

    #[tokio::test]
    async fn long_work_leaves_the_thread_of_the_io_and_is_bounded() {
        let here = std::thread::current().id();
        let thread = |size| run(size, || std::thread::current().id());
        assert_eq!(thread(SHORT).await, Ok::<ThreadId, _>(here));
        assert_ne!(thread(SHORT + 1).await, Ok(here));

        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        let limit = SLOTS.available_permits();
        let tasks = (0..limit * 8).map(|_| {
            run(SHORT + 1, move || {
                assert!(RUNNING.fetch_add(1, Ordering::SeqCst) < limit);
                std::thread::yield_now();
                RUNNING.fetch_sub(1, Ordering::SeqCst);
            })
        });
        let done = futures::future::join_all(tasks).await;
        assert!(done.iter().all(Result::is_ok));
    }
}
