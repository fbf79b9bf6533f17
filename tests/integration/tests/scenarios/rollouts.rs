//! Updates whose pods do not start: what ran before runs on, and the application says so.

use futures::StreamExt;
use krake_client::{Client, ConnectOptions, WatchEvent, WatchOptions};
use krake_integration::wait::HANG_GUARD;
use krake_proto::krake::kubernetes::v1::{Application, ApplicationState, Phase};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::applications::{end, space, web};
use crate::world::{World, available, ground};

/// Pods with an image. Hollow nodes start every image, so those that are not to start ask for a node that there is not.
fn with_image(space: &str, image: &str, starts: bool) -> Value {
    let mut object = web(space, 2);
    object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    if !starts {
        object["spec"]["template"]["spec"]["nodeSelector"] = json!({"there": "never"});
    }
    object
}

/// Follows the application until it is of a generation and what is wrong with it contains a text. At every moment of that
/// generation it is RECONCILING, and its only copy runs on the cluster `one`.
async fn reconciles_until(client: &Client, generation: i64, text: &str) {
    let mut events = client.api::<Application>().watch(WatchOptions::namespace("demo"));
    let follow = async {
        while let Some(event) = events.next().await {
            let WatchEvent::Applied { object, .. } = event.unwrap() else { continue };
            let (metadata, status) =
                (object.metadata.clone().unwrap_or_default(), object.status.clone().unwrap_or_default());
            if metadata.generation < generation {
                continue;
            }
            let phases: Vec<Phase> = status.copies.iter().map(|copy| copy.phase()).collect();
            let runs_on = status.running_on.clone().unwrap_or_default().name;
            assert_eq!(
                (status.state(), phases.as_slice(), runs_on.as_str()),
                (ApplicationState::Reconciling, &[Phase::Running][..], "one"),
                "{object:#?}"
            );
            if status.reason.is_some_and(|reason| reason.message.contains(text)) {
                return;
            }
        }
        panic!("the watch ended");
    };
    timeout(HANG_GUARD, follow).await.unwrap_or_else(|_| panic!("nothing says {text:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_does_not_start_is_reconciling_while_the_old_pods_serve() {
    const SPACE: &str = "rollout";
    let Some((ground, _turn)) = ground().await else { return };
    let api = ground.one.api();
    space(api, SPACE).await;
    let world = World::unranked(ground).await;
    world.run_on_one(&[with_image(SPACE, "web:1", true)]).await;
    let path = format!("/apis/apps/v1/namespaces/{SPACE}/deployments/web");
    let before = ground.one.wait_for(&path, HANG_GUARD, available).await.unwrap();
    let client = Client::new(&ConnectOptions::new(world.stack.url())).unwrap();
    let shown = world.stack.rok_json(&["kube", "app", "get", "app"]).await.unwrap();
    let generation: i64 = shown["metadata"]["generation"].to_string().trim_matches('"').parse().unwrap();

    world.application("update", &[with_image(SPACE, "web:never", false)], &[]).await;
    reconciles_until(&client, generation + 1, "Unschedulable").await;
    let during = api.get(&path).await.unwrap().unwrap();
    assert_eq!(during["status"]["availableReplicas"], 2, "the old pods serve: {during:#}");
    assert_eq!(during["status"]["updatedReplicas"], 1, "{during:#}");

    world.application("update", &[with_image(SPACE, "web:2", true)], &[]).await;
    world.until_running().await;
    let after = ground.one.wait_for(&path, HANG_GUARD, available).await.unwrap();
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"], "it was never made anew");
    end(world, api, SPACE).await;
}
