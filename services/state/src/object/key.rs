//! Where things are in the store.
//!
//! Resources: `/krake/<api>/<plural>/<namespace>/<name>`, with an empty namespace for global ones. Everything else is
//! below `/krake/_`, which no API group begins with.

use krake_proto::{KINDS, Kind};

use crate::store::Key;

/// All of Krake.
pub(crate) const ROOT: Key = Key::from_static("/krake/");
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
/// The records that objects were erased.
pub(crate) const TOMBSTONES: Key = Key::from_static("/krake/_tombstones/");

/// The record that an object was erased.
pub(crate) fn tombstone(uid: &str) -> Key {
    format!("/krake/_tombstones/{uid}").into()
}

/// The record that stored objects were brought up to date by the rewrite of this name.
pub(crate) fn upgrade(name: &str) -> Key {
    format!("/krake/_upgrades/{name}").into()
}

/// The place of an election's leader.
pub(crate) fn election(name: &str) -> Key {
    format!("/krake/_elections/{name}").into()
}

/// A resource.
pub(crate) fn resource(kind: &Kind, namespace: &str, name: &str) -> Key {
    format!("/krake/{}/{}/{namespace}/{name}", kind.api, kind.plural).into()
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
        for name in ["0", "a", "A", "~", "\u{10ffff}"] {
            assert!(resource(metric, "", name) < first_namespace(metric));
            assert!(resource(metric, name, "a") >= first_namespace(metric));
        }
    }
}
