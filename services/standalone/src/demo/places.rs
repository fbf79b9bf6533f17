//! Where the simulated clusters and the wind listen: at the same ports in every run, if they are still free.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::folder::DataFolder;

/// Remembers the ports, in the data folder: what Krake has stored of clusters and wind is then true in the next run.
const FILE: &str = "demo-ports.json";

/// The listeners of what is simulated.
#[derive(Debug)]
pub(crate) struct Places {
    /// Of the clusters.
    pub(crate) clusters: TcpListener,
    /// Of the wind.
    pub(crate) wind: TcpListener,
}

/// What is to be remembered, once it is certain that the data folder is ours.
#[derive(Debug)]
pub(crate) struct Memory {
    path: PathBuf,
    ports: Ports,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Ports {
    clusters: u16,
    wind: u16,
}

impl Places {
    /// Listens on the port of the last run on this data folder, or on another one if that is taken.
    pub(crate) async fn find(data_dir: &Path) -> anyhow::Result<(Self, Memory)> {
        let path = DataFolder::make(data_dir)?.path().join(FILE);
        // Without it, or if it is broken, any port will do.
        let before = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let Ports { clusters, wind } = before.unwrap_or_default();
        let clusters = listen(clusters).await.context("cannot listen for the simulated clusters")?;
        let wind = listen(wind).await.context("cannot listen for questions about the wind")?;
        let ports = Ports { clusters: clusters.local_addr()?.port(), wind: wind.local_addr()?.port() };
        Ok((Places { clusters, wind }, Memory { path, ports }))
    }
}

impl Memory {
    /// Keeps it for the next run.
    pub(crate) fn keep(&self) -> anyhow::Result<()> {
        let text = serde_json::to_string(&self.ports)?;
        std::fs::write(&self.path, text).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Listens on this port of the loopback interface, or on another if it is in use or 0.
async fn listen(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind(("127.0.0.1", port)).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => TcpListener::bind(("127.0.0.1", 0)).await,
        bound => bound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ports_are_the_same_again_unless_they_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (first, memory) = Places::find(folder.path()).await.unwrap();
        memory.keep().unwrap();
        let (_second, elsewhere) = Places::find(folder.path()).await.unwrap();
        assert_ne!(elsewhere.ports, memory.ports);
        drop(first);
        // Another process of this machine may take a port in between, but not every time.
        let mut found = false;
        for _ in 0..10 {
            let (places, again) = Places::find(folder.path()).await.unwrap();
            found |= again.ports == memory.ports;
            drop(places);
        }
        assert!(found);
    }
}
