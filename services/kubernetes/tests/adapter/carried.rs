//! What is carried over: completed Jobs to the next copy, and the time of an attempt to the next process.

use krake_proto::krake::kubernetes::v1::{Application, Copy, CopyAttempt, MigrationStrategy, Phase};

use crate::apply::{config_map, deployment};
use crate::fake_store::Store;
use crate::jobs::{job, until_done};
use crate::works::until_copy;
use crate::world::{HANG_GUARD, World};

fn change(store: &mut Store, change: impl FnOnce(&mut Application)) {
    let mut application = store.applications["app"].clone();
    change(&mut application);
    store.put(application);
}

#[tokio::test]
async fn a_move_that_deletes_first_does_not_run_a_completed_job_again() {
    let world = World::start().await;
    world.krake.change(|store| {
        store.create("app", &[job(), config_map("a")], "one");
        change(store, |application| {
            let spec = application.spec.as_mut().unwrap();
            spec.set_migration_strategy(MigrationStrategy::DeleteFirst);
        });
    });
    until_done(&world).await;
    world.krake.change(|store| store.bind("app", &["two"]));
    world.until_phases("app", &[("two", Phase::Running)]).await;
    assert_eq!(world.server("one").names("jobs"), [""; 0], "the old copy is gone");
    assert_eq!(world.server("two").names("configmaps"), ["a"]);
    assert_eq!(world.server("two").names("jobs"), [""; 0], "it ran to its end");
    let kept = world.krake.change(|store| store.copies("app").remove(0).completed_jobs.len());
    assert_eq!(kept, 1, "the next move knows it too");
    // Another spec is another matter.
    world.krake.change(|store| {
        store.update("app", &[job(), config_map("b")]);
        store.bind("app", &["two"]);
    });
    world.until("made", || world.server("two").get("jobs", "demo", "j").is_some()).await;
    world.stop().await;
}

/// Sets how long the attempt at the copy on the cluster `one` has lasted.
fn set_elapsed(store: &mut Store, attempt: impl FnOnce(&Copy) -> CopyAttempt) {
    change(store, |application| {
        let copy = &mut application.status.as_mut().unwrap().copies[0];
        copy.attempt = Some(attempt(copy));
    });
}

/// An application whose workload does not become available, applied by an adapter that is gone.
async fn awaited() -> World {
    let mut world = World::start().await;
    world.rollout_deadline = HANG_GUARD * 10;
    world.krake.change(|store| store.create("app", &[deployment("web")], "one"));
    world.until_phases("app", &[("one", Phase::Applying)]).await;
    world.kill_adapter().await;
    world
}

#[tokio::test]
async fn the_deadline_of_an_attempt_comes_under_another_process_too() {
    let mut world = awaited().await;
    let deadline = world.rollout_deadline.as_secs();
    let recorded = world.krake.change(|store| store.copies("app").remove(0));
    let intended = recorded.intended_work.unwrap().sha256;
    // All but the last second has passed.
    world.krake.change(|store| {
        let elapsed_seconds = u32::try_from(deadline - 1).unwrap();
        set_elapsed(store, |_| CopyAttempt { sha256: intended, elapsed_seconds, ..Default::default() });
    });
    world.start_adapter();
    let failed = until_copy(&world, "failed", |copy| copy.phase() == Phase::Failed).await;
    assert_eq!(failed.attempt, None, "it is over");
    world.stop().await;
}

#[tokio::test]
async fn the_time_of_another_attempt_does_not_count() {
    let mut world = awaited().await;
    world.krake.change(|store| {
        set_elapsed(store, |_| CopyAttempt {
            sha256: vec![7; 32].into(),
            elapsed_seconds: u32::MAX,
            ..Default::default()
        });
    });
    world.start_adapter();
    world.krake.change(|store| store.create("beside", &[config_map("a")], "one"));
    world.until_phases("beside", &[("one", Phase::Running)]).await;
    world.server("one").run_workloads();
    let running = until_copy(&world, "running", |copy| copy.phase() == Phase::Running).await;
    assert_eq!(running.attempt, None, "nothing is awaited any more");
    world.stop().await;
}
