//! Objects that bear this installation's label: which of them are orphans, and which of those the adapter removes. Pure.
//!
//! A Krake that was restored from a back-up, or lost its store, knows less than the clusters hold. So only objects that
//! this very history of the store has applied are swept, and only for a positive reason; everything else is reported,
//! and users decide.

use std::collections::HashSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::cluster::discovery::ResolvedKind;
use crate::object::{
    ADOPTED_ANNOTATION, APPLICATION_LABEL, ApplicationUid, CLUSTER_ANNOTATION, ClusterUid, EPOCH_ANNOTATION,
    ObjectKey,
};

/// An object with this installation's label, by its metadata.
#[derive(Clone, Debug, PartialEq)]
pub struct Marked {
    /// What names it, in the API version that it was listed in.
    pub key: ObjectKey,
    /// Its kind.
    pub kind: ResolvedKind,
    /// uid on the cluster.
    pub uid: String,
    /// Version that was seen.
    pub resource_version: String,
    /// The application on its label.
    pub application: Option<ApplicationUid>,
    /// The cluster that it was applied for.
    pub cluster: Option<ClusterUid>,
    /// Epoch of the store that applied it.
    pub epoch: Option<String>,
    /// Existed before Krake.
    pub adopted: bool,
    /// Is part of another object, and goes with it.
    pub controlled: bool,
    /// Is being deleted already.
    pub terminating: bool,
}

impl Marked {
    /// Whether it may be of a copy on this cluster, whatever application its label names: it was applied by this registration
    /// and in this history of the store, as far as it says.
    pub fn may_be_relabelled(&self, cluster: &ClusterUid, epoch: &str) -> bool {
        self.cluster.as_ref().is_none_or(|uid| uid == cluster)
            && self.epoch.as_ref().is_none_or(|of| of == epoch)
    }

    /// From an object's metadata; nothing if it bears no name.
    pub fn of(kind: &ResolvedKind, metadata: ObjectMeta) -> Option<Self> {
        let label = |name: &str| metadata.labels.as_ref()?.get(name).filter(|value| !value.is_empty());
        let annotation =
            |name: &str| metadata.annotations.as_ref()?.get(name).filter(|value| !value.is_empty());
        let owners = metadata.owner_references.as_deref().unwrap_or_default();
        Some(Self {
            application: label(APPLICATION_LABEL).map(|uid| uid.as_str().into()),
            cluster: annotation(CLUSTER_ANNOTATION).map(|uid| uid.as_str().into()),
            epoch: annotation(EPOCH_ANNOTATION).cloned(),
            adopted: annotation(ADOPTED_ANNOTATION).is_some_and(|value| value == "true"),
            controlled: owners.iter().any(|owner| owner.controller == Some(true)),
            terminating: metadata.deletion_timestamp.is_some(),
            key: ObjectKey {
                api_version: kind.resource.api_version.clone(),
                kind: kind.resource.kind.clone(),
                namespace: metadata.namespace,
                name: metadata.name?,
            },
            kind: kind.clone(),
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
        })
    }
}

/// What Krake knows of the application on an object's label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It was erased: there is a tombstone.
    Erased,
    /// It exists.
    Exists(Stake),
    /// A copy of another application than the one on the label records this very object as its own.
    Relabelled,
    /// Neither: it may be of another history of the store.
    Unknown,
}

/// What an application that exists has to do with the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stake {
    /// The inventory of its copy on this cluster, if one is recorded.
    pub recorded: Option<HashSet<ObjectKey>>,
    /// It is bound to this cluster.
    pub bound: bool,
    /// It has copies on other clusters, or is bound to them.
    pub elsewhere: bool,
    /// It runs on another cluster that it is bound to.
    pub runs_elsewhere: bool,
}

/// What the registration that an object was applied for is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// The one that is looked at.
    This,
    /// Erased: there is a tombstone.
    Erased,
    /// Another one, or one that nothing is known of.
    Other,
    /// The object does not say.
    Unnamed,
}

/// What is to become of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It belongs to a copy, or will soon.
    Keep,
    /// It is an orphan, and it is certain that Krake itself may remove it.
    Sweep,
    /// It seems to be an orphan: users decide.
    Report,
}

/// Decides on one object. `epoch` is that of the store at present.
pub fn judge(object: &Marked, owner: &Owner, registration: Registration, epoch: &str) -> Fate {
    if object.controlled {
        return Fate::Keep;
    }
    let gone = match owner {
        Owner::Unknown => false,
        Owner::Erased => true,
        // Its own application gives it its label back.
        Owner::Relabelled => return Fate::Keep,
        Owner::Exists(Stake { recorded: Some(inventory), .. }) => {
            return if inventory.contains(&object.key) { Fate::Keep } else { Fate::Report };
        }
        // It is about to be taken over.
        Owner::Exists(Stake { bound: true, .. }) => return Fate::Keep,
        Owner::Exists(stake) => match registration {
            // Until the application runs elsewhere, this may be all that is left of it: the cluster may have been
            // registered again, and not be bound yet.
            Registration::This | Registration::Erased => stake.runs_elsewhere,
            // The object is in the care of another registration of this cluster.
            Registration::Other if stake.elsewhere => return Fate::Keep,
            // Or it could be.
            Registration::Other | Registration::Unnamed => false,
        },
    };
    if gone && object.epoch.as_deref() == Some(epoch) && !object.terminating {
        Fate::Sweep
    } else {
        Fate::Report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::{ApiResource, GroupVersionKind};
    use rstest::rstest;
    use serde_json::{Value, json};

    fn marked(metadata: Value) -> Marked {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment"));
        let kind = ResolvedKind { resource, namespaced: true, watchable: true, promised: false };
        Marked::of(&kind, serde_json::from_value(metadata).unwrap()).unwrap()
    }

    fn object(epoch: &str) -> Marked {
        marked(json!({"name": "web", "namespace": "demo", "uid": "u", "resourceVersion": "5",
            "labels": {APPLICATION_LABEL: "app"}, "annotations": {EPOCH_ANNOTATION: epoch}}))
    }

    fn exists(recorded: Option<&str>, bound: bool, elsewhere: bool) -> Owner {
        let key = |name: &str| ObjectKey { name: name.into(), ..object("now").key };
        let recorded = recorded.map(|name| HashSet::from([key(name)]));
        Owner::Exists(Stake { recorded, bound, elsewhere, runs_elsewhere: elsewhere })
    }

    /// An application that is to run elsewhere and does not run there yet.
    fn not_there_yet() -> Owner {
        Owner::Exists(Stake { elsewhere: true, ..Stake::default() })
    }

    #[rstest]
    #[case::tombstone(Owner::Erased, Registration::This, Fate::Sweep)]
    #[case::tombstone_whatever_the_cluster(Owner::Erased, Registration::Other, Fate::Sweep)]
    #[case::tombstone_made_by_hand(Owner::Erased, Registration::Unnamed, Fate::Sweep)]
    #[case::unknown(Owner::Unknown, Registration::This, Fate::Report)]
    #[case::label_changed_by_hand(Owner::Relabelled, Registration::This, Fate::Keep)]
    #[case::part_of_the_copy(exists(Some("web"), true, false), Registration::This, Fate::Keep)]
    #[case::part_of_a_copy_that_goes(exists(Some("web"), false, true), Registration::This, Fate::Keep)]
    #[case::beside_the_copy(exists(Some("other"), true, false), Registration::This, Fate::Report)]
    #[case::about_to_be_deployed(exists(None, true, false), Registration::This, Fate::Keep)]
    #[case::moved_away(exists(None, false, true), Registration::This, Fate::Sweep)]
    #[case::placed_nowhere(exists(None, false, false), Registration::This, Fate::Report)]
    #[case::not_there_yet(not_there_yet(), Registration::This, Fate::Report)]
    #[case::left_on_a_cluster_registered_again(not_there_yet(), Registration::Erased, Fate::Report)]
    #[case::of_a_former_registration(exists(None, false, true), Registration::Erased, Fate::Sweep)]
    #[case::of_another_registration(exists(None, false, true), Registration::Other, Fate::Keep)]
    #[case::of_an_unknown_registration(exists(None, false, false), Registration::Other, Fate::Report)]
    #[case::perhaps_of_another_registration(exists(None, false, true), Registration::Unnamed, Fate::Report)]
    #[case::of_no_other_registration(exists(None, false, false), Registration::Unnamed, Fate::Report)]
    fn of_the_present_epoch(#[case] owner: Owner, #[case] registration: Registration, #[case] fate: Fate) {
        assert_eq!(judge(&object("now"), &owner, registration, "now"), fate);
    }

    #[rstest]
    #[case(Owner::Erased)]
    #[case(Owner::Unknown)]
    #[case(Owner::Relabelled)]
    #[case(exists(Some("web"), true, true))]
    #[case(exists(Some("other"), true, true))]
    #[case(exists(None, true, true))]
    #[case(exists(None, false, true))]
    #[case(exists(None, false, false))]
    fn nothing_of_another_epoch_or_of_none_is_swept(#[case] owner: Owner) {
        let unmarked = marked(json!({"name": "web", "labels": {APPLICATION_LABEL: "app"}}));
        for registration in
            [Registration::This, Registration::Erased, Registration::Other, Registration::Unnamed]
        {
            for object in [object("before"), object(""), unmarked.clone()] {
                assert_ne!(judge(&object, &owner, registration, "now"), Fate::Sweep);
                assert_ne!(judge(&object, &owner, registration, ""), Fate::Sweep);
            }
        }
    }

    #[test]
    fn parts_of_other_objects_are_theirs() {
        let owner = |controller: bool| json!([{"apiVersion": "v1", "kind": "A", "name": "a", "uid": "x", "controller": controller}]);
        let part = |controller: bool| {
            marked(json!({"name": "web", "annotations": {EPOCH_ANNOTATION: "now"},
                "ownerReferences": owner(controller)}))
        };
        assert_eq!(judge(&part(true), &Owner::Erased, Registration::This, "now"), Fate::Keep);
        assert_eq!(judge(&part(false), &Owner::Erased, Registration::This, "now"), Fate::Sweep);
    }

    #[test]
    fn what_goes_already_is_only_told() {
        let going = Marked { terminating: true, ..object("now") };
        assert_eq!(judge(&going, &Owner::Erased, Registration::This, "now"), Fate::Report);
    }
}
