//! What is remembered of replicas, and for how long.

use jiff::Timestamp;

use super::*;
use crate::object::health::{ContainerHealth, Health, Verdict};
use crate::object::observation::Hidden;
use crate::object::{InventoryEntry, ObjectKey};

fn key(name: &str) -> ObjectKey {
    ObjectKey { api_version: "apps/v1".into(), kind: "Deployment".into(), namespace: None, name: name.into() }
}

fn entry(name: &str) -> InventoryEntry {
    InventoryEntry { key: key(name), uid: Some("u".into()) }
}

/// A look at a copy of "web" and "worker". Of each workload that is present: the replicas, if they are more than wanted.
fn look(present: &[(&str, Option<i64>)]) -> Observation {
    let missing = ["web", "worker"].iter().filter(|name| present.iter().all(|(seen, _)| seen != *name));
    Observation {
        missing: missing.map(|name| key(name)).collect(),
        drifted: Vec::new(),
        hidden: Vec::new(),
        health: Health { containers: ContainerHealth::default(), verdict: Verdict::Available },
        services: BTreeMap::new(),
        present: present.iter().map(|(name, _)| entry(name)).collect(),
        used: Vec::new(),
        unready: Vec::new(),
        cause: None,
        replicas: present.iter().filter_map(|(name, more)| Some((key(name), (*more)?))).collect(),
        completed: Vec::new(),
    }
}

/// Takes in a look at a copy, while there are copies on these clusters.
fn seen(replicas: &SeenReplicas, cluster: &str, copies: &[&str], look: &Observation) -> Vec<(String, i64)> {
    let record = CopyRecord {
        inventory: vec![entry("web"), entry("worker")],
        ..CopyRecord::intended(&cluster.into(), Timestamp::UNIX_EPOCH)
    };
    let copies: Vec<ClusterUid> = copies.iter().map(|cluster| (*cluster).into()).collect();
    replicas.seen(&"app".into(), &record, look, &copies);
    replicas.starts(&"app".into()).into_iter().map(|(key, number)| (key.name, number)).collect()
}

fn starts(of: &[(&str, i64)]) -> Vec<(String, i64)> {
    of.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
}

#[test]
fn the_copy_with_the_most_counts_whichever_was_looked_at_last() {
    let replicas = SeenReplicas::default();
    let old = look(&[("web", Some(10)), ("worker", None)]);
    let new = look(&[("web", Some(2)), ("worker", Some(3))]);
    seen(&replicas, "old", &["old", "younger"], &old);
    for (cluster, look) in [("younger", &new), ("old", &old), ("younger", &new)] {
        let both = starts(&[("web", 10), ("worker", 3)]);
        assert_eq!(seen(&replicas, cluster, &["old", "younger"], look), both);
    }
    let fewer = look(&[("web", Some(4)), ("worker", None)]);
    assert_eq!(seen(&replicas, "old", &["old", "younger"], &fewer), starts(&[("web", 4), ("worker", 3)]));
}

#[test]
fn what_is_missing_or_hidden_for_a_moment_keeps_its_number() {
    let replicas = SeenReplicas::default();
    seen(&replicas, "c", &["c"], &look(&[("web", Some(10)), ("worker", Some(2))]));
    let mut hidden = look(&[("worker", None)]);
    hidden.hidden = vec![Hidden { key: key("web"), why: "not served".into() }];
    assert_eq!(seen(&replicas, "c", &["c"], &hidden), starts(&[("web", 10)]));
    assert_eq!(seen(&replicas, "c", &["c"], &look(&[("web", None), ("worker", None)])), []);
    assert!(replicas.lock().is_empty(), "nothing is kept of what nobody scaled");
}

#[test]
fn a_former_copy_counts_until_the_one_after_it_is_seen_whole() {
    let replicas = SeenReplicas::default();
    seen(&replicas, "old", &["old"], &look(&[("web", Some(10)), ("worker", None)]));
    // The old copy went first.
    assert_eq!(seen(&replicas, "new", &["new"], &look(&[("worker", None)])), starts(&[("web", 10)]));
    assert_eq!(
        seen(&replicas, "new", &["new"], &look(&[("web", Some(6)), ("worker", None)])),
        starts(&[("web", 6)])
    );
    replicas.forget(&"app".into());
    assert_eq!(replicas.starts(&"app".into()), Replicas::new());
}
