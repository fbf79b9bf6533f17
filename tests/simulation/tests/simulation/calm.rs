//! What runs stays where it is while clusters throttle or refuse the credentials, for however long.

use std::collections::BTreeMap;

use krake_proto::krake::kubernetes::v1::Application;

use crate::checks::{Objects, bound, copies, runs_on, uid};

/// Where applications run that must stay there, by uid.
#[derive(Debug, Default)]
pub(crate) struct Held(BTreeMap<String, String>);

impl Held {
    /// All that run somewhere now.
    pub(crate) fn all(applications: &[Application], objects: &Objects) -> Self {
        let running = applications
            .iter()
            .filter_map(|application| Some((uid(application).to_owned(), runs_on(application, objects)?)));
        Held(running.collect())
    }

    /// Number of those that run on a cluster.
    pub(crate) fn on(&self, cluster: &str) -> usize {
        self.0.values().filter(|place| *place == cluster).count()
    }

    /// What is not where it was.
    pub(crate) fn moved(&self, applications: &[Application], objects: &Objects) -> Vec<String> {
        let moved = self.0.iter().filter_map(|(held, place)| {
            let Some(application) = applications.iter().find(|application| uid(application) == held) else {
                return Some(format!("{held} is gone, which ran on {place}"));
            };
            let places = objects.get(held).cloned().unwrap_or_default();
            let (bound, copies) = (bound(application), copies(application));
            let stays = bound.as_ref() == Some(place)
                && copies.keys().eq([place])
                && places.keys().eq([place])
                && places.values().all(|available| *available);
            (!stays).then(|| {
                format!(
                    "{held} ran on {place}, whose API server throttles or refuses the credentials, and is bound to \
                     {bound:?}, with copies {copies:?}, on {places:?}"
                )
            })
        });
        moved.collect()
    }
}

#[test]
fn what_leaves_or_is_doubled_is_found() {
    use krake_proto::krake::kubernetes::v1::{ApplicationStatus, Binding, Copy, Phase};
    use krake_proto::krake::meta::v1::{Metadata, ResourceRef};

    let application = |bound: &str, copies: &[&str]| {
        let cluster = |name: &str| Some(ResourceRef { name: name.into(), ..Default::default() });
        let copy =
            |name: &&str| Copy { cluster: cluster(name), phase: Phase::Running.into(), ..Default::default() };
        let status = ApplicationStatus {
            bindings: vec![Binding { cluster: cluster(bound), ..Default::default() }],
            copies: copies.iter().map(copy).collect(),
            ..Default::default()
        };
        let metadata = Metadata { uid: "u".into(), ..Default::default() };
        vec![Application { metadata: Some(metadata), spec: None, status: Some(status) }]
    };
    let places = |names: &[&str]| {
        let places = names.iter().map(|name| ((*name).to_owned(), true));
        Objects::from([("u".to_owned(), places.collect())])
    };
    let (calm, here) = (application("a", &["a"]), places(&["a"]));
    let held = Held::all(&calm, &here);
    assert_eq!((held.on("a"), held.on("b")), (1, 0));
    assert_eq!(held.moved(&calm, &here), Vec::<String>::new());
    assert_eq!(held.moved(&[], &here).len(), 1, "gone");
    assert_eq!(held.moved(&application("b", &["a"]), &here).len(), 1, "decided");
    assert_eq!(held.moved(&application("a", &["a", "b"]), &here).len(), 1, "recorded");
    assert_eq!(held.moved(&calm, &places(&["a", "b"])).len(), 1, "doubled");
    assert_eq!(held.moved(&calm, &places(&[])).len(), 1, "removed");
    assert_eq!(Held::all(&application("b", &["a"]), &here).on("a"), 0, "it is about to go");
}
