//! Which autoscalers there are, and what becomes of replicas, while lists of autoscalers fail.

use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::cluster::scripted::{Scripted, failure, not_served};
use crate::object::Identity;
use crate::object::apply::{AppliedObject, ApplyError, Claim, apply};
use crate::object::autoscaler::Replicas;
use crate::object::prepare::{Target, prepare_all};
use crate::object::validation::{FieldValidation, Findings, Writes};

/// Lists of autoscalers: those of the workload `web`, and these answers to the lists of each kind.
fn listed(path: &str, horizontal: u16, keda: u16) -> (u16, Value) {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let items = json!([{"metadata": {"name": "web"}, "spec": {"scaleTargetRef": target}}]);
    if path == "GET /apis" {
        return match horizontal {
            404 => not_served(),
            _ => (200, json!({"kind": "APIGroupList", "groups": [{"name": "autoscaling", "versions": []}]})),
        };
    }
    match if path.contains("/autoscaling/") { horizontal } else { keda } {
        200 => (200, json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items})),
        404 => not_served(),
        code => failure(code, "", "etcd is away"),
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        namespace: Some("demo".into()),
        name: name.into(),
    }
}

/// What is known of the workloads `web`, which has an autoscaler, and `db`, which has none.
async fn known(horizontal: u16, keda: u16) -> [Scaling; 2] {
    let cluster = Scripted::new(move |asked| listed(&asked.line, horizontal, keda));
    let found = autoscalers(&cluster.connection, "demo").await;
    [found.decide(&key("web")), found.decide(&key("db"))]
}

fn is_unknown(scaling: &Scaling) -> bool {
    matches!(scaling, Scaling::Unknown(why) if why.to_string().contains("replicas stay as they are"))
}

#[tokio::test]
async fn what_could_be_read_is_certain_and_so_is_what_may_never_be() {
    assert_eq!(known(200, 404).await, [Scaling::Yes, Scaling::No], "without KEDA");
    assert_eq!(known(200, 200).await, [Scaling::Yes, Scaling::No]);
    assert_eq!(known(200, 403).await, [Scaling::Yes, Scaling::No], "without the right to read those of KEDA");
    assert_eq!(known(403, 403).await, [Scaling::No, Scaling::No]);
}

#[rstest]
#[case(429)]
#[case(500)]
#[case(503)]
#[tokio::test]
async fn a_list_that_fails_leaves_what_was_found_and_makes_the_rest_unknown(#[case] code: u16) {
    let [web, db] = known(200, code).await;
    assert!(web == Scaling::Yes && is_unknown(&db), "{db:?}");
    let [web, db] = known(code, 404).await;
    assert!(is_unknown(&web) && is_unknown(&db), "{web:?} {db:?}");
    let [web, db] = known(code, 200).await;
    assert!(web == Scaling::Yes && is_unknown(&db), "KEDA's own are found all the same: {db:?}");
}

#[tokio::test]
async fn that_no_version_is_served_is_believed_only_of_a_server_that_does_not_name_the_group() {
    let [web, _] = known(404, 404).await;
    assert!(is_unknown(&web), "nothing is served at all: {web:?}");
    for (group, expected) in [("apps", true), ("autoscaling", false)] {
        let cluster = Scripted::new(move |asked| match asked.line.as_str() {
            "GET /apis" => {
                (200, json!({"kind": "APIGroupList", "groups": [{"name": group, "versions": []}]}))
            }
            _ => not_served(),
        });
        let web = autoscalers(&cluster.connection, "demo").await.decide(&key("web"));
        assert_eq!(web == Scaling::No, expected, "{group}: {web:?}");
        assert_eq!(is_unknown(&web), !expected, "{group}: {web:?}");
    }
}

fn identity() -> Identity {
    Identity {
        installation: "inst".into(),
        application: "app".into(),
        cluster: "c".into(),
        epoch: "e".into(),
    }
}

/// The Deployment `web` with 2 replicas.
fn targets() -> Vec<Target> {
    let document = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "demo"}, "spec": {"replicas": 2}});
    let resource = ApiResource {
        group: "apps".into(),
        version: "v1".into(),
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        plural: "deployments".into(),
    };
    let kind = ResolvedKind { resource, namespaced: true, watchable: true, promised: false };
    prepare_all(&[(&document, kind)], &identity(), "default").unwrap()
}

/// The Deployment as it runs, scaled to 50 by somebody.
fn live() -> Value {
    let mut live = targets()[0].prepared.body.clone();
    live["spec"]["replicas"] = json!(50);
    live["metadata"]["uid"] = json!("u");
    live["metadata"]["resourceVersion"] = json!("7");
    live["metadata"]["managedFields"] = json!([{"manager": "kube-controller-manager", "operation": "Update",
        "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
    live
}

/// Applies the Deployment while the lists of autoscalers give these answers. Also the replicas that were sent.
async fn applied(
    writes: Writes,
    horizontal: u16,
    keda: u16,
) -> (Result<(), ApplyError>, Vec<AppliedObject>, Option<Value>) {
    applied_to(live(), writes, horizontal, keda).await
}

/// The same to a Deployment that may be somebody else's so far.
async fn applied_to(
    live: Value,
    writes: Writes,
    horizontal: u16,
    keda: u16,
) -> (Result<(), ApplyError>, Vec<AppliedObject>, Option<Value>) {
    let cluster = Scripted::new(move |asked| {
        let path = asked.line.as_str();
        if path.contains("/deployments/web") { (200, live.clone()) } else { listed(path, horizontal, keda) }
    });
    let (identity, starts, mut accepted) = (identity(), Replicas::new(), Vec::new());
    let until = Instant::now() + Duration::from_secs(3600);
    let (identity, starts) = (&identity, &starts);
    let claim = Claim {
        identity,
        inventory: &[],
        other_user: &|_| None,
        exists: &|_| true,
        adopt_existing: true,
        writes,
        starts,
        until,
        secrets: &[],
    };
    let mut findings = Findings::default();
    let outcome = apply(&cluster.connection, &targets(), &claim, &mut accepted, &mut findings).await;
    let sent = cluster.asked("PATCH ").pop().expect("it is applied");
    (outcome, accepted, sent.body.pointer(REPLICAS).cloned())
}

#[tokio::test]
async fn replicas_are_never_set_while_it_is_not_known_who_decides_on_them() {
    let strict = FieldValidation::Strict;
    for (horizontal, keda) in [(429, 404), (429, 429), (500, 404), (404, 404)] {
        let (outcome, accepted, sent) = applied(Writes::Repair(strict), horizontal, keda).await;
        assert_eq!(sent, None, "{horizontal} {keda}");
        let error = outcome.expect_err("a repair asks again").to_string();
        assert!(error.starts_with("Deployment demo/web: ") && error.contains("stay as they are"), "{error}");
        assert!(is_unknown(&accepted[0].scaling));
        let (outcome, _, sent) = applied(Writes::First(strict), horizontal, keda).await;
        assert_eq!((outcome, sent), (Ok(()), None), "an update does not wait for it");
    }
    let (outcome, accepted, sent) = applied(Writes::Repair(strict), 200, 429).await;
    assert_eq!((outcome, sent), (Ok(()), None));
    assert_eq!(accepted[0].scaling, Scaling::Yes, "what was found is not thrown away");
    let (outcome, accepted, sent) = applied(Writes::Repair(strict), 403, 404).await;
    assert_eq!((outcome, sent), (Ok(()), Some(json!(2))));
    assert_eq!(accepted[0].scaling, Scaling::No);
}

#[tokio::test]
async fn replicas_of_a_workload_that_is_taken_over_stay_with_its_autoscaler() {
    let mut theirs = live();
    theirs["metadata"]["labels"] = json!({});
    let first = Writes::First(FieldValidation::Strict);
    for (horizontal, expected) in [(200, None), (429, None), (403, Some(json!(2)))] {
        let (outcome, accepted, sent) = applied_to(theirs.clone(), first, horizontal, 404).await;
        assert_eq!((outcome, sent, accepted.len()), (Ok(()), expected, 1), "{horizontal}");
    }
}
