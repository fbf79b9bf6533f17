//! Laws of what reads and watches show of applications on clusters that are unreachable.

use futures::StreamExt;
use krake_client::{Client, ListOptions, Mask, Start, Watch, WatchEvent, WatchOptions};
use krake_proto::condition::{reasons, types};
use krake_proto::krake::kubernetes::v1::{Application, ApplicationState, Cluster, ClusterStatus, Phase};
use krake_proto::krake::meta::v1::{Condition, ConditionStatus, ReasonCode, View};

use crate::placement::{World, bind, report, version, world};
use crate::support::PATIENCE;
use crate::support::server::{application, cluster};

/// Reports whether a cluster is reachable, as the adapter does.
async fn say(client: &Client, cluster: &Cluster, status: ConditionStatus, reason: &str) -> i64 {
    let condition = Condition {
        r#type: types::REACHABLE.into(),
        status: status.into(),
        reason: reason.into(),
        message: "the token was refused".into(),
        ..Condition::default()
    };
    let mut reported = cluster.clone();
    reported.metadata.get_or_insert_default().resource_version = 0;
    reported.status = Some(ClusterStatus { conditions: vec![condition], ..ClusterStatus::default() });
    let after = client.api().update_status(&reported, Mask::fields(["status.conditions"])).await.unwrap();
    after.metadata.unwrap().resource_version
}

async fn no(client: &Client, cluster: &Cluster) -> i64 {
    say(client, cluster, ConditionStatus::False, reasons::UNAUTHORIZED).await
}

async fn yes(client: &Client, cluster: &Cluster) -> i64 {
    say(client, cluster, ConditionStatus::True, "").await
}

/// A world in which "a" runs on "one".
async fn running() -> World {
    let world = world().await;
    let client = &world.server.client;
    bind(client, &[&world.one], 1, &[]).await.unwrap();
    let intended = report(client, &world.uid, &world.one, Phase::Intended, 0).await.unwrap();
    report(client, &world.uid, &world.one, Phase::Running, version(&intended, &world.one)).await.unwrap();
    world
}

fn state(application: &Application) -> ApplicationState {
    application.status.as_ref().unwrap().state()
}

fn shown(application: &Application) -> (String, ApplicationState) {
    (application.metadata.as_ref().unwrap().name.clone(), state(application))
}

/// The next application that a watch shows.
async fn next(watch: &mut Watch<Application>) -> Application {
    let applied = async {
        loop {
            if let WatchEvent::Applied { object, .. } = watch.next().await.unwrap().unwrap() {
                return object;
            }
        }
    };
    tokio::time::timeout(PATIENCE, applied).await.expect("an event comes in time")
}

#[tokio::test]
async fn reads_derive_the_state_and_nothing_is_written() {
    let World { server, one, .. } = running().await;
    let client = &server.client;
    let api = client.api::<Application>();
    yes(client, &one).await;
    let before = api.get("demo", "a").await.unwrap();
    assert_eq!(state(&before), ApplicationState::Running);

    no(client, &one).await;
    let away = api.get("demo", "a").await.unwrap();
    let (status, was) = (away.status.clone().unwrap(), before.status.clone().unwrap());
    let why = status.reason.clone().unwrap();
    assert_eq!((status.state(), why.code()), (ApplicationState::Degraded, ReasonCode::ClusterNotReachable));
    for part in ["\"one\"", reasons::UNAUTHORIZED, "the token was refused"] {
        assert!(why.message.contains(part), "{}", why.message);
    }
    let unreachable = &status.unreachable_clusters[..];
    let [named] = unreachable else { panic!("{unreachable:?}") };
    assert_eq!((&named.cluster, named.reason.as_str()), (&status.copies[0].cluster, reasons::UNAUTHORIZED));
    assert_eq!(
        (&away.metadata, &status.copies),
        (&before.metadata, &was.copies),
        "the copy keeps its last phase"
    );
    for view in [View::Basic, View::Full] {
        let options = ListOptions { view, ..ListOptions::default() };
        let listed = api.list("demo", &options).await.unwrap().items;
        assert_eq!(listed[0].status.clone().unwrap().reason, status.reason);
    }
    yes(client, &one).await;
    assert_eq!(api.get("demo", "a").await.unwrap(), before);
}

#[tokio::test]
async fn what_waits_for_an_unreachable_cluster_says_so() {
    let World { server, one, two, uid } = running().await;
    let client = &server.client;
    let api = client.api::<Application>();
    no(client, &one).await;
    bind(client, &[&two], 1, &[&one]).await.unwrap();
    let intended = report(client, &uid, &two, Phase::Intended, 0).await.unwrap();
    report(client, &uid, &two, Phase::Running, version(&intended, &two)).await.unwrap();
    let moved = api.get("demo", "a").await.unwrap();
    assert_eq!(state(&moved), ApplicationState::Running, "what is left behind keeps no migration unfinished");
    yes(client, &one).await;
    assert_eq!(state(&api.get("demo", "a").await.unwrap()), ApplicationState::Migrating);
    no(client, &one).await;
    api.delete("demo", "a", &krake_client::DeleteOptions::default()).await.unwrap();
    let deleting = api.get("demo", "a").await.unwrap();
    assert_eq!(state(&deleting), ApplicationState::Deleting);
    assert_eq!(deleting.status.unwrap().reason.unwrap().code(), ReasonCode::ClusterNotReachable);
}

#[tokio::test]
async fn a_watch_repeats_applications_only_if_it_asks_for_it() {
    let World { server, one, .. } = running().await;
    let client = &server.client;
    let api = client.api::<Application>();
    api.create(&application("elsewhere")).await.unwrap();
    let options = || WatchOptions::namespace("demo");
    let (mut plain, mut live) =
        (api.watch(options()), api.watch(WatchOptions { live_state: true, ..options() }));
    for watch in [&mut plain, &mut live] {
        assert_eq!(shown(&next(watch).await), ("a".into(), ApplicationState::Running));
        assert_eq!(shown(&next(watch).await), ("elsewhere".into(), ApplicationState::Pending));
    }
    no(client, &one).await;
    let repeated = next(&mut live).await;
    assert_eq!(repeated, api.get("demo", "a").await.unwrap());
    assert_eq!(state(&repeated), ApplicationState::Degraded);
    yes(client, &one).await;
    assert_eq!(shown(&next(&mut live).await), ("a".into(), ApplicationState::Running));
    api.create(&application("last")).await.unwrap();
    for watch in [&mut plain, &mut live] {
        assert_eq!(
            shown(&next(watch).await),
            ("last".into(), ApplicationState::Pending),
            "nothing before it"
        );
    }
}

#[tokio::test]
async fn a_watch_that_resumes_learns_what_came_and_went_meanwhile() {
    let World { server, one, .. } = running().await;
    let client = &server.client;
    let api = client.api::<Application>();
    let place = no(client, &one).await;
    let other = client.api().create(&cluster("three")).await.unwrap();
    no(client, &other).await;
    yes(client, &one).await;
    let start = |resource_version| Start::After { resource_version, epoch: String::new() };
    let live =
        |place| WatchOptions { live_state: true, start: start(place), ..WatchOptions::namespace("demo") };
    let mut behind = api.watch(live(place));
    assert_eq!(shown(&next(&mut behind).await), ("a".into(), ApplicationState::Running));
    let place = api.create(&application("b")).await.unwrap().metadata.unwrap().resource_version;
    let mut present = api.watch(live(place));
    api.create(&application("c")).await.unwrap();
    assert_eq!(shown(&next(&mut present).await).0, "c", "nothing happened since");
}
