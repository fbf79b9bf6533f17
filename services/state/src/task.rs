//! What a process of this service may be started for: to serve, to back up, to restore.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use krake_runtime::shutdown::Shutdown;

use crate::backup::{self, BackedUp, Restored, Source};
use crate::config::{StoreConfig, Task};
use crate::opened::Opened;
use crate::run;

/// Carries out a task, until it is done or shutdown is requested. The result of a back-up or a restore is
/// printed to stdout.
pub async fn perform(task: Task, shutdown: Shutdown) -> anyhow::Result<()> {
    let interrupted = shutdown.clone();
    let work = async {
        match task {
            Task::Serve(config) => run::run(*config, shutdown).await.map(|()| String::new()),
            Task::BackUp { store, to, .. } => {
                unless(interrupted, Box::pin(back_up(store, &to))).await.context("no back-up was made")
            }
            Task::Restore { store, from, replace, .. } => {
                unless(interrupted, Box::pin(restore(store, &from, replace)))
                    .await
                    .context("the back-up was not restored")
            }
        }
    };
    let text = Box::pin(work).await?;
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// Does the work unless shutdown is requested before it is done.
async fn unless<T>(shutdown: Shutdown, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::select! {
        done = work => done,
        () = shutdown.requested() => bail!("it was interrupted"),
    }
}

async fn back_up(store: StoreConfig, to: &Path) -> anyhow::Result<String> {
    let BackedUp { revision, entries } = match store {
        // Another process may have it open.
        StoreConfig::Sqlite { file } => backup::back_up(Source::SqliteFile(&file), to).await?,
        StoreConfig::Memory => bail!("what another process keeps in memory cannot be backed up"),
        etcd @ StoreConfig::Etcd { .. } => {
            let opened = Opened::open(etcd).await?;
            backup::back_up(Source::Store(opened.store().as_ref()), to).await?
        }
    };
    Ok(format!(
        "{}: {entries} entries at revision {revision}. It holds credentials as the store does: keep it safe.\n",
        to.display()
    ))
}

async fn restore(store: StoreConfig, from: &Path, replace: bool) -> anyhow::Result<String> {
    if store == StoreConfig::Memory {
        bail!("a store in memory ends with this process: name another one by --store");
    }
    // Before the store is opened, which may make a new file.
    let verified = backup::verify(from)?;
    let opened = Opened::open(store).await?;
    let restored = backup::restore(opened.store().as_ref(), &verified, replace).await;
    opened.close().await;
    let Restored { entries, unreadable, epoch, .. } = restored?;
    let left_out = match unreadable {
        0 => String::new(),
        count => format!(" {count} of them cannot be read by this version: the service leaves them out."),
    };
    Ok(format!(
        "{entries} entries restored; the epoch is {epoch} now.{left_out} Objects on clusters that were applied after the \
         back-up will be reported as orphans and not removed.\n"
    ))
}
