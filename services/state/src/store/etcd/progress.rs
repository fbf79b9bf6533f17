//! Reports of progress: etcd says in a watch, when asked, up to which revision it has sent all changes.
//!
//! They are used only where they can be trusted. Before 3.4.25 and 3.5.8 a requested report may overtake changes
//! (etcd-io/etcd#15220), and before 3.4.31 and 3.5.13 a new watch without changes gives none (#17557). Kubernetes draws
//! the same line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::members::Members;

/// Time for the members to return their versions: a connection and a call take much less.
const VERSION_DEADLINE: Duration = Duration::from_secs(5);
/// Pause before the members are asked again if the one that serves the watch did not return its version: reads write a
/// marker until then.
const VERSION_RETRY_DELAY: Duration = Duration::from_secs(60);

/// Requests for progress, from the readers of a store to its watches.
pub(super) struct Progress {
    requests: watch::Sender<()>,
    /// Whether a watch that takes requests trusts its server.
    trusted: AtomicBool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { requests: watch::Sender::new(()), trusted: AtomicBool::new(false) }
    }

    /// Asks all watches that take requests. Returns whether they will report.
    pub(super) fn request(&self) -> bool {
        self.requests.send_replace(());
        self.trusted.load(SeqCst)
    }
}

/// One watch's side of it. Trust is in the member that serves the watch, and ends with the connection: the versions of
/// other members say nothing about it while the cluster is upgraded.
pub(super) struct Requests {
    progress: Arc<Progress>,
    requests: watch::Receiver<()>,
    members: Arc<Members>,
    /// Id of the member that serves the watch; `None` before its first answer.
    server: Option<u64>,
    trust: Trust,
}

enum Trust {
    /// The version of the server was not queried yet, or not returned; to be queried at this time or later.
    Unknown(Instant),
    /// The version is being queried.
    Verifying(AbortOnDropHandle<Option<bool>>),
    Known(bool),
}

impl Requests {
    pub(super) fn new(progress: Arc<Progress>, members: Arc<Members>) -> Self {
        let requests = progress.requests.subscribe();
        Self { progress, requests, members, server: None, trust: Trust::Unknown(Instant::now()) }
    }

    /// Waits until progress is to be requested of a server that can be trusted. Finds out meanwhile whether it can, so
    /// it must be called while the watch is open only. Nothing is lost if it is dropped.
    pub(super) async fn requested(&mut self) {
        loop {
            if let Trust::Verifying(verification) = &mut self.trust {
                tokio::select! {
                    sound = verification => self.learn(sound.unwrap_or_default()),
                    // Noted only: what is learned soon answers it, too.
                    changed = self.requests.changed() => if changed.is_err() { std::future::pending().await },
                }
            } else {
                if self.requests.changed().await.is_err() {
                    // The store is gone, and its watches go on.
                    std::future::pending().await
                }
                self.verify();
            }
            if self.is_trusted() {
                return;
            }
        }
    }

    /// Whether the server's reports can be trusted, as far as is known.
    pub(super) fn is_trusted(&self) -> bool {
        matches!(self.trust, Trust::Known(true))
    }

    /// Notes the member that an answer of the watch came from. Another one than before is not trusted yet.
    pub(super) fn served_by(&mut self, member: u64) {
        // Proxies and imitations of etcd leave the id out.
        let server = (member != 0).then_some(member);
        if self.server != server {
            self.lost();
            self.server = server;
        }
    }

    /// Begins to find out whether the server can be trusted, if that is not known.
    fn verify(&mut self) {
        if let (Trust::Unknown(next), Some(server)) = (&self.trust, self.server)
            && *next <= Instant::now()
        {
            let members = self.members.clone();
            let verification = async move {
                let version = timeout(VERSION_DEADLINE, members.version(server)).await.ok()??;
                Some(is_sound(&version))
            };
            self.trust = Trust::Verifying(AbortOnDropHandle::new(tokio::spawn(verification)));
        }
    }

    fn learn(&mut self, sound: Option<bool>) {
        self.trust = match sound {
            Some(sound) => Trust::Known(sound),
            None => Trust::Unknown(Instant::now() + VERSION_RETRY_DELAY),
        };
        self.progress.trusted.store(self.is_trusted(), SeqCst);
    }

    /// The connection is lost: the next one may lead to a server of another version.
    pub(super) fn lost(&mut self) {
        self.server = None;
        self.trust = Trust::Unknown(Instant::now());
        self.progress.trusted.store(false, SeqCst);
    }
}

/// Whether a server of this version reports progress soundly.
fn is_sound(version: &str) -> bool {
    let mut parts = version.split(['.', '-', '+']).map(|part| part.parse::<u32>().ok());
    let mut part = || parts.next().flatten();
    match (part(), part(), part()) {
        (Some(3), Some(4), Some(patch)) => patch >= 31,
        (Some(3), Some(5), Some(patch)) => patch >= 13,
        (Some(3), Some(minor), Some(_)) => minor >= 6,
        (Some(major), Some(_), Some(_)) => major >= 4,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_with_the_faults_are_not_trusted() {
        for sound in
            ["3.4.31", "3.4.39", "3.5.13", "3.5.35", "3.6.0", "3.6.0-rc.1", "3.10.0", "4.0.0", "3.5.13+ds"]
        {
            assert!(is_sound(sound), "{sound}");
        }
        for unsound in
            ["3.3.27", "3.4.23", "3.4.30", "3.5.0", "3.5.12", "3.5.12+ds1-1", "2.3.8", "3.6", "", "main"]
        {
            assert!(!is_sound(unsound), "{unsound:?}");
        }
    }
}
