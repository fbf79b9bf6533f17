//! What a successor waits for that must not run beside the one before it, and cannot be ended by Krake.

use axum::http::Method;
use krake_kubernetes::object::{APPLICATION_LABEL, INSTALLATION_LABEL};
use krake_proto::condition::types;
use krake_proto::krake::kubernetes::v1::{Application, MigrationStrategy, Phase};
use serde_json::json;

use crate::apply::config_map;
use crate::world::{World, reason};

/// An application that runs on `one` and is to run once at a time.
async fn running_once(world: &World, adopt_existing: bool) {
    world.krake.change(|store| {
        store.create("app", &[config_map("a")], "one");
        let mut application = store.applications["app"].clone();
        application.spec.as_mut().unwrap().adopt_existing = adopt_existing;
        store.put(application);
    });
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.krake.change(|store| {
        let mut application = store.applications["app"].clone();
        let spec = application.spec.as_mut().unwrap();
        spec.set_migration_strategy(MigrationStrategy::DeleteFirst);
        store.put(application);
    });
}

/// Moves it to `two`: it waits for a person, and goes on when the object is gone.
async fn moves_only_when_it_is_gone(world: &World, why: &str) {
    world.krake.change(|store| store.bind("app", &["two"]));
    let available = || reason(world, "app", "one", types::AVAILABLE).unwrap_or_default().1;
    world.until("the wait is told", || available().contains(why)).await;
    let help = "; to go on, delete it, or leave it there with the migration strategy CREATE_FIRST";
    assert!(available().ends_with(help), "{}", available());
    assert!(!world.server("two").names("configmaps").contains(&"a".to_owned()));
    world.until_phases("app", &[("one", Phase::Removing)]).await;
    world.server("one").erase("configmaps", "demo", "a");
    world.until_phases("app", &[("two", Phase::Running)]).await;
}

#[tokio::test]
async fn what_existed_before_runs_on_and_no_successor_beside_it() {
    let world = World::start().await;
    world.server("one").put("configmaps", config_map("a"));
    running_once(&world, true).await;
    moves_only_when_it_is_gone(&world, "it existed before Krake, which leaves it running").await;
    world.stop().await;
}

#[tokio::test]
async fn what_has_lost_its_marks_is_not_taken_for_gone() {
    for (marks, why) in [
        (
            json!({INSTALLATION_LABEL: "theirs", APPLICATION_LABEL: "uid-app"}),
            "of another Krake installation",
        ),
        // It exists, and has nothing there.
        (
            json!({INSTALLATION_LABEL: "inst", APPLICATION_LABEL: "uid-other"}),
            "belongs to application uid-other",
        ),
        (json!({}), "it bears no mark of Krake any more"),
    ] {
        let world = World::start().await;
        world.krake.change(|store| store.create("other", &[config_map("b")], "two"));
        world.until_phases("other", &[("two", Phase::Running)]).await;
        running_once(&world, false).await;
        let server = world.server("one");
        // Nothing puts the marks back.
        server.fail(Method::PATCH, "configmaps", 422, "Invalid", "not so");
        let mut object = server.get("configmaps", "demo", "a").unwrap();
        object["metadata"]["labels"] = marks;
        server.put("configmaps", object);
        moves_only_when_it_is_gone(&world, why).await;
        world.stop().await;
    }
}

/// It names what another one has, and is told so; its label by hand makes it no owner.
#[tokio::test]
async fn an_application_takes_nothing_along_that_another_one_has_recorded() {
    let world = World::start().await;
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.krake.change(|store| store.create("other", &[config_map("a")], "one"));
    world.until_phases("other", &[("one", Phase::Failed)]).await;
    let server = world.server("one");
    let mut object = server.get("configmaps", "demo", "a").unwrap();
    object["metadata"]["labels"][APPLICATION_LABEL] = json!("uid-other");
    let uid = server.put("configmaps", object)["metadata"]["uid"].clone();
    world.krake.change(|store| store.delete::<Application>("other"));
    world.krake.until("erased", |store| (!store.applications.contains_key("other")).then_some(())).await;
    let marked = || {
        let object = server.get("configmaps", "demo", "a").unwrap();
        object["metadata"]["labels"][APPLICATION_LABEL] == "uid-app" && object["metadata"]["uid"] == uid
    };
    world.until("it is the first one's again", marked).await;
    world.stop().await;
}
