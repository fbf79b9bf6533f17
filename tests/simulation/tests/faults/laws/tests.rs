//! The laws notice what they are there for.

use krake_cluster_sim::{Fleet, Options};
use krake_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;

use super::*;
use crate::case::{Trouble, Verb};
use crate::shop::SETTINGS;

#[test]
fn an_object_includes_what_its_manifest_says() {
    let [_, wanted, _] = manifest();
    let mut found = wanted.clone();
    found["status"] = serde_json::json!({"replicas": 2});
    assert!(includes(&found, &wanted));
    found["spec"]["replicas"] = serde_json::json!(3);
    assert!(!includes(&found, &wanted));
    assert!(!includes(&serde_json::json!({"a": [1, 2]}), &serde_json::json!({"a": [1]})));
}

/// Two clusters, each with all objects of the application, which serves there.
async fn two_whole_copies() -> [Place; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let fleet = Fleet::new(Options { ready_after: Duration::ZERO, ..Options::new(url) });
    let served = fleet.clone();
    tokio::spawn(async move { served.serve(listener, Shutdown::new()).await });
    let place = async |site| {
        let place = Place::prepare(site, fleet.add(site).unwrap()).await;
        assert!(!place.is_whole() && !place.holds());
        for (path, object) in OBJECTS.into_iter().zip(manifest()) {
            assert!(place.cluster.apply(path, &object).is_some());
        }
        let end = Instant::now() + READY;
        while !place.is_whole() {
            assert!(Instant::now() < end, "the application does not become available");
            tokio::time::sleep(LOOK).await;
        }
        place
    };
    [place("one").await, place("two").await]
}

#[tokio::test]
async fn the_last_whole_copy_that_goes_and_a_copy_too_many_are_noticed() {
    let case = |situation, strategy| Case { verb: Verb::Get, trouble: Trouble::Hang, situation, strategy };
    let handover = Allowed::of(case(Situation::Handover, Strategy::CreateFirst));
    let places = two_whole_copies().await;
    // Nothing is wrong while one of the two is whole.
    let mut looks = Box::pin(not_allowed(&places, handover));
    assert!(places[0].cluster.delete(SETTINGS));
    assert!(futures::poll!(&mut looks).is_pending());
    // One that has every object and whose replicas are not available serves nobody.
    let [_, mut workload, _] = manifest();
    workload["spec"]["replicas"] = 3.into();
    assert!(places[1].cluster.apply(WORKLOAD, &workload).is_some());
    assert_eq!(looks.await, "it is whole nowhere, and was on two");

    for (situation, strategy) in [
        (Situation::Handover, Strategy::DeleteFirst),
        (Situation::Drift, Strategy::CreateFirst),
        (Situation::Removal, Strategy::CreateFirst),
    ] {
        let allowed = Allowed::of(case(situation, strategy));
        let wrong = not_allowed(&places, allowed).await;
        assert_eq!(wrong, "it is on one and two at the same time, with 1 allowed");
    }
}
