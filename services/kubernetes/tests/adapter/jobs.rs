//! Jobs that ran to their end are not run again, also after they were collected.

use axum::http::Method;
use krake_kubernetes::object::EVERY_CLUSTER_ANNOTATION;
use krake_proto::krake::kubernetes::v1::Phase;
use serde_json::{Value, json};

use crate::apply::{config_map, deployment};
use crate::works::{is_available, repaired, until_copy};
use crate::world::World;

pub(crate) fn job() -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "demo"},
        "spec": {"ttlSecondsAfterFinished": 5, "template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "job", "image": "registry.example/job"}]}}}})
}

/// The Job ran to its end on the first cluster.
pub(crate) async fn until_done(world: &World) {
    let server = world.server("one");
    world.until("made", || server.get("jobs", "demo", "j").is_some()).await;
    let mut done = server.get("jobs", "demo", "j").unwrap();
    done["status"] = json!({"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]});
    server.put("jobs", done);
    until_copy(world, "done", |copy| !copy.completed_jobs.is_empty()).await;
}

#[tokio::test]
async fn a_move_runs_a_job_again_that_users_want_on_every_cluster() {
    let mut job = job();
    job["metadata"]["annotations"] = json!({EVERY_CLUSTER_ANNOTATION: "true"});
    let world = World::start().await;
    world.krake.change(|store| store.create("app", &[job], "one"));
    until_done(&world).await;
    world.krake.change(|store| store.bind("app", &["two"]));
    world.until("made", || world.server("two").get("jobs", "demo", "j").is_some()).await;
    world.stop().await;
}

#[tokio::test]
async fn a_job_that_ran_to_its_end_and_was_collected_is_not_made_again() {
    let mut world = World::start().await;
    world.krake.change(|store| store.create("app", &[job(), config_map("a")], "one"));
    let server = world.server("one").clone();
    until_done(&world).await;
    server.erase("jobs", "demo", "j");
    let made = |world: &World| world.journal().iter().filter(|entry| entry.ends_with("POST jobs/j")).count();
    for restart in [false, true] {
        if restart {
            world.kill_adapter().await;
            world.start_adapter();
        }
        repaired(&world, "a").await;
        let well = until_copy(&world, "available", is_available).await;
        assert_eq!((well.phase(), made(&world)), (Phase::Running, 1));
    }
    // Nor by a move.
    world.krake.change(|store| store.bind("app", &["two"]));
    world.until_phases("app", &[("two", Phase::Running)]).await;
    assert_eq!(world.server("two").names("configmaps"), ["a"]);
    assert_eq!((made(&world), server.names("jobs").len()), (1, 0));
    // Another spec is another run.
    world.krake.change(|store| {
        store.update("app", &[job(), config_map("b")]);
        store.bind("app", &["two"]);
    });
    world.until("made anew", || world.server("two").get("jobs", "demo", "j").is_some()).await;
    world.stop().await;
}

#[tokio::test]
async fn a_job_that_is_collected_as_soon_as_it_ends_is_not_made_again() {
    let world = World::start().await;
    world.krake.change(|store| store.create("app", &[job(), config_map("a")], "one"));
    let server = world.server("one").clone();
    until_copy(&world, "accepted", |copy| copy.phase() == Phase::Applying).await;
    let mut done = server.get("jobs", "demo", "j").unwrap();
    done["status"] = json!({"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]});
    // As with a time to live of 0: the adapter did not look in between.
    server.put("jobs", done);
    server.erase("jobs", "demo", "j");
    until_copy(&world, "done", |copy| !copy.completed_jobs.is_empty()).await;
    repaired(&world, "a").await;
    let made = world.journal().iter().filter(|entry| entry.ends_with("POST jobs/j")).count();
    assert_eq!(made, 1);
    world.stop().await;
}

#[tokio::test]
async fn a_job_that_ends_while_later_objects_are_refused_is_not_made_again() {
    let world = World::start().await;
    let server = world.server("one").clone();
    server.run_workloads();
    server.fail(Method::POST, "/deployments", 500, "InternalError", "failed calling webhook");
    world.krake.change(|store| store.create("app", &[job(), deployment("web")], "one"));
    world.until("made", || server.get("jobs", "demo", "j").is_some()).await;
    let mut done = server.get("jobs", "demo", "j").unwrap();
    done["status"] = json!({"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]});
    server.put("jobs", done);
    server.erase("jobs", "demo", "j");
    server.heal();
    world.until_phases("app", &[("one", Phase::Running)]).await;
    let made = world.journal().iter().filter(|entry| entry.ends_with("POST jobs/j")).count();
    assert_eq!(made, 1);
    world.stop().await;
}
