//! By what the objects of a copy are judged while one set of documents replaces another. Pure.
//!
//! Until the new set was accepted whole, each object is judged by the set of which it was accepted last. A process that began
//! in between does not know which that was: then the object may be either.

use std::collections::HashMap;

use crate::object::ObjectKey;
use crate::object::order::Rank;
use crate::object::rendering::DocumentHash;

/// The objects of one set of documents, each with whatever stands for its document.
#[derive(Clone, Debug)]
pub struct Objects<T> {
    /// The set.
    pub hash: DocumentHash,
    /// In the order in which they are applied.
    pub objects: Vec<(ObjectKey, T)>,
}

/// An object that a copy should have.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected<T> {
    /// What names it.
    pub key: ObjectKey,
    /// What it may be, at least one: the first is what it is repaired to if it is none of them.
    pub candidates: Vec<(Option<DocumentHash>, T)>,
    /// It may never have been accepted, so its absence is no loss.
    pub optional: bool,
    /// It ended well, so its absence is no loss, and it is not applied again.
    pub done: bool,
}

/// The objects that a copy should have, of which `applied` was accepted whole and `intended` perhaps in part. `accepted` is
/// the set of which an object was accepted last, if that is known; `completed` whether it ended well as an object of a set.
pub fn expected<'a, T: Clone>(
    applied: &'a Objects<T>,
    intended: Option<&'a Objects<T>>,
    accepted: impl Fn(&ObjectKey) -> Option<DocumentHash>,
    completed: impl Fn(&ObjectKey, DocumentHash) -> bool,
) -> Vec<Expected<T>> {
    let intended = intended.filter(|intended| intended.hash != applied.hash);
    let by_key = |objects: &'a Objects<T>| objects.objects.iter().map(|(key, what)| (key, what));
    let former: HashMap<_, _> = by_key(applied).collect();
    let replacing: HashMap<_, _> = intended.into_iter().flat_map(by_key).collect();
    let replacement = |key: &ObjectKey| Some((intended?.hash, *replacing.get(key)?));
    let expectation = |key: &ObjectKey, candidates: Vec<(DocumentHash, &T)>, optional| Expected {
        key: key.clone(),
        optional,
        done: candidates.iter().any(|(hash, _)| completed(key, *hash)),
        candidates: candidates.into_iter().map(|(hash, what)| (Some(hash), what.clone())).collect(),
    };
    let of_applied = applied.objects.iter().map(|(key, former)| {
        let former = (applied.hash, former);
        let candidates = match (replacement(key), accepted(key)) {
            (None, _) => vec![former],
            (Some(new), Some(hash)) if hash == new.0 => vec![new],
            (Some(_), Some(hash)) if hash == applied.hash => vec![former],
            (Some(new), _) => vec![former, new],
        };
        // A webhook that is dropped may be what the new set is refused by: it goes first, and does not come back.
        let is_dropped = intended.is_some() && !replacing.contains_key(key) && Rank::of(key) == Rank::Webhook;
        expectation(key, candidates, is_dropped)
    });
    let new = intended.into_iter().flat_map(|intended| &intended.objects);
    let new = new.filter(|(key, _)| !former.contains_key(key));
    let of_intended = new.filter_map(|(key, what)| {
        let hash = intended?.hash;
        Some(expectation(key, vec![(hash, what)], accepted(key) != Some(hash)))
    });
    of_applied.chain(of_intended).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey { api_version: "v1".into(), kind: "ConfigMap".into(), namespace: None, name: name.into() }
    }

    fn hash(text: &str) -> DocumentHash {
        DocumentHash::of(text.as_bytes())
    }

    fn objects(set: &'static str, names: &[&str]) -> Objects<&'static str> {
        Objects { hash: hash(set), objects: names.iter().map(|name| (key(name), set)).collect() }
    }

    /// The candidates of each object, with a question mark where its absence is no loss.
    fn judged(accepted: &[(&str, &str)]) -> Vec<String> {
        let (old, new) = (objects("old", &["both", "gone"]), objects("new", &["both", "more"]));
        let accepted =
            |key: &ObjectKey| accepted.iter().find(|(name, _)| key.name == *name).map(|(_, set)| hash(set));
        let expected = expected(&old, Some(&new), accepted, |_, _| false);
        let told = |expected: &Expected<&str>| {
            let sets: Vec<_> = expected.candidates.iter().map(|(_, set)| *set).collect();
            format!("{}{} {}", expected.key.name, if expected.optional { "?" } else { "" }, sets.join("|"))
        };
        expected.iter().map(told).collect()
    }

    #[test]
    fn each_object_is_judged_by_the_set_of_which_it_was_accepted_last() {
        assert_eq!(judged(&[("both", "old"), ("gone", "old")]), ["both old", "gone old", "more? new"]);
        let half = [("both", "new"), ("gone", "old"), ("more", "new")];
        assert_eq!(judged(&half), ["both new", "gone old", "more new"]);
    }

    #[test]
    fn a_webhook_that_the_new_set_drops_may_be_gone() {
        let webhook = ObjectKey {
            api_version: "admissionregistration.k8s.io/v1".into(),
            kind: "ValidatingWebhookConfiguration".into(),
            ..key("w")
        };
        let (mut old, new) = (objects("old", &["a"]), objects("new", &["a"]));
        old.objects.push((webhook, "old"));
        let optional = |intended| -> Vec<bool> {
            let expected = expected(&old, intended, |_| Some(hash("old")), |_, _| false);
            expected.iter().map(|expected| expected.optional).collect()
        };
        assert_eq!((optional(None), optional(Some(&new))), (vec![false, false], vec![false, true]));
        assert_eq!(optional(Some(&old)), [false, false]);
    }

    #[test]
    fn what_is_not_known_may_be_either() {
        assert_eq!(judged(&[]), ["both old|new", "gone old", "more? new"]);
        assert_eq!(judged(&[("both", "older")]), ["both old|new", "gone old", "more? new"]);
    }

    #[test]
    fn what_ended_well_in_this_set_is_done_and_in_another_it_is_not() {
        let old = objects("old", &["a", "b"]);
        let done = |intended: Option<&Objects<&'static str>>| -> Vec<bool> {
            let completed = |key: &ObjectKey, set| key.name == "a" && set == hash("old");
            let accepted = |_: &ObjectKey| Some(hash("new"));
            expected(&old, intended, accepted, completed).iter().map(|expected| expected.done).collect()
        };
        assert_eq!(done(None), [true, false]);
        assert_eq!(done(Some(&objects("new", &["a", "b"]))), [false, false]);
    }
}
