//! Readiness of a process: named conditions that must all hold before it is given work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The conditions of a process; clones share them. Without any condition a process is ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    conditions: Arc<Mutex<BTreeMap<String, Arc<AtomicBool>>>>,
}

/// One condition, false until [`Condition::set`] says otherwise; clones share it.
#[derive(Clone, Debug)]
pub struct Condition {
    holds: Arc<AtomicBool>,
}

impl Condition {
    /// Says whether the condition holds from now on.
    pub fn set(&self, holds: bool) {
        self.holds.store(holds, Ordering::Release);
    }

    /// Whether the condition holds.
    pub fn holds(&self) -> bool {
        self.holds.load(Ordering::Acquire)
    }
}

impl Readiness {
    /// No conditions yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the condition `name` (what must be so: `store`, `applications-synced`), false at first. The same name
    /// gives the same condition.
    pub fn condition(&self, name: impl Into<String>) -> Condition {
        let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        Condition { holds: conditions.entry(name.into()).or_default().clone() }
    }

    /// Every condition by name and whether it holds, in the order of names.
    pub fn conditions(&self) -> Vec<(String, bool)> {
        let conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.iter().map(|(name, holds)| (name.clone(), holds.load(Ordering::Acquire))).collect()
    }
}
