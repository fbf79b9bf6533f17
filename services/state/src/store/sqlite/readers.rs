//! Reads: on connections of their own, off the async threads, a bounded number at a time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::super::StoreError;
use super::failure::{failure, unavailable};
use super::file::keep_log_on_close;
use super::identity::OpenFiles;

/// Maximum number of reads at once: each has a thread and a page cache of 2 MiB, and the disk serves no more at a time.
const READ_CONNECTIONS: usize = 4;
/// Wait for a lock that another program holds, such as the sqlite3 shell.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// The connections that are used for reading. They are opened when they are needed.
#[derive(Clone)]
pub(super) struct Readers {
    file: OpenFiles,
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    deadline: Duration,
}

impl Readers {
    /// Of a file that is a store.
    pub(super) fn new(file: OpenFiles, deadline: Duration) -> Self {
        Self { file, idle: Arc::default(), permits: Arc::new(Semaphore::new(READ_CONNECTIONS)), deadline }
    }

    /// Reads in one transaction, which sees what was committed before this was called.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reading = async {
            let permit = Arc::clone(&self.permits).acquire_owned().await;
            let permit = permit.map_err(|_| unavailable("the store is closed"))?;
            let (idle, file) = (Arc::clone(&self.idle), self.file.clone());
            let read = tokio::task::spawn_blocking(move || {
                // Kept to the end, also if nobody waits for the answer any more.
                let _permit = permit;
                let reused = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let connection = match reused {
                    Some(connection) => connection,
                    None => open_checked(&file)?,
                };
                let answer = in_transaction(&connection, read);
                // Afterwards: what was in place then was so while it was read.
                if let Err(error) = file.check() {
                    give_back(&idle, connection);
                    return Err(error);
                }
                match answer {
                    Err(ReadError::Sqlite(error)) => Err(failure(&error, file.path())),
                    Err(ReadError::Store(error)) => {
                        give_back(&idle, connection);
                        Err(error)
                    }
                    Ok(answer) => {
                        give_back(&idle, connection);
                        Ok(answer)
                    }
                }
            });
            read.await.unwrap_or_else(|_| Err(unavailable("the read was given up")))
        };
        let late = || Err(unavailable(format!("no answer to a read within {:?}", self.deadline)));
        timeout(self.deadline, reading).await.unwrap_or_else(|_| late())
    }

    /// Lets no further read begin, waits for those under way and closes the connections.
    pub(super) async fn close(&self) {
        let all = u32::try_from(READ_CONNECTIONS).unwrap_or(u32::MAX);
        let permits = timeout(self.deadline, self.permits.acquire_many(all)).await;
        self.permits.close();
        drop(permits);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Why a read failed: the file, or what was asked.
pub(super) enum ReadError {
    Sqlite(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn in_transaction<T>(
    connection: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, ReadError>,
) -> Result<T, ReadError> {
    let transaction = connection.unchecked_transaction()?;
    let answer = read(&transaction)?;
    transaction.commit()?;
    Ok(answer)
}

fn give_back(idle: &Mutex<Vec<Connection>>, connection: Connection) {
    idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
}

/// A connection that cannot write, to the file that the writer has open.
fn open_checked(file: &OpenFiles) -> Result<Connection, StoreError> {
    let connection = open(file.path()).map_err(|error| failure(&error, file.path()))?;
    // After it was opened: another file that comes later is none of this connection's.
    file.check()?;
    Ok(connection)
}

/// A connection that cannot write.
pub(super) fn open(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(PathBuf::from(file), flags)?;
    connection.busy_timeout(LOCK_WAIT)?;
    // The writer's connection puts the log into the file, if that is right.
    keep_log_on_close(&connection, true)?;
    Ok(connection)
}
