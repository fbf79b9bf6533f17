//! What a cache keeps: the objects, the list that arrives, and what was deleted last.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::{CachedObject, Name};
use crate::cluster::holdings::{Holdings, Overflow, Part, Sum};
use crate::object::{ApplicationUid, health};

/// Objects by their names.
pub(super) type Objects = HashMap<Name, Arc<CachedObject>>;

/// Deletions that are remembered, so that the answer to a write which was overtaken by one brings nothing back.
const REMEMBERED_DELETIONS: usize = 256;

/// Jobs that ran to their end and were deleted since, of which the last state is kept: their time to live may be over before
/// the next look at them. Larger ones are forgotten, so that a cache takes at most 4 MiB for them.
const REMEMBERED_ENDS: usize = 256;
const REMEMBERED_END_BYTES: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Contents {
    /// How often the cluster had come back when the list began that was complete last, if one was.
    pub(super) synced: Option<u64>,
    /// The credentials may not list this kind in all namespaces.
    pub(super) forbidden: bool,
    pub(super) objects: Objects,
    /// What `objects` take.
    pub(super) kept: Sum,
    /// A list that is not complete yet, which will replace `objects`.
    pub(super) arriving: Option<Arriving>,
    /// Who waits for a list.
    pub(super) waiting: HashSet<ApplicationUid>,
    /// Why there is no list yet, and how often the cluster had come back when that was met.
    pub(super) trouble: Option<(u64, String)>,
    /// The kind was not served when the watch was opened last.
    pub(super) lost: bool,
    /// What was deleted last, and the version of its deletion.
    pub(super) deleted: VecDeque<(Name, u64)>,
    /// The last states of jobs that ran to their end and are gone.
    pub(super) ended: VecDeque<(Name, Arc<CachedObject>)>,
}

/// A list that is not complete yet.
#[derive(Debug, Default)]
pub(super) struct Arriving {
    pub(super) objects: Objects,
    /// What they take.
    pub(super) sum: Sum,
    /// Number of objects of the list so far, also of those that are not kept.
    pub(super) listed: usize,
    /// How often the cluster had come back when it began.
    pub(super) began: u64,
}

impl Contents {
    /// Puts an object in, in the place of the one that has its name; returns that.
    pub(super) fn insert(
        &mut self,
        holdings: &Holdings,
        name: Name,
        object: CachedObject,
    ) -> Result<Option<Arc<CachedObject>>, Overflow> {
        let before = self.objects.get(&name).map(|before| before.size(&name)).unwrap_or_default();
        let size = object.size(&name);
        holdings.replace(Part::Kept, before, size)?;
        self.kept.add(size);
        self.kept.subtract(before);
        Ok(self.objects.insert(name, Arc::new(object)))
    }

    /// Lets a list that is not complete go.
    pub(super) fn drop_arriving(&mut self, holdings: &Holdings) {
        if let Some(arriving) = self.arriving.take() {
            holdings.give_back(Part::Arriving, arriving.sum);
        }
    }

    /// Takes all objects out.
    pub(super) fn empty(&mut self, holdings: &Holdings) -> Objects {
        self.drop_arriving(holdings);
        holdings.give_back(Part::Kept, std::mem::take(&mut self.kept));
        std::mem::take(&mut self.objects)
    }

    /// An object of a list arrived; `None` if it is of no application.
    pub(super) fn arrive(
        &mut self,
        holdings: &Holdings,
        object: Option<(Name, CachedObject)>,
    ) -> Result<(), Overflow> {
        let Some(arriving) = self.arriving.as_mut() else { return Ok(()) };
        arriving.listed += 1;
        holdings.check_listed(arriving.listed)?;
        let Some((name, object)) = object else { return Ok(()) };
        let before = arriving.objects.get(&name).map(|before| before.size(&name)).unwrap_or_default();
        let size = object.size(&name);
        holdings.replace(Part::Arriving, before, size)?;
        arriving.sum.add(size);
        arriving.sum.subtract(before);
        arriving.objects.insert(name, Arc::new(object));
        Ok(())
    }

    /// The list is complete: it replaces what is kept. Returns the applications that this concerns.
    pub(super) fn complete(&mut self, holdings: &Holdings) -> Result<HashSet<ApplicationUid>, Overflow> {
        let Arriving { objects, sum, began, .. } = self.arriving.take().unwrap_or_default();
        holdings.give_back(Part::Arriving, sum);
        holdings.replace(Part::Kept, self.kept, sum)?;
        self.synced = Some(began);
        let concerned = changed(&self.objects, &objects);
        (self.kept, self.objects) = (sum, objects);
        Ok(concerned)
    }

    /// Takes out an object that is deleted, or does not bear our marks any more, since this version.
    pub(super) fn remove(
        &mut self,
        holdings: &Holdings,
        name: Name,
        version: Option<&str>,
    ) -> Option<Arc<CachedObject>> {
        let before = self.objects.remove(&name);
        if let Some(before) = &before {
            let size = before.size(&name);
            holdings.give_back(Part::Kept, size);
            self.kept.subtract(size);
        }
        if let Some(version) = version.and_then(|version| version.parse().ok()) {
            self.deleted.push_back((name, version));
            let surplus = self.deleted.len().saturating_sub(REMEMBERED_DELETIONS);
            self.deleted.drain(..surplus);
        }
        before
    }

    /// Remembers the last state of a job that ran to its end.
    pub(super) fn remember_end(&mut self, name: Name, object: CachedObject) {
        if object.json.len() > REMEMBERED_END_BYTES || !health::is_done(&object.value()) {
            return;
        }
        self.ended.push_back((name, Arc::new(object)));
        let surplus = self.ended.len().saturating_sub(REMEMBERED_ENDS);
        self.ended.drain(..surplus);
    }

    /// Whether an object was deleted after this version of it.
    pub(super) fn is_deleted_since(&self, name: &Name, object: &CachedObject) -> bool {
        let version: Option<u64> = object.resource_version.parse().ok();
        let later = |deletion: &u64| version.is_some_and(|version| *deletion > version);
        self.deleted.iter().any(|(deleted, deletion)| deleted == name && later(deletion))
    }
}

/// The applications of all objects that came, went or are of another version.
fn changed(before: &Objects, after: &Objects) -> HashSet<ApplicationUid> {
    let differs = |this: &CachedObject, other: Option<&Arc<CachedObject>>| {
        other.is_none_or(|other| this.uid != other.uid || this.resource_version != other.resource_version)
    };
    let of = |these: &Objects, others: &Objects| -> HashSet<ApplicationUid> {
        let differing = these.iter().filter(|(name, object)| differs(object, others.get(*name)));
        differing.map(|(_, object)| object.application.clone()).collect()
    };
    let mut applications = of(before, after);
    applications.extend(of(after, before));
    applications
}
