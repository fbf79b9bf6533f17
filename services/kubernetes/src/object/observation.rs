//! What is seen of an application's copy on a cluster. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::cluster::cache::CachedObject;
use crate::object::drift::{self, Baseline};
use crate::object::health::{self, Health, Verdict};
use crate::object::prepare::Target;
use crate::object::services;
use crate::object::{ApplicationUid, InventoryEntry, ObjectKey};

/// What is seen of one target.
#[derive(Clone, Debug)]
pub enum Sight {
    /// The watch has not told yet.
    Unknown,
    /// Objects of this kind cannot be watched: it is believed to be what was applied.
    Unwatched,
    /// There is no such object of ours.
    Absent,
    /// The object as last seen.
    Present(Arc<CachedObject>),
}

/// What is seen of a whole copy.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// Targets that do not exist, or not as ours.
    pub missing: Vec<ObjectKey>,
    /// Targets whose observed fields somebody changed.
    pub drifted: Vec<ObjectKey>,
    /// Pods and worst verdict over all targets; never available while something is missing.
    pub health: Health,
    /// Address per Service.
    pub services: BTreeMap<String, String>,
    /// The targets that exist, with their uids.
    pub present: Vec<InventoryEntry>,
}

/// What is known of each object since it was last applied.
pub type Baselines = HashMap<ObjectKey, Baseline>;

/// Puts together what is seen of all targets, `sights` in their order. Nothing while any of them is unknown.
pub fn observe(
    targets: &[Target],
    sights: &[Sight],
    baselines: &Baselines,
    application: &ApplicationUid,
    cluster_host: &str,
) -> Option<Observation> {
    let mut missing = Vec::new();
    let mut drifted = Vec::new();
    let mut present = Vec::new();
    let mut live: Vec<(&ObjectKey, Value)> = Vec::new();
    for (target, sight) in targets.iter().zip(sights) {
        let key = &target.prepared.key;
        match sight {
            Sight::Unknown => return None,
            Sight::Unwatched => {}
            Sight::Present(object) if object.application == *application => {
                let value = object.value();
                if !drift::drift(&target.prepared.observed(), &value, baselines.get(key)).is_empty() {
                    drifted.push(key.clone());
                }
                present.push(InventoryEntry { key: key.clone(), uid: Some(object.uid.clone()) });
                live.push((key, value));
            }
            Sight::Absent | Sight::Present(_) => missing.push(key.clone()),
        }
    }
    let mut health = health::of_copy(live.iter().map(|(key, value)| (*key, value)));
    if let (Some(first), false) = (missing.first(), matches!(health.verdict, Verdict::Failed(_))) {
        health.verdict = Verdict::Progressing(format!("{first} does not exist"));
    }
    let services = services::addresses(live.iter().map(|(_, value)| value), cluster_host);
    Some(Observation { missing, drifted, health, services, present })
}
