//! A caller may go away at any moment. Whatever call is cancelled, and wherever in it, the store then holds nothing of
//! it or the whole, and the same call can be made again.

mod gate;

use std::sync::{Arc, LazyLock};

use futures::future::BoxFuture;
use gate::{Gate, Place};
use krake_client::{Client, DeleteOptions, Mask};
use krake_proto::condition::types;
use krake_proto::finalizer::{CASCADE_DELETION, CLUSTER_COPIES};
use krake_proto::krake::kubernetes::v1::{Application, Cluster, Phase};
use krake_proto::krake::meta::v1::{Condition, ConditionStatus};
use krake_state::store::Store;
use ring::digest::{SHA256, digest};

use crate::documents;
use crate::placement::{bind, report, version};
use crate::support::requests::remove_finalizer;
use crate::support::server::{Server, application, cluster};
use crate::support::{PATIENCE, have_etcd, memory, shared_etcd, sqlite};

/// A set of three pieces.
static DOCUMENTS: LazyLock<Vec<u8>> = LazyLock::new(|| documents::documents(1_200_000, 1));

/// A call, and the calls before it that set the scene.
struct Case {
    name: &'static str,
    scene: fn(&Client) -> BoxFuture<'_, ()>,
    call: fn(Client) -> BoxFuture<'static, ()>,
}

async fn uid(client: &Client) -> String {
    client.api::<Application>().get("demo", "a").await.unwrap().metadata.unwrap().uid
}

async fn clusters(client: &Client) -> (Cluster, Cluster) {
    let api = client.api::<Cluster>();
    (api.get("demo", "one").await.unwrap(), api.get("demo", "two").await.unwrap())
}

/// An application that is bound to the first of two clusters and has a copy there.
fn placed(client: &Client) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        client.api().create(&application("a")).await.unwrap();
        let one = client.api().create(&cluster("one")).await.unwrap();
        client.api().create(&cluster("two")).await.unwrap();
        bind(client, &[&one], 1, &[]).await.unwrap();
        report(client, &uid(client).await, &one, Phase::Intended, 0).await.unwrap();
    })
}

/// The same, bound to the second cluster as well as having the copy on the first.
fn rebound(client: &Client) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        placed(client).await;
        let (_, two) = clusters(client).await;
        bind(client, &[&two], 1, &[]).await.unwrap();
    })
}

/// The first cluster is being deleted, and the copy on it is gone.
fn drained(client: &Client) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        placed(client).await;
        client.api::<Application>().delete("demo", "a", &forced()).await.unwrap();
        client.api::<Cluster>().delete("demo", "one", &DeleteOptions::default()).await.unwrap();
        remove(client.clone(), CASCADE_DELETION).await;
    })
}

fn forced() -> DeleteOptions {
    DeleteOptions { force: true, ..Default::default() }
}

async fn remove(client: Client, finalizer: &str) {
    let request = remove_finalizer::<Cluster>("one", "", finalizer);
    client.objects().remove_finalizer(request).await.ok();
}

fn cases() -> Vec<Case> {
    users_calls().into_iter().chain(controllers_calls()).collect()
}

fn users_calls() -> Vec<Case> {
    vec![
        Case {
            name: "create",
            scene: |_| Box::pin(async {}),
            call: |client| Box::pin(async move { drop(client.api().create(&application("a")).await) }),
        },
        Case {
            name: "update",
            scene: placed,
            call: |client| {
                Box::pin(async move {
                    let mut changed = application("a");
                    changed.spec.as_mut().unwrap().backoff = Some(3);
                    changed.metadata.as_mut().unwrap().labels = [("k".to_owned(), "v".to_owned())].into();
                    client.api().update(&changed, Mask::Populated).await.ok();
                })
            },
        },
        Case {
            name: "delete with cascade",
            scene: placed,
            call: |client| {
                Box::pin(async move {
                    let options = DeleteOptions { cascade: true, ..Default::default() };
                    client.api::<Cluster>().delete("demo", "one", &options).await.ok();
                })
            },
        },
        Case {
            name: "delete with force",
            scene: placed,
            call: |client| {
                Box::pin(
                    async move { drop(client.api::<Application>().delete("demo", "a", &forced()).await) },
                )
            },
        },
        Case {
            name: "repeated delete",
            scene: |client| {
                Box::pin(async move {
                    placed(client).await;
                    client.api::<Cluster>().delete("demo", "one", &DeleteOptions::default()).await.unwrap();
                })
            },
            call: |client| {
                Box::pin(async move {
                    let options = DeleteOptions { cascade: true, ..Default::default() };
                    client.api::<Cluster>().delete("demo", "one", &options).await.ok();
                })
            },
        },
    ]
}

fn controllers_calls() -> Vec<Case> {
    vec![
        Case {
            name: "bind",
            scene: placed,
            call: |client| {
                Box::pin(async move {
                    let (_, two) = clusters(&client).await;
                    bind(&client, &[&two], 1, &[]).await.ok();
                })
            },
        },
        Case {
            name: "first report of a copy",
            scene: rebound,
            call: |client| {
                Box::pin(async move {
                    let (_, two) = clusters(&client).await;
                    report(&client, &uid(&client).await, &two, Phase::Intended, 0).await.ok();
                })
            },
        },
        Case {
            name: "later report of a copy",
            scene: placed,
            call: |client| {
                Box::pin(async move {
                    let (one, _) = clusters(&client).await;
                    let application = client.api::<Application>().get("demo", "a").await.unwrap();
                    let (uid, version) = (uid(&client).await, version(&application, &one));
                    report(&client, &uid, &one, Phase::Running, version).await.ok();
                })
            },
        },
        Case {
            name: "documents",
            scene: placed,
            call: |client| {
                Box::pin(async move {
                    documents::put(&client, &uid(&client).await, &DOCUMENTS).await.ok();
                })
            },
        },
        Case {
            name: "status",
            scene: placed,
            call: |client| {
                Box::pin(async move {
                    let (mut one, _) = clusters(&client).await;
                    one.metadata.as_mut().unwrap().resource_version = 0;
                    let condition = Condition {
                        r#type: types::REACHABLE.into(),
                        status: ConditionStatus::True.into(),
                        ..Default::default()
                    };
                    one.status.get_or_insert_default().conditions = vec![condition];
                    client.api().update_status(&one, Mask::fields(["status.conditions"])).await.ok();
                })
            },
        },
        Case {
            name: "last finalizer",
            scene: drained,
            call: |client| Box::pin(async move { remove(client, CLUSTER_COPIES).await }),
        },
    ]
}

/// Everything that the calls may write, without what differs from run to run.
async fn shown(client: &Client) -> Vec<String> {
    let objects = client.list_objects(&[]).await.unwrap().items;
    let mut shown: Vec<String> = objects
        .into_iter()
        .map(|object| {
            let metadata = object.metadata.unwrap();
            let owners =
                metadata.owners.iter().map(|owner| format!("{}:{:?}", owner.name, owner.on_delete()));
            let cascade = metadata.deletion.as_ref().map(|deletion| (deletion.cascade, deletion.force));
            format!(
                "{} generation {} deleted {} {cascade:?} finalizers {:?} labels {:?} owners {:?}",
                metadata.name,
                metadata.generation,
                metadata.deleted.is_some(),
                metadata.finalizers,
                metadata.labels,
                owners.collect::<Vec<_>>()
            )
        })
        .collect();
    if let Ok(application) = client.api::<Application>().get("demo", "a").await {
        let status = application.status.unwrap_or_default();
        let name = |cluster: &Option<krake_proto::krake::meta::v1::ResourceRef>| {
            cluster.clone().unwrap_or_default().name
        };
        let bindings: Vec<_> = status.bindings.iter().map(|binding| name(&binding.cluster)).collect();
        let copies: Vec<_> = status.copies.iter().map(|copy| (name(&copy.cluster), copy.phase())).collect();
        shown.push(format!("bound {bindings:?} copies {copies:?} history {}", status.history.len()));
    }
    if let Ok(uid) =
        client.api::<Application>().get("demo", "a").await.map(|found| found.metadata.unwrap().uid)
    {
        let sha256 = digest(&SHA256, &DOCUMENTS);
        let found = documents::get(client, &uid, sha256.as_ref()).await;
        shown.push(format!("documents {:?}", found.map(|found| found.len()).map_err(|error| error.code())));
    }
    if let Ok(cluster) = client.api::<Cluster>().get("demo", "one").await {
        let status = cluster.status.unwrap_or_default();
        let conditions = status.conditions.iter().map(|condition| (&condition.r#type, condition.status()));
        let conditions: Vec<_> = conditions.collect();
        shown.push(format!("cluster {:?} conditions {conditions:?}", status.state()));
    }
    shown
}

/// Runs the call and cancels it at `place`; false if it had ended before it came there.
async fn cancelled(case: &Case, store: Arc<dyn Store>, place: Place) -> bool {
    let gate = Gate::over(store);
    let server = Server::start(gate.clone()).await;
    (case.scene)(&server.client).await;
    let before = shown(&server.client).await;
    // A connection of its own, so that its end cancels nothing else.
    let client = server.connect();
    gate.arm(place);
    let mut call = tokio::spawn((case.call)(client));
    let held = tokio::select! {
        () = gate.held.notified() => true,
        _ = &mut call => false,
        () = tokio::time::sleep(PATIENCE) => panic!("{}: it hangs at {place:?}", case.name),
    };
    if held {
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
    }
    gate.open();
    let found = shown(&server.client).await;
    (case.call)(server.client.clone()).await;
    let whole = shown(&server.client).await;
    assert!(
        found == before || found == whole,
        "{} {place:?}:\n{found:#?}\nis neither\n{before:#?}\nnor\n{whole:#?}",
        case.name
    );
    assert_ne!(before, whole, "{}: the call does something", case.name);
    held
}

async fn every_call_at_every_place(store: impl AsyncFn() -> Arc<dyn Store>) {
    for case in cases() {
        let mut steps = 0;
        for count in 1.. {
            let before = cancelled(&case, store().await, Place::Before(count)).await;
            let after = cancelled(&case, store().await, Place::After(count)).await;
            assert_eq!(before, after);
            if !before {
                break;
            }
            steps = count;
        }
        assert!(steps > 0, "{} reaches the store", case.name);
    }
}

#[tokio::test]
async fn in_memory_a_cancelled_call_leaves_nothing_or_the_whole() {
    every_call_at_every_place(async || memory()).await;
}

#[tokio::test]
async fn in_a_file_a_cancelled_call_leaves_nothing_or_the_whole() {
    every_call_at_every_place(async || sqlite().await).await;
}

#[tokio::test]
async fn on_etcd_a_cancelled_call_leaves_nothing_or_the_whole() {
    if have_etcd() {
        every_call_at_every_place(async || shared_etcd().await).await;
    }
}
