//! The store as the state service guards it: one application, two clusters, and the rules for writing them.
//!
//! The rules are those of `krake-state`: BindApplication (`registry/bind.rs`), ReportCopy (`registry/copy.rs`), Delete
//! and RemoveFinalizer (`registry/delete.rs`). Each write is one transaction on the present state: what a caller read
//! before counts only where a rule compares it.

/// A cluster, 0 or 1.
pub(crate) type Cluster = usize;

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Life {
    Active,
    /// Marked, and waiting for the garbage collector.
    Cascading,
    /// Released by the garbage collector; its copies hold it.
    Draining,
    Erased,
}

impl Life {
    pub(crate) fn marked(self) -> bool {
        self != Life::Active
    }
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Phase {
    Intended,
    Running,
    Removing,
}

/// The record of a copy. Versions begin at 1 with each first record, as the state service counts them.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) version: u8,
    pub(crate) phase: Phase,
}

/// Everything that is stored; also what a mirror shows of some earlier moment.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) struct Store {
    pub(crate) application: Life,
    pub(crate) bound: Option<Cluster>,
    pub(crate) copies: [Option<Copy>; 2],
    pub(crate) clusters: [Life; 2],
    /// Whether a cluster bears the finalizer that waits for its copies.
    pub(crate) held: [bool; 2],
}

impl Store {
    pub(crate) fn new() -> Self {
        Store {
            application: Life::Active,
            bound: None,
            copies: [None; 2],
            clusters: [Life::Active; 2],
            held: [false; 2],
        }
    }

    /// BindApplication of `to` (nothing = release) in place of `replaces`; no precondition if that is nothing.
    pub(crate) fn bind(&self, replaces: Option<Cluster>, to: Option<Cluster>) -> Option<Store> {
        if self.application.marked() || replaces.is_some() && replaces != self.bound || to == self.bound {
            return None;
        }
        match to {
            Some(to) if self.clusters[to].marked() => return None,
            None if self.bound.is_some_and(|bound| !self.clusters[bound].marked()) => return None,
            _ => {}
        }
        Some(Store { bound: to, ..*self })
    }

    /// ReportCopy: `phase` (nothing = forget it) for the copy whose version is `expected`; 0 = there is none.
    pub(crate) fn report(&self, cluster: Cluster, expected: u8, phase: Option<Phase>) -> Option<Store> {
        let present = self.copies[cluster];
        if self.application == Life::Erased || present.map_or(0, |copy| copy.version) != expected {
            return None;
        }
        let mut after = *self;
        match (present, phase) {
            (None, None) => return None,
            (None, Some(phase)) => {
                let allowed = phase == Phase::Intended
                    && !self.application.marked()
                    && self.bound == Some(cluster)
                    && !self.clusters[cluster].marked();
                if !allowed {
                    return None;
                }
                after.held[cluster] = true;
                after.copies[cluster] = Some(Copy { version: 1, phase });
            }
            (Some(copy), Some(phase)) => {
                after.copies[cluster] = Some(Copy { version: copy.version + 1, phase });
            }
            (Some(_), None) => after.copies[cluster] = None,
        }
        if after.application == Life::Draining && after.copies == [None; 2] {
            after.application = Life::Erased;
        }
        Some(after)
    }

    /// Delete of the application.
    pub(crate) fn delete_application(&self) -> Option<Store> {
        (!self.application.marked()).then_some(Store { application: Life::Cascading, ..*self })
    }

    /// Delete of a cluster.
    pub(crate) fn delete_cluster(&self, cluster: Cluster) -> Option<Store> {
        let mut after = *self;
        after.clusters[cluster] = Life::Cascading;
        (!self.clusters[cluster].marked()).then_some(after)
    }

    /// The garbage collector lets the application go.
    pub(crate) fn collect_application(&self) -> Option<Store> {
        let life = if self.copies == [None; 2] { Life::Erased } else { Life::Draining };
        (self.application == Life::Cascading).then_some(Store { application: life, ..*self })
    }

    /// The garbage collector lets a cluster go; applications are released by it, not deleted.
    pub(crate) fn collect_cluster(&self, cluster: Cluster) -> Option<Store> {
        let mut after = *self;
        after.clusters[cluster] = if self.held[cluster] { Life::Draining } else { Life::Erased };
        (self.clusters[cluster] == Life::Cascading).then_some(after)
    }

    /// An adapter lets a cluster go on which it knows of no copy; refused while there is one.
    pub(crate) fn release_cluster(&self, cluster: Cluster) -> Option<Store> {
        let mut after = *self;
        after.clusters[cluster] = Life::Erased;
        after.held[cluster] = false;
        (self.clusters[cluster] == Life::Draining && self.copies[cluster].is_none()).then_some(after)
    }
}
