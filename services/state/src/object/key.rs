//! Where things are in the store.
//!
//! Resources: `/krake/<api>/<plural>/<namespace>/<name>`, with an empty namespace for global ones. Everything else is
//! below `/krake/_`, which no API group begins with, or aside, below `/krake/~`.

use std::collections::BTreeSet;
use std::fmt::Write;

use krake_proto::{KINDS, Kind};

use crate::documents::Hash;
use crate::store::Key;

pub(crate) use crate::store::ROOT;

/// Identity of the installation.
pub(crate) const INSTALLATION: Key = Key::from_static("/krake/_installation");
/// Identity of the store's history.
pub(crate) const EPOCH: Key = Key::from_static("/krake/_epoch");
/// Evidence of which history the store is in: a [`crate::store::Lineage`]. Changes with the epoch.
pub(crate) const LINEAGE: Key = Key::from_static("/krake/_lineage");
/// There from the beginning of a restore to its end: the store is not whole.
pub(crate) const RESTORING: Key = Key::from_static("/krake/_restoring");
/// Who leads: bound to leases, and so to the present.
pub(crate) const ELECTIONS: Key = Key::from_static("/krake/_elections/");
/// Written to make a revision that the root watch sees.
pub(crate) const TICK: Key = Key::from_static("/krake/_tick");

/// The mark by which replicas agree on compactions.
pub(crate) const COMPACT: Key = Key::from_static("/krake/_compact");
/// The sets of documents: aside, since they are large and no watch shows them.
pub(crate) const DOCUMENTS: Key = Key::from_static("/krake/~documents/");
/// What was last seen of objects' copies: aside, since it changes with every look and no watch shows it.
pub(crate) const OBSERVED: Key = Key::from_static("/krake/~observed/");
/// The records that objects were erased.
pub(crate) const TOMBSTONES: Key = Key::from_static("/krake/_tombstones/");

/// The record that an object was erased.
pub(crate) fn tombstone(uid: &str) -> Key {
    format!("/krake/_tombstones/{uid}").into()
}

/// The uid of a tombstone's key.
pub(crate) fn parse_tombstone(key: &Key) -> Option<&str> {
    key.as_str()?.strip_prefix("/krake/_tombstones/")
}

/// The record that stored objects were brought up to date by the rewrite of this name.
pub(crate) fn upgrade(name: &str) -> Key {
    format!("/krake/_upgrades/{name}").into()
}

/// One piece of a set of documents, which belongs to the object with this uid.
pub(crate) fn document_piece(uid: &str, sha256: &Hash, number: u32) -> Key {
    let mut name = format!("/krake/~documents/{uid}/");
    for byte in sha256 {
        // Writing to a text cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    format!("{name}/{number:02}").into()
}

/// The sets of documents of the object with this uid.
pub(crate) fn documents_of(uid: &str) -> Key {
    format!("/krake/~documents/{uid}/").into()
}

/// The parts of the key of a piece of a set of documents: the uid of its object, the hash and the number.
pub(crate) fn parse_document_piece(key: &Key) -> Option<(&str, Hash, u32)> {
    let rest = key.as_str()?.strip_prefix("/krake/~documents/")?;
    let [uid, hash, number] = rest.split('/').collect::<Vec<_>>().try_into().ok()?;
    let mut sha256 = [0; 32];
    if hash.len() != 64 || !hash.is_ascii() {
        return None;
    }
    for (place, byte) in sha256.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hash[2 * place..2 * place + 2], 16).ok()?;
    }
    Some((uid, sha256, number.parse().ok()?))
}

/// What was last seen of the copy on a cluster of the object with this uid.
pub(crate) fn observation(uid: &str, cluster_uid: &str) -> Key {
    format!("/krake/~observed/{uid}/{cluster_uid}").into()
}

/// The uid of the object that such a key belongs to.
pub(crate) fn parse_observation(key: &Key) -> Option<&str> {
    let (uid, _) = key.as_str()?.strip_prefix("/krake/~observed/")?.split_once('/')?;
    Some(uid)
}

/// The place of an election's leader.
pub(crate) fn election(name: &str) -> Key {
    format!("/krake/_elections/{name}").into()
}

/// A resource.
pub(crate) fn resource(kind: &Kind, namespace: &str, name: &str) -> Key {
    format!("/krake/{}/{}/{namespace}/{name}", kind.api, kind.plural).into()
}

/// All resources, by the API groups of their kinds.
pub(crate) fn groups() -> BTreeSet<Key> {
    KINDS.iter().map(|kind| format!("/krake/{}/", kind.api).into()).collect()
}

/// All resources of a kind in a namespace; `""` means the global ones.
pub(crate) fn namespace(kind: &Kind, namespace: &str) -> Key {
    format!("/krake/{}/{}/{namespace}/", kind.api, kind.plural).into()
}

/// All resources of a kind, global ones too.
pub(crate) fn all(kind: &Kind) -> Key {
    format!("/krake/{}/{}/", kind.api, kind.plural).into()
}

/// No resource of a kind with a namespace comes before this, and all global ones do.
pub(crate) fn first_namespace(kind: &Kind) -> Key {
    // The character after "/": names begin with a later one, or this one.
    format!("/krake/{}/{}/0", kind.api, kind.plural).into()
}

/// The parts of a resource's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    /// The kind.
    pub kind: &'static Kind,
    /// Empty for global resources.
    pub namespace: &'a str,
    /// The name.
    pub name: &'a str,
}

/// Reads a resource's key; `None` for everything else.
pub(crate) fn parse(key: &Key) -> Option<Parts<'_>> {
    let mut parts = key.as_str()?.strip_prefix("/krake/")?.splitn(4, '/');
    let (api, plural, namespace, name) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let kind = KINDS.iter().copied().find(|kind| kind.api == api && kind.plural == plural)?;
    Some(Parts { kind, namespace, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back() {
        let metric = krake_proto::kind("core", "Metric").unwrap();
        let global = resource(metric, "", "heat");
        assert_eq!(global.as_str(), Some("/krake/core/metrics//heat"));
        assert_eq!(parse(&global), Some(Parts { kind: metric, namespace: "", name: "heat" }));
        assert!(resource(metric, "ns", "a:b").starts_with(&namespace(metric, "ns")));
        assert!(!resource(metric, "ns2", "a").starts_with(&namespace(metric, "ns")));
        assert_eq!(parse(&tombstone("u")), None);
        assert_eq!(parse(&TICK), None);
        let piece = document_piece("u", &[0xab; 32], 8);
        assert_eq!(parse_document_piece(&piece), Some(("u", [0xab; 32], 8)));
        assert!(piece.starts_with(&documents_of("u")) && piece.starts_with(&DOCUMENTS) && piece.is_aside());
        assert_eq!((parse(&piece), parse_document_piece(&tombstone("u"))), (None, None));
        let seen = observation("u", "c");
        assert_eq!(parse_observation(&seen), Some("u"));
        assert!(seen.starts_with(&OBSERVED) && seen.is_aside());
        assert_eq!((parse(&seen), parse_observation(&piece)), (None, None));
        for name in ["0", "a", "A", "~", "\u{10ffff}"] {
            assert!(resource(metric, "", name) < first_namespace(metric));
            assert!(resource(metric, name, "a") >= first_namespace(metric));
        }
    }
}
