//! Questions about values that cannot be read: a newer version wrote them, perhaps, and they must not look erased.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Cache, Stored};
use crate::error::Error;
use crate::object::key;
use crate::store::Key;

impl Cache {
    /// The resource at `key`, if there is one.
    ///
    /// # Errors
    /// When its present value cannot be read: then it is there, and nothing may be decided on what it was before.
    pub(crate) fn get_readable(&self, key: &Key) -> Result<Option<Arc<Stored>>, Error> {
        let contents = self.read();
        if contents.unreadable.contains(key) {
            return Err(Error::Internal(format!("cannot read {key}: a newer version wrote it, perhaps")));
        }
        Ok(contents.objects.get(key).cloned())
    }

    /// The keys below `prefix` whose present value cannot be read: a newer version wrote it, perhaps.
    pub(crate) fn unreadable_below(&self, prefix: &Key) -> BTreeSet<Key> {
        let contents = self.read();
        contents.unreadable.iter().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    /// The first `limit` keys whose present value cannot be read and whose parts satisfy `is_meant`, and how many there are.
    pub(crate) fn unreadable_where(
        &self,
        limit: usize,
        is_meant: impl Fn(&key::Parts<'_>) -> bool,
    ) -> (Vec<Key>, usize) {
        let contents = self.read();
        let is_meant = |key: &&Key| key::parse(key).is_some_and(|parts| is_meant(&parts));
        let mut found = contents.unreadable.iter().filter(is_meant);
        let first: Vec<Key> = found.by_ref().take(limit).cloned().collect();
        let count = first.len() + found.count();
        (first, count)
    }
}
