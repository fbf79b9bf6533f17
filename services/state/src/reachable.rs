//! Whether the store answers, for `/readyz`: a replica that cannot refresh its cache should get no more work.

use std::future::Future;
use std::time::Duration;

use krake_runtime::readiness::Condition;
use tokio::time::Instant;

/// How often the store is asked while it answers.
const INTERVAL: Duration = Duration::from_secs(5);
/// How soon it is asked again while it does not.
const RETRY: Duration = Duration::from_millis(500);
/// How long the store may be silent before the condition fails: longer than a change of etcd's leader takes.
const SILENCE: Duration = Duration::from_secs(30);

/// Keeps `condition` at whether `ask` was answered lately. Runs until it is dropped.
pub(crate) async fn follow<F: Future<Output = bool>>(ask: impl Fn() -> F, condition: Condition) {
    let mut answered = Instant::now();
    loop {
        // A question that hangs is an answer too.
        let answers = tokio::time::timeout(INTERVAL, ask()).await.unwrap_or(false);
        if answers {
            answered = Instant::now();
        }
        let holds = answers || (condition.holds() && answered.elapsed() < SILENCE);
        if condition.holds() != holds {
            tracing::info!(holds, "whether the store answers has changed");
            condition.set(holds);
        }
        tokio::time::sleep(if holds { INTERVAL } else { RETRY }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use krake_runtime::readiness::Readiness;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    #[tokio::test(start_paused = true)]
    async fn a_silent_store_is_forgiven_for_a_while_and_welcome_back_at_once() {
        let condition = Readiness::new().condition("store");
        let silent = Arc::new(AtomicBool::new(true));
        let ask = {
            let silent = silent.clone();
            move || {
                let silent = silent.clone();
                async move {
                    if silent.load(SeqCst) {
                        std::future::pending::<()>().await;
                    }
                    true
                }
            }
        };
        let following = tokio::spawn(follow(ask, condition.clone()));
        tokio::time::sleep(SILENCE).await;
        assert!(!condition.holds(), "it never answered");
        silent.store(false, SeqCst);
        tokio::time::sleep(INTERVAL * 3).await;
        assert!(condition.holds());
        silent.store(true, SeqCst);
        tokio::time::sleep(SILENCE - INTERVAL * 3).await;
        assert!(condition.holds(), "not for long yet");
        tokio::time::sleep(INTERVAL * 6).await;
        assert!(!condition.holds());
        silent.store(false, SeqCst);
        tokio::time::sleep(INTERVAL * 3).await;
        assert!(condition.holds());
        following.abort();
    }
}
