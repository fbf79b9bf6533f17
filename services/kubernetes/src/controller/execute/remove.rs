//! Removes the objects of a copy from a cluster that is confirmed to be the registered one, and records what follows.

use std::time::Duration;

use tokio::time::Instant;

use super::super::manifest::{self, Manifest};
use super::{Executor, Progress, SOON};
use crate::object::claims::{self, ClaimTemplates, is_set};
use crate::object::containers::is_container;
use crate::object::remove::{Going, Removal, Surroundings, remove};
use crate::object::waves::Wait;
use crate::object::{ApplicationUid, InventoryEntry, ObjectKey, keys};
use crate::plan::{self, CopyRecord, Phase, Step, Strategy, Waited};

/// How long objects of a copy are deleted at a time: then it is recorded how far that is.
const LONGEST_PART: Duration = Duration::from_secs(30);

impl Executor<'_> {
    /// Removes objects, and records what follows.
    pub(super) async fn remove(
        &self,
        inventory: &[InventoryEntry],
        after: impl Fn(&CopyRecord, &Removal) -> Step,
        copy: &mut Option<CopyRecord>,
        progress: &mut Progress,
    ) -> anyhow::Result<bool> {
        let handle = self.sighting.and_then(|sighting| sighting.handle.as_ref());
        let (Some(handle), Some(mut recorded)) = (handle, copy.clone()) else { return Ok(false) };
        let claims =
            self.claim_templates(&recorded, inventory, handle.connection().default_namespace()).await?;
        let going = keys(inventory);
        let is_going = |entry: &&InventoryEntry| going.contains(&entry.key);
        let staying: Vec<_> = recorded.inventory.iter().filter(|entry| !is_going(entry)).cloned().collect();
        let is_shown = |key: &ObjectKey| handle.shows(key, &self.application.uid);
        let other_user = self.neighbours.others(self.cluster, Some(&self.application.uid));
        let records = self.neighbours.records(self.cluster, &self.application.uid);
        let exists = |uid: &ApplicationUid| self.neighbours.may_exist(uid);
        let going = Going {
            objects: inventory,
            staying: &staying,
            identity: self.identity,
            with_dependents: self.application.strategy == Strategy::DeleteFirst,
            is_shown: &is_shown,
            before_successor: self.application.strategy == Strategy::DeleteFirst
                && !self.application.deleted
                && recorded.phase == Phase::Removing,
            until: Instant::now() + LONGEST_PART,
            surroundings: Surroundings {
                claims: &claims,
                other_user: &other_user,
                exists: &exists,
                recorded: &records,
            },
        };
        let work = remove(handle.connection(), handle.discovery(), going);
        let work = Box::pin(handle.on_known(work));
        let Some(removed) = self.leadership.within_lease(work).await else {
            return Ok(false);
        };
        let Ok(removal) = removed else {
            // What became of it is not known; the cluster wakes us when it answers again.
            progress.wait(SOON);
            return Ok(false);
        };
        // On another cluster nothing of it would be found.
        if removal.remaining.len() < inventory.len() && !self.is_answer_of(handle.known_now()).await {
            progress.wait(SOON);
            return Ok(false);
        }
        for left in &removal.remaining {
            tracing::debug!(application = %self.application.key, cluster = %self.name(), object = %left.key,
                waits_for = left.waits_for.as_ref().map(Wait::why), "not gone yet");
        }
        if !removal.released.is_empty() {
            for released in &removal.released {
                tracing::warn!(application = %self.application.key, cluster = %self.name(), object = %released.key,
                    why = released.why, "left on the cluster");
            }
            let told = plan::after_release(&recorded, &removal.released);
            if !self.record(told, copy, progress).await? {
                return Ok(false);
            }
            let Some(now) = copy.clone() else { return Ok(false) };
            recorded = now;
        }
        self.follow(after(&recorded, &removal), copy, progress).await
    }

    /// How long the present wave of a removal has been waited for.
    pub(super) fn waited(&self, removal: &Removal) -> Waited {
        Waited {
            time: self.removals.waits(&self.application.uid, self.cluster, removal.wave),
            deadline: self.removal_deadline,
            deleted: self.application.deleted,
        }
    }

    /// The claim templates of the StatefulSets that go with a namespace: by all that the cluster was given of them. What
    /// cannot be read has none, so that claims stay.
    async fn claim_templates(
        &self,
        copy: &CopyRecord,
        going: &[InventoryEntry],
        default_namespace: &str,
    ) -> anyhow::Result<Vec<ClaimTemplates>> {
        let has = |is: fn(&ObjectKey) -> bool| going.iter().any(|entry| is(&entry.key));
        let mut found = Vec::new();
        if !has(is_container) || !has(is_set) {
            return Ok(found);
        }
        let works = [copy.applied_work, copy.intended_work];
        let mut sets: Vec<_> = works.into_iter().flatten().map(|work| work.set).collect();
        match &self.application.manifest {
            Manifest::Stored(set) => sets.push(*set),
            Manifest::Inline(texts) => {
                let documents = manifest::parsed(texts).unwrap_or_default();
                found.extend(claims::templates(&documents, default_namespace));
            }
        }
        sets.dedup();
        for set in sets {
            let read = self.memory.documents.read(self.client, self.application, &set).await?;
            let documents = read.ok().and_then(|rendering| rendering.documents().ok()).unwrap_or_default();
            found.extend(claims::templates(&documents, default_namespace));
        }
        Ok(found)
    }
}
