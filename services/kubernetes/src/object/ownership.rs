//! Whose an object on a cluster is, and what follows for an application that wants to write it. Pure.
//!
//! Server-side apply alone would overwrite another application's object without a conflict, since both write as the same
//! field manager. So all objects of an application are looked at first, and if one is not free, none is applied.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::object::{
    ADOPTED_ANNOTATION, APPLICATION_LABEL, ApplicationUid, CLUSTER_ANNOTATION, EPOCH_ANNOTATION,
    INSTALLATION_LABEL, Identity, ObjectKey,
};

/// Whose an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// There is no such object.
    Absent,
    /// This application's, of this installation.
    Ours(Live),
    /// Another application's or another installation's.
    Other(String),
    /// Of an application of this installation that was erased: the object is swept.
    Leftover(Live),
    /// Nobody's that Krake knows.
    Unlabelled(Live),
}

/// What the guards of a write to an existing object need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// uid on the cluster.
    pub uid: String,
    /// Version that was seen.
    pub resource_version: String,
    /// Existed before, and is released at the end.
    pub adopted: bool,
    /// Is being deleted already.
    pub terminating: bool,
}

/// How an object may be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It must not exist yet.
    Create,
    /// It must still be the object with this uid.
    Update(Live),
    /// It must be exactly what was seen: it was nobody's then.
    Adopt(Live),
    /// It is somebody else's, or nobody's, and others may be in it: it is used as it is, and not the application's.
    Use(Live),
}

impl Admitted {
    /// uid of the object that is to be written, if one exists.
    pub(crate) fn uid(&self) -> Option<&str> {
        match self {
            Self::Create => None,
            Self::Update(live) | Self::Adopt(live) | Self::Use(live) => Some(&live.uid),
        }
    }
}

/// An object of an application, as it was found before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The object.
    pub key: ObjectKey,
    /// Whose it is.
    pub holder: Holder,
    /// What was seen of an object that any application may use, whosever it is.
    pub usable: Option<Live>,
}

/// An object that is not free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupied {
    /// The object.
    pub key: ObjectKey,
    /// Whose it is, for people.
    pub holder: String,
}

impl fmt::Display for Occupied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} belongs to {}", self.key, self.holder)
    }
}

/// Why nothing may be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Objects that are somebody else's.
    #[error("objects are not free: {}", list(.0))]
    OwnedByOther(Vec<Occupied>),
    /// Objects that are ours and still being deleted: wait until they are gone.
    #[error("waiting for the deletion of {}", list(.0))]
    Terminating(Vec<ObjectKey>),
    /// Objects of applications that were erased: wait until they are swept.
    #[error("waiting until Krake has removed what a deleted application left: {}", list(.0))]
    Leftover(Vec<ObjectKey>),
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join("; ")
}

/// What is known of the other applications of this installation.
#[derive(Clone, Copy)]
pub struct Others<'a> {
    /// Whether the application on an object's label is to have the object, though this one has recorded it as its own.
    pub has: &'a (dyn Fn(&ApplicationUid) -> bool + Sync),
    /// Whether the application with this uid may exist: it is not known to be erased.
    pub exists: &'a (dyn Fn(&ApplicationUid) -> bool + Sync),
}

impl Others<'static> {
    /// Any application may exist, and none has what this one has recorded.
    pub const UNKNOWN: Self = Self { has: &|_| false, exists: &|_| true };
}

/// Whose a live object is, seen by the application `identity`. `recorded` is the uid of the application's own object of this
/// name, if it was applied before: an object with this uid is still the application's after it has lost a mark.
///
/// It also is if somebody has written another application of this installation into its label, and nothing else: what Krake
/// itself applied for another application, by another registration or in another history of the store, is that one's.
pub fn holder(
    live: Option<&ObjectMeta>,
    identity: &Identity,
    recorded: Option<&str>,
    others: Others<'_>,
) -> Holder {
    let Some(metadata) = live else { return Holder::Absent };
    let label = |name: &str| metadata.labels.as_ref()?.get(name).filter(|value| !value.is_empty());
    let facts = facts(metadata);
    let is_recorded = recorded.is_some_and(|uid| !uid.is_empty() && uid == facts.uid);
    let is_not_of_another = |mark: Option<&String>, ours: &str| mark.is_none_or(|mark| mark == ours);
    let is_relabelled = |application: Option<&String>| {
        let is_theirs = application.is_some_and(|uid| (others.has)(&uid.as_str().into()));
        is_of_same_copy(metadata, identity) && !is_theirs
    };
    match (label(INSTALLATION_LABEL), label(APPLICATION_LABEL)) {
        (installation, application)
            if is_recorded
                && is_not_of_another(installation, &identity.installation)
                && (is_not_of_another(application, identity.application.as_str())
                    || is_relabelled(application)) =>
        {
            Holder::Ours(facts)
        }
        (None, None) => Holder::Unlabelled(facts),
        (Some(installation), Some(application))
            if *installation == identity.installation && application == identity.application.as_str() =>
        {
            Holder::Ours(facts)
        }
        (Some(installation), application) if *installation != identity.installation => {
            Holder::Other(format!(
                "application {} of another Krake installation ({installation})",
                application.map_or("unknown", String::as_str)
            ))
        }
        (Some(_), Some(application)) if is_leftover(metadata, application, identity, others) => {
            Holder::Leftover(facts)
        }
        (_, Some(application)) => Holder::Other(format!("application {application}")),
        (Some(_), None) => Holder::Other("this Krake installation, but to no application".to_owned()),
    }
}

/// Whether an object was applied for this registration of the cluster, by this history of the store: its label alone may be
/// another application's.
fn is_of_same_copy(metadata: &ObjectMeta, identity: &Identity) -> bool {
    let may_be = |name: &str, ours: &str| annotation(metadata, name).is_none_or(|mark| mark == ours);
    may_be(CLUSTER_ANNOTATION, identity.cluster.as_str()) && may_be(EPOCH_ANNOTATION, &identity.epoch)
}

/// Whether an object was applied by this history of the store for an application that was erased, and may be swept.
fn is_leftover(metadata: &ObjectMeta, application: &str, identity: &Identity, others: Others<'_>) -> bool {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let is_part = owners.iter().any(|owner| owner.controller == Some(true));
    let epoch = annotation(metadata, EPOCH_ANNOTATION);
    !is_part && epoch.is_some_and(|epoch| *epoch == identity.epoch) && !(others.exists)(&application.into())
}

fn annotation<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a String> {
    metadata.annotations.as_ref()?.get(name).filter(|value| !value.is_empty())
}

/// What the guards of a write to a live object need.
pub(super) fn facts(metadata: &ObjectMeta) -> Live {
    let annotation = |name: &str| metadata.annotations.as_ref()?.get(name);
    Live {
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        adopted: annotation(ADOPTED_ANNOTATION).is_some_and(|value| value == "true"),
        terminating: metadata.deletion_timestamp.is_some(),
    }
}

/// Decides for all objects of an application at once how each may be written, or that none may.
pub fn preflight(
    objects: impl IntoIterator<Item = Found>,
    adopt_existing: bool,
) -> Result<Vec<Admitted>, Refusal> {
    let mut admitted = Vec::new();
    let mut occupied = Vec::new();
    let mut terminating = Vec::new();
    let mut leftover = Vec::new();
    for Found { key, holder, usable } in objects {
        match (holder, usable) {
            (Holder::Absent, _) => admitted.push(Admitted::Create),
            (Holder::Ours(live) | Holder::Leftover(live), _) | (_, Some(live)) if live.terminating => {
                terminating.push(key);
            }
            (Holder::Ours(live), _) => admitted.push(Admitted::Update(live)),
            (Holder::Unlabelled(live), _) if adopt_existing => match live.terminating {
                true => terminating.push(key),
                false => admitted.push(Admitted::Adopt(live)),
            },
            (_, Some(live)) => admitted.push(Admitted::Use(live)),
            (Holder::Leftover(_), None) => leftover.push(key),
            (Holder::Other(holder), None) => occupied.push(Occupied { key, holder }),
            (Holder::Unlabelled(_), None) => {
                let holder = "nobody that Krake knows (adopt_existing would take it over)".to_owned();
                occupied.push(Occupied { key, holder });
            }
        }
    }
    if !occupied.is_empty() {
        Err(Refusal::OwnedByOther(occupied))
    } else if !terminating.is_empty() {
        Err(Refusal::Terminating(terminating))
    } else if !leftover.is_empty() {
        Err(Refusal::Leftover(leftover))
    } else {
        Ok(admitted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn identity() -> Identity {
        Identity {
            installation: "inst".into(),
            application: "app-1".into(),
            cluster: "c".into(),
            epoch: "e".into(),
        }
    }

    fn live(metadata: Value) -> Holder {
        let metadata = serde_json::from_value(metadata).unwrap();
        holder(Some(&metadata), &identity(), None, Others::UNKNOWN)
    }

    fn labelled(installation: &str, application: &str) -> Value {
        json!({"uid": "u", "resourceVersion": "7",
            "labels": {INSTALLATION_LABEL: installation, APPLICATION_LABEL: application}})
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey { api_version: "v1".into(), kind: "A".into(), namespace: None, name: name.into() }
    }

    fn found(name: &str, holder: Holder) -> Found {
        Found { key: key(name), holder, usable: None }
    }

    fn facts() -> Live {
        Live { uid: "u".into(), resource_version: "7".into(), adopted: false, terminating: false }
    }

    #[test]
    fn ours_only_with_both_labels() {
        assert_eq!(holder(None, &identity(), None, Others::UNKNOWN), Holder::Absent);
        assert_eq!(live(labelled("inst", "app-1")), Holder::Ours(facts()));
        assert_eq!(live(json!({"uid": "u", "resourceVersion": "7"})), Holder::Unlabelled(facts()));
    }

    #[rstest]
    #[case(labelled("inst", "app-2"), "application app-2")]
    #[case(labelled("elsewhere", "app-1"), "application app-1 of another Krake installation (elsewhere)")]
    #[case(json!({"labels": {INSTALLATION_LABEL: "inst"}}), "this Krake installation, but to no application")]
    #[case(json!({"labels": {APPLICATION_LABEL: "app-1"}}), "application app-1")]
    fn everything_else_is_somebody_elses(#[case] metadata: Value, #[case] expected: &str) {
        assert_eq!(live(metadata), Holder::Other(expected.into()));
    }

    #[test]
    fn an_object_that_was_applied_before_stays_ours_without_a_mark() {
        let without = |label: &str| {
            let mut metadata = labelled("inst", "app-1");
            metadata["labels"].as_object_mut().unwrap().remove(label);
            metadata
        };
        let seen = |metadata: Value, recorded| {
            let metadata = serde_json::from_value(metadata).unwrap();
            let others = Others { has: &|_| true, ..Others::UNKNOWN };
            holder(Some(&metadata), &identity(), Some(recorded), others)
        };
        for metadata in [
            without(APPLICATION_LABEL),
            without(INSTALLATION_LABEL),
            json!({"uid": "u", "resourceVersion": "7"}),
        ] {
            assert_eq!(seen(metadata.clone(), "u"), Holder::Ours(facts()));
            assert!(!matches!(seen(metadata, "another"), Holder::Ours(_)), "an object that took its place");
        }
        for marks in [labelled("inst", "app-2"), labelled("elsewhere", "app-1")] {
            assert!(matches!(seen(marks, "u"), Holder::Other(_)), "it was given to another");
        }
    }

    fn annotated(application: &str, name: &str, value: &str) -> Value {
        let mut metadata = labelled("inst", application);
        metadata["annotations"] = json!({name: value});
        metadata
    }

    #[rstest]
    #[case::relabelled(labelled("inst", "app-2"), "u", false, true)]
    #[case::handed_over(labelled("inst", "app-2"), "u", true, false)]
    #[case::another_object(labelled("inst", "app-2"), "v", false, false)]
    #[case::another_installation(labelled("elsewhere", "app-2"), "u", false, false)]
    #[case::applied_here(annotated("app-2", CLUSTER_ANNOTATION, "c"), "u", false, true)]
    #[case::applied_for_another_registration(annotated("app-2", CLUSTER_ANNOTATION, "d"), "u", false, false)]
    #[case::applied_by_another_history(annotated("app-2", EPOCH_ANNOTATION, "before"), "u", false, false)]
    fn a_label_of_another_application_alone_gives_nothing_away(
        #[case] live: Value,
        #[case] recorded: &str,
        #[case] is_anothers: bool,
        #[case] is_ours: bool,
    ) {
        let live = serde_json::from_value(live).unwrap();
        let has = |uid: &ApplicationUid| is_anothers && uid.as_str() == "app-2";
        let others = Others { has: &has, ..Others::UNKNOWN };
        let holder = holder(Some(&live), &identity(), Some(recorded), others);
        assert_eq!(matches!(holder, Holder::Ours(_)), is_ours, "{holder:?}");
    }

    #[rstest]
    #[case::gone(annotated("app-2", EPOCH_ANNOTATION, "e"), false, true)]
    #[case::there(annotated("app-2", EPOCH_ANNOTATION, "e"), true, false)]
    #[case::of_another_history(annotated("app-2", EPOCH_ANNOTATION, "before"), false, false)]
    #[case::of_no_history(labelled("inst", "app-2"), false, false)]
    fn what_an_application_that_is_gone_has_left_is_waited_for(
        #[case] live: Value,
        #[case] exists: bool,
        #[case] is_leftover: bool,
    ) {
        let exists = |_: &ApplicationUid| exists;
        let others = Others { exists: &exists, ..Others::UNKNOWN };
        let refusal = |live: &Value| {
            let metadata = serde_json::from_value(live.clone()).unwrap();
            let holder = holder(Some(&metadata), &identity(), None, others);
            preflight([found("a", holder)], false).unwrap_err()
        };
        let leftover = Refusal::Leftover(vec![key("a")]);
        assert_eq!(refusal(&live) == leftover, is_leftover);
        // What another object controls is never swept, and what goes already is waited for as ever.
        let mut part = live.clone();
        part["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "A", "name": "a", "uid": "x", "controller": true}]);
        assert!(matches!(refusal(&part), Refusal::OwnedByOther(_)));
        let mut going = live;
        going["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(refusal(&going) == Refusal::Terminating(vec![key("a")]), is_leftover);
    }

    #[test]
    fn one_occupied_object_refuses_all() {
        let objects = [
            found("a", Holder::Absent),
            found("b", Holder::Other("application x".into())),
            found("c", Holder::Unlabelled(facts())),
        ];
        let Err(Refusal::OwnedByOther(occupied)) = preflight(objects, false) else { panic!("admitted") };
        let names: Vec<_> = occupied.iter().map(|occupied| occupied.key.name.as_str()).collect();
        assert_eq!(names, ["b", "c"]);
    }

    #[test]
    fn adoption_takes_what_is_nobodys_and_nothing_else() {
        let nobodys = [found("a", Holder::Unlabelled(facts()))];
        assert_eq!(preflight(nobodys, true), Ok(vec![Admitted::Adopt(facts())]));
        let somebodys = [found("a", Holder::Other("x".into()))];
        assert!(preflight(somebodys, true).is_err());
    }

    #[test]
    fn each_object_gets_its_own_guard_in_order() {
        let objects = [found("a", Holder::Absent), found("b", Holder::Ours(facts()))];
        assert_eq!(preflight(objects, false), Ok(vec![Admitted::Create, Admitted::Update(facts())]));
    }

    #[test]
    fn an_object_that_is_being_deleted_is_waited_for() {
        let going = Live { terminating: true, ..facts() };
        let objects = [found("a", Holder::Ours(going)), found("b", Holder::Absent)];
        assert_eq!(preflight(objects, false), Err(Refusal::Terminating(vec![key("a")])));
    }

    #[test]
    fn what_any_application_may_use_is_not_taken_over() {
        let usable = |holder: Holder, live: Live| [Found { usable: Some(live), ..found("a", holder) }];
        for holder in [Holder::Other("x".into()), Holder::Unlabelled(facts())] {
            let used = preflight(usable(holder.clone(), facts()), false);
            assert_eq!(used, Ok(vec![Admitted::Use(facts())]));
            let going = Live { terminating: true, ..facts() };
            let refused = preflight(usable(holder, going), false);
            assert_eq!(refused, Err(Refusal::Terminating(vec![key("a")])));
        }
        let own = preflight(usable(Holder::Ours(facts()), facts()), false);
        assert_eq!(own, Ok(vec![Admitted::Update(facts())]));
        let nobodys = preflight(usable(Holder::Unlabelled(facts()), facts()), true);
        assert_eq!(nobodys, Ok(vec![Admitted::Adopt(facts())]), "only a user asks for that");
    }
}
