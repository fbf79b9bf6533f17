//! Which clusters are surveyed again soon because of what became of an application. Pure.

use std::collections::HashSet;
use std::sync::Arc;

use krake_client::Notice;

use super::project::{Application, Cluster};
use crate::object::ClusterUid;
use crate::plan::{CopyRecord, Phase};

/// The clusters on which a survey finds something else now: those where an application that was erased has left its objects,
/// and those of which an orphan is shown that a copy has taken over. `cluster`: what is known of a cluster.
pub(crate) fn concerned(
    notice: &Notice<Application>,
    cluster: impl Fn(&ClusterUid) -> Option<Arc<Cluster>>,
) -> Vec<ClusterUid> {
    let (before, now) = (notice.before.as_deref(), notice.after.as_deref());
    let left = before.map(|before| abandoned(before, now)).unwrap_or_default();
    let copies = now.map(|now| now.copies.as_slice()).unwrap_or_default();
    let taken = copies.iter().map(|copy| &copy.record).filter(|copy| {
        let earlier = before.and_then(|before| before.copy(&copy.cluster));
        cluster(&copy.cluster).is_some_and(|cluster| has_taken(&cluster, earlier, copy))
    });
    left.into_iter().chain(taken.map(|copy| copy.cluster.clone())).collect()
}

/// The clusters where an application that is gone had a copy that nobody was removing.
fn abandoned(before: &Application, now: Option<&Application>) -> Vec<ClusterUid> {
    if now.is_some_and(|now| now.uid == before.uid) {
        return Vec::new();
    }
    let records = before.copies.iter().map(|copy| &copy.record);
    records.filter(|copy| copy.phase != Phase::Removing).map(|copy| copy.cluster.clone()).collect()
}

/// Whether an orphan is shown of a cluster that the copy there records, and did not `earlier`. What is refused to a copy stays
/// an orphan, however often the copy is reported.
fn has_taken(cluster: &Cluster, earlier: Option<&CopyRecord>, copy: &CopyRecord) -> bool {
    if cluster.orphans.is_empty() || earlier.is_some_and(|earlier| earlier.inventory == copy.inventory) {
        return false;
    }
    let uids = |copy: &CopyRecord| -> HashSet<String> {
        copy.inventory.iter().filter_map(|entry| entry.uid.clone()).collect()
    };
    let (recorded, known) = (uids(copy), earlier.map(uids).unwrap_or_default());
    let mut shown = cluster.orphans.iter().filter_map(|orphan| Some(&orphan.object.as_ref()?.uid));
    shown.any(|uid| recorded.contains(uid) && !known.contains(uid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::project;
    use krake_client::{Change, NamespacedName};
    use krake_proto::krake::kubernetes::v1 as api;
    use krake_proto::krake::meta::v1::{Metadata, ResourceRef};
    use rstest::rstest;

    fn metadata(name: &str, uid: &str) -> Metadata {
        Metadata { namespace: "demo".into(), name: name.into(), uid: uid.into(), ..Metadata::default() }
    }

    fn object(name: &str) -> api::ObjectRef {
        api::ObjectRef {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: "demo".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
        }
    }

    /// An application with a copy of one object on the cluster `c`.
    fn application(uid: &str, phase: api::Phase) -> Arc<Application> {
        let copy = api::Copy {
            cluster: Some(ResourceRef { uid: "c".into(), ..ResourceRef::default() }),
            phase: phase.into(),
            inventory: vec![object("mine")],
            ..api::Copy::default()
        };
        let status = api::ApplicationStatus { copies: vec![copy], ..api::ApplicationStatus::default() };
        let application = api::Application {
            metadata: Some(metadata("app", uid)),
            spec: Some(api::ApplicationSpec::default()),
            status: Some(status),
        };
        Arc::new(project::application(&application).unwrap())
    }

    /// The cluster `c`, with this orphan.
    fn cluster(orphan: Option<&str>) -> Arc<Cluster> {
        let shown = |name| api::Orphan { object: Some(object(name)), ..api::Orphan::default() };
        let kubeconfig = krake_proto::json::document(&serde_json::json!({}));
        let cluster = api::Cluster {
            metadata: Some(metadata("one", "c")),
            spec: Some(api::ClusterSpec { kubeconfig: Some(kubeconfig), ..api::ClusterSpec::default() }),
            status: Some(api::ClusterStatus {
                orphans: orphan.map(shown).into_iter().collect(),
                ..api::ClusterStatus::default()
            }),
        };
        Arc::new(project::cluster(&cluster).unwrap())
    }

    fn resurveyed(
        before: Option<Arc<Application>>,
        after: Option<Arc<Application>>,
        orphan: Option<&str>,
    ) -> bool {
        let key = NamespacedName::new("demo", "app");
        let change = if after.is_some() { Change::Applied } else { Change::Deleted };
        let notice = Notice { key, change, before, after };
        let clusters = concerned(&notice, |uid| (uid.as_str() == "c").then(|| cluster(orphan)));
        assert!(clusters.iter().all(|uid| uid.as_str() == "c"), "{clusters:?}");
        !clusters.is_empty()
    }

    #[rstest]
    #[case::by_force(api::Phase::Running, true)]
    #[case::by_force_before_anything_ran(api::Phase::Intended, true)]
    #[case::after_its_removal(api::Phase::Removing, false)]
    fn what_an_erased_application_left_is_looked_for(#[case] phase: api::Phase, #[case] expected: bool) {
        let before = || Some(application("a", phase));
        assert_eq!(resurveyed(before(), None, None), expected);
        assert_eq!(resurveyed(before(), Some(application("b", phase)), None), expected, "made anew at once");
        assert!(!resurveyed(before(), before(), None));
    }

    #[test]
    fn what_a_copy_has_taken_over_is_no_orphan() {
        let now = || Some(application("a", api::Phase::Running));
        assert!(resurveyed(None, now(), Some("mine")));
        assert!(!resurveyed(now(), now(), Some("mine")), "it was recorded before, and is still an orphan");
        assert!(!resurveyed(None, now(), Some("other")));
        assert!(!resurveyed(None, now(), None));
    }
}
