//! Whether something that a process cannot work without answers, for `/readyz`: a replica that cannot reach it should get
//! no more work.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::readiness::Condition;

/// Pause between questions while they are answered, and the time limit of each.
const INTERVAL: Duration = Duration::from_secs(5);
/// Pause between questions while they are not answered.
const RETRY: Duration = Duration::from_millis(500);

/// Something that is asked regularly whether it answers.
#[derive(Debug, Clone, Copy)]
pub struct Reachable {
    /// Its name in logs.
    pub name: &'static str,
    /// How long it may be silent before the condition fails. Once it answers, the condition holds at once.
    pub forgiven: Duration,
}

impl Reachable {
    /// Keeps `condition` at whether `ask` was answered lately. Runs until it is dropped.
    pub async fn follow<F: Future<Output = bool>>(self, ask: impl Fn() -> F, condition: Condition) {
        let mut answered = Instant::now();
        loop {
            // A question that hangs is an answer too.
            let answers = tokio::time::timeout(INTERVAL, ask()).await.unwrap_or(false);
            if answers {
                answered = Instant::now();
            }
            let holds = answers || (condition.holds() && answered.elapsed() < self.forgiven);
            if condition.holds() != holds {
                tracing::info!(name = self.name, reachable = holds, "readiness changed");
                condition.set(holds);
            }
            tokio::time::sleep(if holds { INTERVAL } else { RETRY }).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readiness::Readiness;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    const SILENCE: Duration = Duration::from_secs(30);

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
        let following =
            tokio::spawn(Reachable { name: "store", forgiven: SILENCE }.follow(ask, condition.clone()));
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
