//! What was read of sets lately, kept in memory: an application is read more often than its documents change, and the set
//! that it names is not read from the store, and decoded, each time. A set is immutable, so what is kept never grows old.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::super::{Error, Registry};
use crate::documents::Hash as Sha256;

/// Maximum size of all sets that are kept: those of some ten thousand applications, as most are.
const KEPT_BYTES: usize = 32 * 1024 * 1024;
/// Bytes that a set counts for beside its text: about what its name takes in memory.
const FRAME_BYTES: usize = 256;

/// What is kept of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in super::super) enum Form {
    /// Its text.
    Text,
    /// The status fields that show it while nothing was seen of its objects, encoded.
    Field,
}

/// The uid of the object that a set belongs to, the hash of the set, and the form. The uid is part of it: who may read
/// one object and knows a hash must not get the documents of another.
type Name = (String, Sha256, Form);

/// The sets that are kept; the one that came first goes first.
#[derive(Debug, Default)]
pub(in super::super) struct ShownSets(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    texts: HashMap<Name, Bytes>,
    order: VecDeque<Name>,
    bytes: usize,
}

impl ShownSets {
    fn get(&self, name: &Name) -> Option<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).texts.get(name).cloned()
    }

    fn keep(&self, name: Name, text: Bytes) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let size = |text: &Bytes| text.len() + FRAME_BYTES;
        if size(&text) > KEPT_BYTES || kept.texts.contains_key(&name) {
            return;
        }
        kept.bytes += size(&text);
        kept.order.push_back(name.clone());
        kept.texts.insert(name, text);
        while kept.bytes > KEPT_BYTES {
            let Some(first) = kept.order.pop_front() else { break };
            if let Some(text) = kept.texts.remove(&first) {
                kept.bytes -= size(&text);
            }
        }
    }
}

impl Registry {
    /// What `make` makes of the text of a set, in this form; `None` if the set is not stored. For sets that a stored object
    /// names: they are not erased as long as that is so.
    pub(in super::super) async fn made_of_named(
        &self,
        uid: &str,
        sha256: &Sha256,
        form: Form,
        make: impl FnOnce(Bytes) -> Result<Bytes, Error> + Send,
    ) -> Result<Option<Bytes>, Error> {
        let name = (uid.to_owned(), *sha256, form);
        if let Some(kept) = self.shown_sets.get(&name) {
            return Ok(Some(kept));
        }
        let Some(text) = self.read_documents(uid, sha256).await? else { return Ok(None) };
        let made = make(text)?;
        self.shown_sets.keep(name, made.clone());
        Ok(Some(made))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u8) -> Name {
        ("u".to_owned(), [number; 32], Form::Text)
    }

    #[test]
    fn a_set_is_kept_by_its_owner_its_hash_and_its_form() {
        let sets = ShownSets::default();
        sets.keep(name(1), Bytes::from_static(b"[1]"));
        assert_eq!(sets.get(&name(1)), Some(Bytes::from_static(b"[1]")));
        assert_eq!(sets.get(&name(2)), None);
        assert_eq!(sets.get(&("another".to_owned(), [1; 32], Form::Text)), None);
        assert_eq!(sets.get(&("u".to_owned(), [1; 32], Form::Field)), None);
    }

    #[test]
    fn what_is_kept_is_bounded_by_bytes() {
        let sets = ShownSets::default();
        let third = Bytes::from(vec![b' '; KEPT_BYTES / 3 - FRAME_BYTES]);
        for number in 1..=4 {
            sets.keep(name(number), third.clone());
            sets.keep(name(number), third.clone());
        }
        let found: Vec<u8> = (1..=4).filter(|number| sets.get(&name(*number)).is_some()).collect();
        assert_eq!(found, [2, 3, 4], "the first one made room");
        sets.keep(name(5), Bytes::from(vec![b' '; KEPT_BYTES]));
        assert_eq!(sets.get(&name(5)), None, "it would leave no room for others");
        let kept = sets.0.lock().unwrap();
        assert_eq!((kept.order.len(), kept.texts.len()), (3, 3));
        assert!(kept.bytes <= KEPT_BYTES);
    }
}
