//! What a store holds and tells: keys, revisions, entries, pages of them, and batches of changes.

use std::fmt;

use bytes::Bytes;

use super::StoreError;

/// A point in the history of a store; rises when commits change something. Independent commits made at the same time
/// may share one. The first commit is later than 1; 0 stands for "before everything".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// All of Krake's keys.
pub(crate) const ROOT: Key = Key::from_static("/krake/");

/// Keys that start with this are aside: large values that no cache holds. Watches of prefixes that are not aside do not
/// show them.
pub(crate) const ASIDE: Key = Key::from_static("/krake/~");

/// Put beside keys aside by stores whose watches see only what is in their range: so the watch of [`ROOT`] learns of the
/// revision at once, as of any other.
pub(crate) const ASIDE_MARK: Key = Key::from_static("/krake/_aside");

/// A key, or the prefix of keys: bytes, by custom text with `/` between its parts. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// A key that is known at compile time.
    #[must_use]
    pub const fn from_static(key: &'static str) -> Self {
        Self(Bytes::from_static(key.as_bytes()))
    }

    /// The bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key as text, or `None` if somebody else wrote a key that is not UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Whether the key begins with `prefix`, byte by byte.
    #[must_use]
    pub fn starts_with(&self, prefix: &Key) -> bool {
        self.0.starts_with(&prefix.0)
    }

    /// Whether the key is aside.
    #[must_use]
    pub fn is_aside(&self) -> bool {
        self.starts_with(&ASIDE)
    }

    /// Whether a watch of `prefix` shows the key.
    pub(super) fn is_watched_below(&self, prefix: &Key) -> bool {
        is_watched(&self.0, prefix)
    }

    /// Refuses the empty key, which is good as a prefix only.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.0.is_empty() {
            return Err(StoreError::Invalid { reason: "the key is empty".to_owned() });
        }
        Ok(())
    }
}

/// [`Key::is_watched_below`] of a key's bytes.
pub(super) fn is_watched(key: &[u8], prefix: &Key) -> bool {
    key.starts_with(&prefix.0) && (prefix.is_aside() || !key.starts_with(&ASIDE.0))
}

impl From<&str> for Key {
    fn from(key: &str) -> Self {
        Self(Bytes::copy_from_slice(key.as_bytes()))
    }
}

impl From<String> for Key {
    fn from(key: String) -> Self {
        Self(key.into())
    }
}

impl From<Vec<u8>> for Key {
    fn from(key: Vec<u8>) -> Self {
        Self(key.into())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0).fmt(f)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

/// A key with its value. Its `Debug` form tells the length of the value only: values may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value as it was put.
    pub value: Bytes,
    /// The revision that created the key; a deleted and re-created key gets a new one.
    pub created: Revision,
    /// The revision of the last put.
    pub modified: Revision,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key)
            .field("value", &format_args!("{} bytes", self.value.len()))
            .field("created", &self.created)
            .field("modified", &self.modified)
            .finish()
    }
}

/// Which part of a list to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The revision to read at; unset on a first page, which reads the present.
    pub at: Option<Revision>,
    /// Only keys greater than this one.
    pub after: Option<Key>,
    /// The most entries to return, at least 1.
    pub limit: usize,
}

impl Page {
    /// The first page, at the present revision.
    #[must_use]
    pub fn first(limit: usize) -> Self {
        Self { at: None, after: None, limit }
    }

    /// Refuses what no backend may accept, so that all of them accept the same.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let invalid = |reason: String| Err(StoreError::Invalid { reason });
        if self.limit == 0 {
            return invalid("the limit of a page is at least 1".to_owned());
        }
        match self.at {
            Some(at) if at < Revision(1) => invalid(format!("there is no state at revision {at}")),
            _ => Ok(()),
        }
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// At most `limit` entries by ascending key; fewer where their values are large, even if there are more.
    pub entries: Vec<Entry>,
    /// The revision that the page shows: the one to ask later pages at, and to watch after.
    pub revision: Revision,
    /// Whether entries follow after the last one.
    pub more: bool,
}

impl Listing {
    /// The page that follows this one, or `None` if this is the last.
    #[must_use]
    pub fn next_page(&self, limit: usize) -> Option<Page> {
        let last = self.entries.last().filter(|_| self.more)?;
        Some(Page { at: Some(self.revision), after: Some(last.key.clone()), limit })
    }
}

/// All changes of one revision below the prefix of a watch, in the order of the operations of each transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The revision that made the changes.
    pub revision: Revision,
    /// Each of another key. Empty only in reports of progress, which [`super::Store::watch_progress`] describes.
    pub changes: Vec<Change>,
}

impl Batch {
    /// What a watch of `prefix` shows of it, if anything. With `reports`, a batch without changes for one that changes only
    /// keys aside.
    pub(super) fn shown(&self, prefix: &Key, reports: bool) -> Option<Batch> {
        let shown = self.changes.iter().filter(|change| change.key.is_watched_below(prefix));
        let changes: Vec<Change> = shown.cloned().collect();
        let is_aside = || self.changes.iter().all(|change| change.key.is_aside());
        (!changes.is_empty() || (reports && is_aside())).then_some(Batch { revision: self.revision, changes })
    }
}

/// What happened to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Key,
    /// Put or deleted.
    pub kind: ChangeKind,
    /// What the key held just before; `None` if it was absent.
    pub previous: Option<Entry>,
}

/// Whether a key was put or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// The key holds this entry now.
    Put(Entry),
    /// The key is gone.
    Delete,
}
