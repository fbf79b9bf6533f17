//! Failures of API servers, and what becomes of the copies: what runs goes on running, and what failed recovers by itself
//! when the obstacle goes.

use std::time::Duration;

use axum::http::Method;
use krake_kubernetes::SlowRetries;
use krake_proto::condition::{find, reasons, types};
use krake_proto::krake::kubernetes::v1::{Application, Copy, FailureClass, Phase};
use krake_proto::krake::meta::v1::ConditionStatus;
use serde_json::json;

use crate::api_server::Mood;
use crate::apply::{config_map, deployment};
use crate::controllers::{definition, tub};
use crate::fake_store::Store;
use crate::world::{World, reason};

/// Long enough for a copy that can be brought up on a busy machine.
const DEADLINE: Duration = Duration::from_secs(4);

/// A world in which what is tried slowly is tried again within the test.
async fn world(deadline: Duration) -> World {
    let mut world = World::prepare().await;
    world.rollout_deadline = deadline;
    let pause = Duration::from_millis(300);
    world.slow_retries = SlowRetries { first: pause, longest: pause };
    world.start_adapter();
    world
}

/// Waits until the copy on `one` satisfies a condition.
async fn until_copy(world: &World, what: &str, condition: impl Fn(&Copy) -> bool) -> Copy {
    let found = |copies: Vec<Copy>| {
        copies.into_iter().find(|copy| copy.cluster.as_ref().is_some_and(|cluster| cluster.name == "one"))
    };
    world.krake.until(what, |store| found(store.copies("app")).filter(|copy| condition(copy))).await
}

/// Waits until the cluster `one` shows this of its being reachable.
async fn until_reachable(world: &World, expected: ConditionStatus) {
    let shows = |store: &Store| {
        let status = store.clusters["one"].status.as_ref()?;
        (find(&status.conditions, types::REACHABLE)?.status() == expected).then_some(())
    };
    world.krake.until("reachability shown", shows).await;
}

fn refused(copy: &Copy) -> bool {
    find(&copy.conditions, types::APPLIED).is_some_and(|applied| applied.status() == ConditionStatus::False)
}

/// The phases that were recorded of the application on `one`, each once where it was recorded again.
fn phases(world: &World) -> Vec<String> {
    let mut phases: Vec<_> =
        world.journal().into_iter().filter(|entry| entry.starts_with("report")).collect();
    phases.dedup();
    phases
}

const CAME_UP: [&str; 3] = ["report Intended app/one", "report Applying app/one", "report Running app/one"];

#[tokio::test]
async fn a_repair_that_is_refused_never_ends_self_healing() {
    let terminating = "configmaps \"a\" is forbidden: unable to create new content in namespace demo because it is being \
        terminated";
    let quota = "configmaps \"a\" is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=1";
    let answers = [
        (403, "Forbidden", terminating),
        (403, "Forbidden", "configmaps is forbidden: User \"krake\" cannot create resource \"configmaps\""),
        (403, "Forbidden", quota),
        (400, "BadRequest", "strict decoding error: unknown field \"spec.replcias\""),
        (422, "Invalid", "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"),
        (500, "InternalError", "Internal error occurred: failed calling webhook \"x\": connection refused"),
    ];
    for (code, reason, message) in answers {
        // The copy is older than any attempt may last.
        let world = world(Duration::from_millis(100)).await;
        world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
        world.until_phases("app", &[("one", Phase::Running)]).await;
        let server = world.server("one");
        server.fail(Method::POST, "configmaps", code, reason, message);
        server.erase("configmaps", "demo", "a");
        let told = until_copy(&world, "the refusal told", refused).await;
        assert_eq!(told.phase(), Phase::Running, "{message}");
        server.heal();
        world.until("repaired", || world.server("one").get("configmaps", "demo", "a").is_some()).await;
        until_copy(&world, "accepted again", |copy| !refused(copy)).await;
        assert_eq!(phases(&world), CAME_UP, "{message}");
        world.stop().await;
    }
}

#[tokio::test]
async fn an_update_that_is_refused_leaves_what_runs_and_is_tried_again() {
    let mut world = World::prepare().await;
    world.rollout_deadline = Duration::from_millis(100);
    world.start_adapter();
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    let immutable = "Job.batch \"j\" is invalid: spec.template: Invalid value: core.PodTemplateSpec{}: field is immutable";
    let server = world.server("one");
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "demo"}});
    server.fail(Method::POST, "secrets", 422, "Invalid", immutable);
    world.krake.change(|store| {
        store.update("app", &[secret, config_map("a")]);
        store.bind("app", &["one"]);
    });
    let told = until_copy(&world, "the refusal told", refused).await;
    assert_eq!((told.phase(), told.observed_generation), (Phase::Running, 1));
    let (_, message) = reason(&world, "app", "one", types::APPLIED).unwrap();
    assert!(message.ends_with("field is immutable"), "{message}");
    // What runs is repaired meanwhile: the next attempt at the update is minutes away.
    server.erase("configmaps", "demo", "a");
    world.until("repaired", || world.server("one").get("configmaps", "demo", "a").is_some()).await;
    assert!(refused(&until_copy(&world, "still told", |_| true).await));
    // Another spec is tried at once.
    world.krake.change(|store| {
        store.update("app", &[config_map("a"), config_map("b")]);
        store.bind("app", &["one"]);
    });
    until_copy(&world, "updated", |copy| copy.observed_generation == 3 && !refused(copy)).await;
    assert!(!world.journal().contains(&"report Failed app/one".to_owned()));
    world.stop().await;
}

#[tokio::test]
async fn a_first_attempt_ends_at_its_deadline_and_recovers_when_the_obstacle_goes() {
    let faults = [
        (Method::POST, "configmaps", 404, "NotFound", "namespaces \"demo\" not found"),
        (Method::POST, "configmaps", 500, "InternalError", "etcdserver: leader changed"),
        (Method::POST, "configmaps", 401, "Unauthorized", "Unauthorized"),
        // The kinds cannot be found out.
        (Method::GET, "/api/v1", 403, "Forbidden", "forbidden: cannot get path \"/api/v1\""),
        // Creating works, but not the list of all namespaces; and then no list.
        (Method::GET, "/api/v1/configmaps", 500, "InternalError", "the list is broken"),
        (Method::GET, "/configmaps$", 403, "Forbidden", "cannot list resource \"configmaps\""),
    ];
    for (method, path, code, reason, message) in faults {
        let world = world(DEADLINE).await;
        // The cluster is looked at before: it answers.
        world.krake.change(|store| store.create("first", &[], "one"));
        world.until_phases("first", &[("one", Phase::Running)]).await;
        world.server("one").fail(method, path, code, reason, message);
        world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
        let failed = until_copy(&world, "failed", |copy| copy.phase() == Phase::Failed).await;
        let told = failed.conditions.iter().map(|condition| condition.message.as_str()).collect::<String>();
        assert!(told.contains(message), "{told}");
        world.server("one").heal();
        until_copy(&world, "recovered", |copy| copy.phase() == Phase::Running).await;
        world.stop().await;
    }
}

#[tokio::test]
async fn what_was_in_the_way_of_an_application_may_go() {
    let world = world(DEADLINE).await;
    world.server("one").put("configmaps", config_map("a"));
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    let failed = until_copy(&world, "failed", |copy| copy.phase() == Phase::Failed).await;
    assert_eq!(find(&failed.conditions, types::APPLIED).unwrap().reason, reasons::OBJECT_OWNED_BY_OTHER);
    world.server("one").erase("configmaps", "demo", "a");
    until_copy(&world, "running", |copy| copy.phase() == Phase::Running).await;
    world.stop().await;
}

#[tokio::test]
async fn flaps_begin_no_new_attempt() {
    let world = world(DEADLINE).await;
    // Nothing becomes available there.
    world.krake.change(|store| store.create("app", &[deployment("web")], "one"));
    world.until_phases("app", &[("one", Phase::Applying)]).await;
    // The cluster is away more often than an attempt may last without an end.
    let failed = until_copy(&world, "failed", |copy| copy.phase() == Phase::Failed);
    let flapping = async {
        loop {
            world.server("one").set_mood(Mood::Down);
            until_reachable(&world, ConditionStatus::False).await;
            world.server("one").set_mood(Mood::Well);
            until_reachable(&world, ConditionStatus::True).await;
            // For as long as some probes take.
            let looks = || {
                world.server("one").requests().iter().filter(|path| path.ends_with("/kube-system")).count()
            };
            let before = looks();
            world.until("looked at", || looks() > before + 5).await;
        }
    };
    let failed = tokio::select! { failed = failed => failed, () = flapping => unreachable!() };
    let available = find(&failed.conditions, types::AVAILABLE).unwrap();
    assert_eq!(available.reason, reasons::DEADLINE_EXCEEDED);
    world.stop().await;
}

#[tokio::test]
async fn a_rollout_keeps_the_copy_running() {
    let world = world(Duration::from_millis(100)).await;
    world.server("one").run_workloads();
    world.krake.change(|store| store.create("app", &[deployment("web")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.server("one").stop_workloads();
    world.krake.change(|store| {
        store.update("app", &[deployment("web"), deployment("slow")]);
        store.bind("app", &["one"]);
    });
    let late = until_copy(&world, "the rollout late", |copy| {
        let available = find(&copy.conditions, types::AVAILABLE);
        available.is_some_and(|available| available.reason == reasons::DEADLINE_EXCEEDED)
    })
    .await;
    assert_eq!((late.phase(), late.observed_generation), (Phase::Running, 2));
    assert!(!world.journal().contains(&"report Failed app/one".to_owned()));
    world.stop().await;
}

#[tokio::test]
async fn a_copy_that_failed_goes_when_the_next_candidate_is_bound() {
    let world = world(DEADLINE).await;
    let denied = "admission webhook \"policy\" denied the request: not here";
    world.server("one").fail(Method::POST, "deployments", 403, "Forbidden", denied);
    world.krake.change(|store| store.create("app", &[config_map("a"), deployment("web")], "one"));
    let failed = until_copy(&world, "failed", |copy| copy.phase() == Phase::Failed).await;
    assert_eq!(failed.failure(), FailureClass::OfCluster);
    let accepted: Vec<_> = failed.inventory.iter().filter(|object| !object.uid.is_empty()).collect();
    assert_eq!(accepted.len(), 1, "what was accepted is known: {accepted:?}");
    world.server("two").run_workloads();
    world.krake.change(|store| store.bind("app", &["two"]));
    world.until_phases("app", &[("two", Phase::Running)]).await;
    assert_eq!(world.server("one").names("configmaps"), [""; 0]);
    world.stop().await;
}

#[tokio::test]
async fn a_requested_retry_is_made_at_once() {
    let mut world = World::prepare().await;
    world.start_adapter();
    world.server("one").fail(Method::POST, "configmaps", 422, "Invalid", "not so");
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    until_copy(&world, "failed", |copy| copy.phase() == Phase::Failed).await;
    // By itself the adapter tries again after minutes.
    world.krake.change(|store| store.retry("app"));
    let again = until_copy(&world, "tried again", |copy| copy.retry_request == 1).await;
    assert_eq!(again.phase(), Phase::Failed);
    world.server("one").heal();
    world.krake.change(|store| store.retry("app"));
    until_copy(&world, "running", |copy| copy.phase() == Phase::Running && copy.retry_request == 2).await;
    world.stop().await;
}

#[tokio::test]
async fn what_was_never_applied_is_not_waited_for() {
    let world = world(DEADLINE).await;
    let forbidden = "deployments.apps is forbidden: User \"krake\" cannot get resource \"deployments\"";
    for method in [Method::GET, Method::POST, Method::DELETE] {
        world.server("one").fail(method, "/deployments", 403, "Forbidden", forbidden);
    }
    world.krake.change(|store| store.create("app", &[config_map("a"), deployment("web")], "one"));
    until_copy(&world, "refused", refused).await;
    world.krake.change(|store| store.delete::<Application>("app"));
    world.krake.until("erased", |store| store.applications.is_empty().then_some(())).await;
    world.stop().await;
}

#[tokio::test]
async fn a_blip_of_a_cluster_with_many_copies_writes_one_object() {
    // More than workers, queues and pages hold at a time, and no more than a busy machine brings up in some seconds.
    const COPIES: usize = 60;
    let world = world(Duration::from_secs(120)).await;
    world.krake.change(|store| {
        (0..COPIES).for_each(|n| store.create(&format!("app-{n}"), &[config_map(&format!("c-{n}"))], "one"));
    });
    let runs = |application: &&Application| {
        let copies = application.status.as_ref().map(|status| status.copies.as_slice()).unwrap_or_default();
        matches!(copies, [copy] if copy.phase() == Phase::Running)
    };
    let all_run = |store: &Store| {
        let running = store.applications.values().filter(runs).filter_map(versioned);
        Some(running.collect::<Vec<_>>()).filter(|running| running.len() == COPIES)
    };
    let before = world.krake.until("all run", all_run).await;
    world.server("one").set_mood(Mood::Down);
    until_reachable(&world, ConditionStatus::False).await;
    world.server("one").set_mood(Mood::Well);
    until_reachable(&world, ConditionStatus::True).await;
    // What comes after it shows that the adapter has gone on.
    world.krake.change(|store| store.create("last", &[config_map("last")], "one"));
    world.until_phases("last", &[("one", Phase::Running)]).await;
    assert_eq!(world.krake.until("the others", all_run).await, before, "none of them was written");
    world.stop().await;
}

/// Name and version of an application, but for the last one.
fn versioned(application: &Application) -> Option<(String, i64)> {
    let metadata = application.metadata.as_ref().filter(|metadata| metadata.name != "last")?;
    Some((metadata.name.clone(), metadata.resource_version))
}

#[tokio::test]
async fn what_waited_for_a_kind_is_applied_as_soon_as_the_kind_is_served() {
    let mut world = World::prepare().await;
    // Longer than any test: what is applied was not tried slowly.
    let pause = Duration::from_secs(24 * 3600);
    world.slow_retries = SlowRetries { first: pause, longest: pause };
    world.start_adapter();
    world.krake.change(|store| store.create("app", &[tub()], "one"));
    world.until_phases("app", &[("one", Phase::Failed)]).await;
    world.krake.change(|store| store.create("operator", &[definition()], "one"));
    world.until_phases("operator", &[("one", Phase::Running)]).await;
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.stop().await;
}
