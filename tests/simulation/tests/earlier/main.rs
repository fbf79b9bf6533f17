//! What an earlier version of Krake stored: today's services take it over, and the clusters do not notice.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helping functions too")]

mod clusters;
mod world;

use krake_client::Mask;
use krake_proto::condition::{find, types};
use krake_proto::krake::kubernetes::v1::{Application, ApplicationState, Copy, Manifest, Phase};
use krake_proto::krake::meta::v1::ConditionStatus;

use clusters::Request;
use world::{Origin, World};

/// The copies that are of the present spec, and so are taken over.
const TAKEN_OVER: [(&str, &[&str]); 4] =
    [("web", &["north"]), ("large", &["south"]), ("batch", &["north"]), ("moving", &["north", "south"])];

fn copy<'a>(application: &'a Application, cluster: &str) -> Option<&'a Copy> {
    let copies = &application.status.as_ref()?.copies;
    copies.iter().find(|copy| copy.cluster.as_ref().is_some_and(|on| on.name == cluster))
}

/// Whether what was applied to the copy is recorded.
fn is_taken_over(copy: &Copy) -> bool {
    copy.applied_work.is_some() && copy.applied_work == copy.intended_work
}

/// Waits until the copies are taken over and all of what is applied and seen is shown.
async fn until_taken_over(world: &World) {
    for (name, clusters) in TAKEN_OVER {
        let taken = |application: &Application| {
            clusters.iter().all(|cluster| copy(application, cluster).is_some_and(is_taken_over))
        };
        world.until(name, taken).await;
    }
    for (name, objects) in [("web", 3), ("large", 4), ("batch", 2), ("moving", 2)] {
        let shown = |application: &Application| {
            let status = application.status.clone().unwrap_or_default();
            let lengths = [status.last_applied_manifest.len(), status.last_observed_manifest.len()];
            lengths == [objects; 2]
        };
        world.until(name, shown).await;
    }
}

/// Waits until the adapter has deployed something new, after everything else.
async fn until_done_beside(world: &World) {
    world.create("beside", "north").await;
    let runs = |application: &Application| {
        copy(application, "north").is_some_and(|copy| copy.phase() == Phase::Running)
    };
    world.until("beside", runs).await;
}

/// The effects on clusters but for those of the application `beside`, and of the deletion that is under way.
fn effects(world: &World) -> Vec<Request> {
    let requests = world.requests();
    let is_expected = |request: &Request| ["/beside", "/held"].iter().any(|end| request.path.ends_with(end));
    requests.into_iter().filter(|request| !is_expected(request) && request.object != "beside").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_file_is_opened_and_its_copies_are_taken_over_without_an_effect() {
    let world = World::start(Origin::SqliteFile).await;
    let before = world.objects();
    until_taken_over(&world).await;
    until_done_beside(&world).await;
    assert_eq!(effects(&world), []);
    assert_eq!(world.objects(), before, "uids, versions and all");
    the_rest_is_as_it_was(&world).await;
    // What an older version did not know how to apply waits for its user.
    let list = world.get("list").await;
    let failed = copy(&list, "south").unwrap();
    assert_eq!((failed.phase(), failed.applied_work.clone()), (Phase::Failed, None));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_back_up_is_restored_and_nothing_is_made_anew_or_removed() {
    let world = World::start(Origin::BackUp).await;
    let before = world.identities();
    until_taken_over(&world).await;
    until_done_beside(&world).await;
    // A restored store marks the objects as its own: that changes annotations alone.
    let others: Vec<_> = effects(&world).into_iter().filter(|request| request.method != "PATCH").collect();
    assert_eq!(others, []);
    assert_eq!(world.identities(), before, "the same objects");
    the_rest_is_as_it_was(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_was_changed_before_is_applied_once_it_is_decided() {
    let world = World::start(Origin::SqliteFile).await;
    until_taken_over(&world).await;
    let before = world.identities();
    world.bind("changed", "north").await;
    let updated = |application: &Application| {
        copy(application, "north").is_some_and(|copy| copy.observed_generation == 2 && is_taken_over(copy))
    };
    world.until("changed", updated).await;
    let path = "/api/v1/namespaces/shop/configmaps/changed";
    let object = world.cluster("north").read(path).unwrap();
    assert_eq!(object["data"]["text"], "2");
    assert_eq!(world.identities(), before, "it is the same object");
    // A list that is submitted again is unfolded.
    let mut list = world.get("list").await;
    list.status = None;
    list.metadata.as_mut().unwrap().resource_version = 0;
    let manifest = &mut list.spec.as_mut().unwrap().manifest;
    manifest
        .iter_mut()
        .for_each(|entry| *entry = Manifest { document: entry.document.take(), ..Default::default() });
    world.client.api::<Application>().update(&list, Mask::Populated).await.unwrap();
    world.bind("list", "south").await;
    let runs = |application: &Application| {
        copy(application, "south").is_some_and(|copy| copy.phase() == Phase::Running)
    };
    world.until("list", runs).await;
    assert!(world.cluster("south").read("/api/v1/namespaces/shop/configmaps/item-b").is_some());
    world.stop().await;
}

/// What is not taken over: of another generation, or going.
async fn the_rest_is_as_it_was(world: &World) {
    let changed = world.get("changed").await;
    let kept = copy(&changed, "north").unwrap();
    assert_eq!(
        (kept.phase(), kept.observed_generation, kept.applied_work.clone()),
        (Phase::Running, 1, None)
    );
    let applied = find(&kept.conditions, types::APPLIED).unwrap();
    assert_eq!(applied.status(), ConditionStatus::Unknown, "it is not known what was applied");
    let leaving = world.get("leaving").await;
    assert_eq!(leaving.status.as_ref().unwrap().state(), ApplicationState::Deleting);
    assert_eq!(copy(&leaving, "north").unwrap().phase(), Phase::Removing);
    let batch = world.get("batch").await;
    assert_eq!(copy(&batch, "north").unwrap().completed_jobs.len(), 1, "what ran to its end is known");
}
