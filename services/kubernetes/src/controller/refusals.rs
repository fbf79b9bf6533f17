//! Objects of running copies whose repair is refused: each is tried again slowly by itself, while the others are repaired.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::pauses::SlowRetries;
use crate::object::{ApplicationUid, ClusterUid, ObjectKey};
use crate::plan::Aim;

type Copy = (ApplicationUid, ClusterUid);

/// What the watches show of an object that another application has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    /// uid of the object.
    pub(super) uid: String,
    /// The application on its label.
    pub(super) application: ApplicationUid,
    /// Whether that is known to be erased.
    pub(super) is_erased: bool,
}

/// The objects that other applications have.
pub(super) type Held = BTreeMap<ObjectKey, Holder>;

/// Longest time between two looks at a copy whose object another application holds: a change of that object wakes only the
/// application on its label.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The refusals, per copy.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    slow: SlowRetries,
    copies: Mutex<HashMap<Copy, OfCopy>>,
}

/// The refused objects of a copy, of one set of documents.
#[derive(Debug)]
struct OfCopy {
    aim: Aim,
    objects: BTreeMap<ObjectKey, Refused>,
}

#[derive(Clone, Debug)]
struct Refused {
    /// Number of refusals in a row.
    times: u32,
    last: Instant,
    /// Which other application had it when it was to be repaired.
    holder: Option<Holder>,
}

impl Refusals {
    /// No refusals, and after those that come these pauses.
    pub(super) fn new(slow: SlowRetries) -> Self {
        Self { slow, copies: Mutex::default() }
    }

    /// An object was refused.
    pub(super) fn refused(
        &self,
        application: &ApplicationUid,
        cluster: &ClusterUid,
        aim: Aim,
        object: &ObjectKey,
        holder: Option<&Holder>,
    ) {
        let mut copies = self.lock();
        let none = OfCopy { aim, objects: BTreeMap::new() };
        let of_copy = copies.entry((application.clone(), cluster.clone())).or_insert(none);
        if of_copy.aim != aim {
            *of_copy = OfCopy { aim, objects: BTreeMap::new() };
        }
        let times = of_copy.objects.get(object).map_or(0, |refused| refused.times);
        let refused =
            Refused { times: times.saturating_add(1), last: Instant::now(), holder: holder.cloned() };
        of_copy.objects.insert(object.clone(), refused);
    }

    /// An object was accepted.
    pub(super) fn accepted(&self, application: &ApplicationUid, cluster: &ClusterUid, object: &ObjectKey) {
        self.retain(application, cluster, |key, _| key != object);
    }

    /// Takes a look at a copy in: forgets the objects that need no repair any more, and those that are another's or nobody's
    /// since they were refused.
    pub(super) fn seen(
        &self,
        application: &ApplicationUid,
        cluster: &ClusterUid,
        needs_repair: impl Fn(&ObjectKey) -> bool,
        held: &Held,
    ) {
        self.retain(application, cluster, |key, refused| {
            held.get(key) == refused.holder.as_ref() && needs_repair(key)
        });
    }

    fn retain(
        &self,
        application: &ApplicationUid,
        cluster: &ClusterUid,
        keeps: impl Fn(&ObjectKey, &Refused) -> bool,
    ) {
        let mut copies = self.lock();
        let copy = (application.clone(), cluster.clone());
        let Some(of_copy) = copies.get_mut(&copy) else { return };
        of_copy.objects.retain(|key, refused| keeps(key, refused));
        if of_copy.objects.is_empty() {
            copies.remove(&copy);
        }
    }

    /// The objects that are not to be repaired yet, and how long to wait until each is looked at again.
    pub(super) fn remaining(
        &self,
        application: &ApplicationUid,
        cluster: &ClusterUid,
        aim: Aim,
    ) -> BTreeMap<ObjectKey, Duration> {
        let copies = self.lock();
        let copy = (application.clone(), cluster.clone());
        let Some(of_copy) = copies.get(&copy).filter(|of_copy| of_copy.aim == aim) else {
            return BTreeMap::new();
        };
        let rest = |(key, refused): (&ObjectKey, &Refused)| {
            let pause = self.slow.pause(refused.times, &(&copy, key));
            let rest = pause.saturating_sub(refused.last.elapsed());
            let wait = if refused.holder.is_some() { rest.min(LOOK_AGAIN) } else { rest };
            (!rest.is_zero()).then(|| (key.clone(), wait))
        };
        of_copy.objects.iter().filter_map(rest).collect()
    }

    /// Holds nothing against the objects of a copy.
    pub(super) fn forget(&self, application: &ApplicationUid, cluster: &ClusterUid) {
        self.lock().remove(&(application.clone(), cluster.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Copy, OfCopy>> {
        // Nothing that holds the lock panics halfway through a change.
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AIM: Aim = Aim::Generation(1);

    fn key(name: &str) -> ObjectKey {
        ObjectKey { api_version: "v1".into(), kind: "ConfigMap".into(), namespace: None, name: name.into() }
    }

    fn seconds(refusals: &Refusals, aim: Aim) -> Vec<(String, u64)> {
        let remaining = refusals.remaining(&"app".into(), &"c".into(), aim);
        remaining.into_iter().map(|(key, rest)| (key.name, rest.as_secs())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn each_object_waits_by_itself_and_longer_each_time() {
        let refusals = Refusals::default();
        let refuse = |name: &str| refusals.refused(&"app".into(), &"c".into(), AIM, &key(name), None);
        refuse("a");
        tokio::time::advance(Duration::from_secs(100)).await;
        refuse("b");
        let [(a, of_a), (b, of_b)] = seconds(&refusals, AIM).try_into().unwrap();
        assert_eq!((a.as_str(), b.as_str()), ("a", "b"));
        assert!((140..=260).contains(&of_a) && (240..=360).contains(&of_b), "{of_a} {of_b}");
        refuse("a");
        assert!(seconds(&refusals, AIM)[0].1 >= 480, "twice as long");
        assert_eq!(seconds(&refusals, Aim::Generation(2)), [], "other documents are tried at once");
        refusals.accepted(&"app".into(), &"c".into(), &key("a"));
        assert_eq!(seconds(&refusals, AIM).len(), 1);
        tokio::time::advance(Duration::from_secs(400)).await;
        assert_eq!(seconds(&refusals, AIM), [], "it is tried again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_needs_no_repair_is_forgotten() {
        let refusals = Refusals::default();
        for name in ["a", "b"] {
            refusals.refused(&"app".into(), &"c".into(), AIM, &key(name), None);
        }
        refusals.seen(&"app".into(), &"c".into(), |key| key.name == "b", &Held::new());
        assert_eq!(seconds(&refusals, AIM).len(), 1);
        refusals.seen(&"app".into(), &"c".into(), |_| false, &Held::new());
        assert!(refusals.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_is_free_again_is_tried_at_once() {
        let refusals = Refusals::default();
        let look = |held: &Held| refusals.seen(&"app".into(), &"c".into(), |_| true, held);
        let held = |uid: &str, is_erased| {
            let holder = Holder { uid: uid.to_owned(), application: "other".into(), is_erased };
            Held::from([(key("a"), holder)])
        };
        for now in [Held::new(), held("v", false), held("u", true)] {
            let held_then = held("u", false);
            refusals.refused(&"app".into(), &"c".into(), AIM, &key("a"), held_then.get(&key("a")));
            for _ in 0..2 {
                look(&held("u", false));
                assert_eq!(seconds(&refusals, AIM).len(), 1, "as it was when it was refused");
            }
            look(&now);
            assert_eq!(seconds(&refusals, AIM), []);
        }
    }
}
