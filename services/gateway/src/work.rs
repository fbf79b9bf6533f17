//! Long work on bodies: on threads of its own, so that it does not delay I/O, and with bounded concurrency.

use std::num::NonZero;
use std::sync::{Arc, LazyLock};

use http::StatusCode;
use tokio::sync::Semaphore;

use crate::problem::Problem;

/// Maximum size in bytes of a body that is processed on the thread of its connection: a millisecond of work at most.
const MAX_INLINE_BODY: usize = 16 * 1024;

/// One place per processor.
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
    if size <= MAX_INLINE_BODY {
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
        assert_eq!(thread(MAX_INLINE_BODY).await, Ok::<ThreadId, _>(here));
        assert_ne!(thread(MAX_INLINE_BODY + 1).await, Ok(here));

        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        let limit = SLOTS.available_permits();
        let tasks = (0..limit * 8).map(|_| {
            run(MAX_INLINE_BODY + 1, move || {
                assert!(RUNNING.fetch_add(1, Ordering::SeqCst) < limit);
                std::thread::yield_now();
                RUNNING.fetch_sub(1, Ordering::SeqCst);
            })
        });
        let done = futures::future::join_all(tasks).await;
        assert!(done.iter().all(Result::is_ok));
    }
}
