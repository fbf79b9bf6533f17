//! The state service and the gateway end and start again under watches, and readiness says so.

use krake_integration::wait::{self, HANG_GUARD};
use reqwest::Method;

use crate::behaviour::metric;
use crate::watch::{Lines, told};
use crate::world::World;

const METRICS: &str = "/core/namespaces/demo/metrics";

async fn restart_state(world: &mut World) {
    world.state().process.restart().unwrap();
    world.state().ready().await.unwrap();
}

/// Creates a metric as soon as the state service can be reached again.
async fn made(world: &World, name: &str) {
    // A creation whose answer was lost is there, and refused from then on.
    let posted =
        async || [200, 409].contains(&world.post(METRICS, &metric(name, 1.0)).await.status).then_some(());
    wait::until("the creation", HANG_GUARD, posted).await.unwrap();
}

#[tokio::test]
async fn watches_outlive_the_state_service() {
    let mut world = World::on(&["--store", "sqlite"], false).await;
    let mut lines = Lines::open(&world, &format!("{METRICS}?watch&heartbeat=1"), &[]).await;
    for round in 0..3 {
        let (before, after) = (format!("before-{round}"), format!("after-{round}"));
        world.post(METRICS, &metric(&before, 1.0)).await.ok();
        if round == 1 {
            // Whether the watch has seen the change already must not matter.
            assert_eq!(told(&lines.event().await), ("ADDED", before.as_str()));
        }
        world.state().process.kill().unwrap();
        if round == 1 {
            for _ in 0..2 {
                assert_eq!(lines.line().await, "", "heartbeats go on");
            }
        }
        restart_state(&mut world).await;
        made(&world, &after).await;
        if round != 1 {
            assert_eq!(told(&lines.event().await), ("ADDED", before.as_str()));
        }
        assert_eq!(told(&lines.event().await), ("ADDED", after.as_str()), "nothing lost or repeated");
    }
    world.unharmed().await;
}

#[tokio::test]
async fn watches_of_a_lost_store_end_with_a_problem() {
    let mut world = World::start().await;
    let lines = Lines::open(&world, &format!("{METRICS}?watch"), &[]).await;
    // Memory comes back empty, as another history.
    restart_state(&mut world).await;
    assert_eq!(lines.error().await["status"], 410);
    let mut lines = Lines::open(&world, &format!("{METRICS}?watch"), &[]).await;
    made(&world, "m").await;
    assert_eq!(told(&lines.event().await), ("ADDED", "m"));
}

#[tokio::test]
async fn an_entity_tag_of_a_lost_store_guards_nothing_of_the_next() {
    let mut world = World::start().await;
    let path = format!("{METRICS}/m");
    // The entity tag of the metric after another write of it, and its revision.
    let write = async |world: &World, max: u8| {
        world.put(&path, &metric("m", f64::from(max))).await.ok();
        let read = world.get(&path).await;
        (read.header("etag").to_owned(), read.ok()["metadata"]["resource_version"].clone())
    };
    made(&world, "m").await;
    let mut former = Vec::new();
    for max in 2..8 {
        former.push(write(&world, max).await);
    }
    restart_state(&mut world).await;
    made(&world, "m").await;
    // The same revision by chance, of another object. Each store writes a few revisions of its own in between.
    let mut max = 2;
    let (tag, new_tag) = loop {
        let (new_tag, new_revision) = write(&world, max).await;
        if let Some((tag, _)) = former.iter().find(|(_, revision)| *revision == new_revision) {
            break (tag.clone(), new_tag);
        }
        assert!(max < 20, "the stores count alike: {new_revision} of {former:?}");
        max += 1;
    };
    let body = metric("m", 50.0);
    for method in [Method::PUT, Method::DELETE] {
        world.send_with(method, &path, &body, &[("if-match", &tag)]).await.problem(412);
    }
    world.send_with(Method::PUT, &path, &body, &[("if-match", &new_tag)]).await.ok();
    // Upstream's clients send none.
    world.put(&path, &metric("m", 60.0)).await.ok();
    world.unharmed().await;
}

#[tokio::test]
async fn the_end_of_the_gateway_ends_watches_with_a_problem() {
    let mut world = World::start().await;
    let lines = Lines::open(&world, &format!("{METRICS}?watch"), &[]).await;
    world.gateway().process.terminate().unwrap();
    assert_eq!(lines.error().await["status"], 503);
    assert!(world.gateway().process.ended(HANG_GUARD).await.unwrap().success());
}

#[tokio::test]
async fn a_gateway_without_state_service_is_alive_but_not_ready() {
    let mut world = World::on(&["--store", "sqlite"], false).await;
    let becomes = async |world: &World, expected: u16| {
        let shown = async || {
            assert_eq!(world.admin("/healthz").await, 200);
            (world.admin("/readyz").await == expected).then_some(())
        };
        wait::until(&format!("/readyz {expected}"), HANG_GUARD, shown).await.unwrap();
    };
    becomes(&world, 200).await;
    world.state().process.kill().unwrap();
    becomes(&world, 503).await;
    restart_state(&mut world).await;
    becomes(&world, 200).await;
    // One that hangs is no better than one that is gone.
    world.state().process.pause().unwrap();
    becomes(&world, 503).await;
    world.state().process.resume().unwrap();
    becomes(&world, 200).await;
}
