//! Objects that are changed by hand, and how long it takes until they are put right.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use krake_cluster_sim::Cluster;
use tokio::time::Instant;

use super::fleet::{REPLICAS, Terrain, deployment, workload};

/// Replicas by hand.
const BY_HAND: u32 = 7;
/// Pause between two looks at an object.
const LOOK: Duration = Duration::from_millis(2);
/// Longest time until an object is put right: a repair that takes longer does not come.
const LONGEST: Duration = Duration::from_secs(120);
/// Changes at the same time.
const TOGETHER: usize = 4;

/// An object that was changed.
struct Change {
    cluster: Cluster,
    path: String,
    at: Instant,
}

impl Change {
    fn make(cluster: &Cluster, number: usize) -> Result<Self> {
        let path = workload(cluster.name(), number);
        let changed = cluster.apply(&path, &deployment(cluster.name(), number, BY_HAND));
        ensure!(changed.is_some(), "{path} of {} cannot be changed", cluster.name());
        Ok(Change { cluster: cluster.clone(), path, at: Instant::now() })
    }

    /// Waits until it is as the manifest says; how long that took.
    async fn put_right(self) -> Result<Duration> {
        loop {
            let object = self.cluster.read(&self.path).unwrap_or_default();
            if object["spec"]["replicas"] == REPLICAS {
                return Ok(self.at.elapsed());
            }
            let lasted = self.at.elapsed();
            ensure!(lasted < LONGEST, "{} on {} is not put right", self.path, self.cluster.name());
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Changes that were made.
pub(super) struct Changes(Vec<Change>);

impl Changes {
    /// Waits until all are put right.
    pub(super) async fn put_right(self) -> Result<()> {
        try_join_all(self.0.into_iter().map(Change::put_right)).await.map(drop)
    }
}

/// Changes an object on each cluster.
pub(super) fn change_one_on_each(terrain: &Terrain) -> Result<Changes> {
    terrain.clusters.iter().map(|cluster| Change::make(cluster, 0)).collect::<Result<_>>().map(Changes)
}

/// Changes objects, a few at a time on clusters but `without`, with a pause in between, and gives the times until they were
/// put right. They are of the applications from the number `first` on: the adapter pauses where one object is changed again
/// and again.
pub(super) async fn times(
    terrain: &Terrain,
    count: usize,
    first: usize,
    without: Option<&str>,
    pause: Duration,
) -> Result<Vec<Duration>> {
    let clusters: Vec<&Cluster> =
        terrain.clusters.iter().filter(|cluster| Some(cluster.name()) != without).collect();
    let mut times = Vec::with_capacity(count);
    for begin in (0..count).step_by(TOGETHER) {
        let changes = (begin..count.min(begin + TOGETHER)).map(|number| {
            Change::make(clusters[number % clusters.len()], terrain.number(first + number / clusters.len()))
        });
        let changes = changes.collect::<Result<Vec<_>>>()?;
        times.extend(try_join_all(changes.into_iter().map(Change::put_right)).await?);
        tokio::time::sleep(pause).await;
    }
    Ok(times)
}
