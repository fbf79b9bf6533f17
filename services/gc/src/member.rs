//! What the garbage collector keeps of an object.

use krake_client::ObjectKey;
use krake_proto::finalizer::CASCADE_DELETION;
use krake_proto::krake::meta::v1::{Object, OnDelete, OwnerReference};

/// An object, as far as its deletion and that of its owners is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) uid: String,
    /// Revision of its last write.
    pub(crate) resource_version: i64,
    pub(crate) stage: Stage,
    /// The trace context of its last write, while it waits; else empty: nobody asks for it.
    pub(crate) trace_parent: String,
    /// Those whose deletion deletes it.
    pub(crate) owners: Vec<Owner>,
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

/// A reference to an owner that deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) key: ObjectKey,
    /// Empty: whoever has the name.
    pub(crate) uid: String,
}

impl Owner {
    /// Whether the object of this key and uid is meant.
    pub(crate) fn is(&self, key: &ObjectKey, uid: &str) -> bool {
        self.key == *key && (self.uid.is_empty() || self.uid == uid)
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
            owners: metadata.owners.iter().filter_map(owner).collect(),
        })
    }
}

/// The owner, unless its deletion releases. References may use a kind's global name.
fn owner(reference: &OwnerReference) -> Option<Owner> {
    if reference.on_delete() == OnDelete::Release {
        return None;
    }
    let mut key = ObjectKey::from(reference);
    if let Some(kind) = krake_proto::kind(&key.api, &key.kind) {
        key.kind = kind.kind.to_owned();
    }
    Some(Owner { key, uid: reference.uid.clone() })
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
    fn only_references_that_delete_count_and_global_names_are_understood() {
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
        assert_eq!(owners.len(), 2);
        assert_eq!(owners[0], owners[1]);
    }
}
