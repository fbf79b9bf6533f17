//! What the garbage collector keeps of an object.

use std::time::SystemTime;

use krake_client::ObjectKey;
use krake_proto::finalizer::CASCADE_DELETION;
use krake_proto::krake::meta::v1::{Deletion, Object, OnDelete, OwnerReference};

/// An object, as far as its deletion and that of its owners is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) uid: String,
    /// Revision of its last write.
    pub(crate) resource_version: i64,
    pub(crate) stage: Stage,
    /// The trace context of its last write, while it waits; else empty: it is not asked for.
    pub(crate) trace_parent: String,
    /// Those whose deletion may delete it.
    pub(crate) owners: Vec<Owner>,
    /// When its deletion began; the epoch of UNIX time while it lives.
    pub(crate) deleted: SystemTime,
    /// What its deletion includes.
    pub(crate) deletion: Deletion,
    /// Its last finalizer; empty if it has none.
    pub(crate) finalizer: String,
}

/// How far an object's deletion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not asked for.
    Alive,
    /// Its turn is that of its dependents, which is to say ours.
    Waiting,
    /// Asked for; others have work to do.
    Leaving,
}

/// A reference to an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) key: ObjectKey,
    /// Empty: any object of that name.
    pub(crate) uid: String,
    /// Only a deletion with `cascade` of the owner deletes the dependent: bindings and copies are such references.
    pub(crate) releases: bool,
}

impl Owner {
    /// Whether `member`, whose key is `key`, is meant and takes the dependent along. A reference that releases counts
    /// only with a uid, so that a successor of the same name takes nothing along.
    pub(crate) fn takes_along(&self, key: &ObjectKey, member: &Member) -> bool {
        let is_meant = self.key == *key && (self.uid.is_empty() || self.uid == member.uid);
        is_meant && (!self.releases || (member.deletion.cascade && !self.uid.is_empty()))
    }
}

impl Member {
    /// Reads an object; none if it has no metadata.
    pub(crate) fn of(object: &Object) -> Option<Self> {
        let metadata = object.metadata.as_ref()?;
        let stage = match (&metadata.deleted, metadata.finalizers.last()) {
            (None, _) => Stage::Alive,
            (Some(_), Some(last)) if last == CASCADE_DELETION => Stage::Waiting,
            (Some(_), _) => Stage::Leaving,
        };
        Some(Member {
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version,
            stage,
            trace_parent: if stage == Stage::Waiting { metadata.trace_parent.clone() } else { String::new() },
            owners: metadata.owners.iter().map(owner).collect(),
            deleted: metadata
                .deleted
                .and_then(|deleted| SystemTime::try_from(deleted).ok())
                .unwrap_or(SystemTime::UNIX_EPOCH),
            deletion: metadata.deletion.clone().unwrap_or_default(),
            finalizer: metadata.finalizers.last().cloned().unwrap_or_default(),
        })
    }
}

/// The owner. References may use a kind's global name.
fn owner(reference: &OwnerReference) -> Owner {
    let mut key = ObjectKey::from(reference);
    if let Some(kind) = krake_proto::kind(&key.api, &key.kind) {
        key.kind = kind.kind.to_owned();
    }
    Owner { key, uid: reference.uid.clone(), releases: reference.on_delete() == OnDelete::Release }
}

#[cfg(test)]
mod tests {
    use krake_proto::krake::meta::v1::Metadata;
    use rstest::rstest;

    use super::*;

    fn member(metadata: Metadata) -> Member {
        Member::of(&Object { metadata: Some(metadata), ..Object::default() }).unwrap()
    }

    #[rstest]
    #[case::no_deletion(false, &[CASCADE_DELETION], Stage::Alive)]
    #[case::our_turn(true, &["kubernetes_resources_deletion", CASCADE_DELETION], Stage::Waiting)]
    #[case::the_turn_of_others(true, &[CASCADE_DELETION, "kubernetes_resources_deletion"], Stage::Leaving)]
    #[case::about_to_go(true, &[], Stage::Leaving)]
    fn the_last_finalizer_says_whose_turn_it_is(
        #[case] deleted: bool,
        #[case] finalizers: &[&str],
        #[case] expected: Stage,
    ) {
        let metadata = Metadata {
            deleted: deleted.then(Default::default),
            finalizers: finalizers.iter().map(|name| name.to_string()).collect(),
            trace_parent: "trace".into(),
            ..Metadata::default()
        };
        let member = member(metadata);
        assert_eq!(member.stage, expected);
        let continued = if expected == Stage::Waiting { "trace" } else { "" };
        assert_eq!(member.trace_parent, continued, "only what will be worked on continues a trace");
    }

    #[test]
    fn references_say_whether_they_release_and_global_names_are_understood() {
        let reference = |kind: &str, on_delete: OnDelete| OwnerReference {
            api: "core".into(),
            kind: kind.into(),
            name: "m".into(),
            on_delete: on_delete.into(),
            ..OwnerReference::default()
        };
        let metadata = Metadata {
            owners: vec![
                reference("Metric", OnDelete::Delete),
                reference("GlobalMetric", OnDelete::Unspecified),
                reference("MetricsProvider", OnDelete::Release),
            ],
            ..Metadata::default()
        };
        let owners = member(metadata).owners;
        assert_eq!(owners[0], owners[1]);
        assert_eq!(owners.iter().map(|owner| owner.releases).collect::<Vec<_>>(), [false, false, true]);
    }
}
