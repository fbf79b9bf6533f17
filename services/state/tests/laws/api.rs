//! Laws of the API, over gRPC with the SDK, on every store.

use std::sync::Arc;

use crate::support::requests::remove_finalizer;
use crate::support::server::{Server, application, cluster, metric};
use crate::support::{have_etcd, memory, shared_etcd};
use futures::StreamExt;
use krake_client::{DeleteOptions, ListOptions, Mask, Start, WatchEvent, WatchOptions};
use krake_proto::condition::{reasons, types};
use krake_proto::error::ErrorReason;
use krake_proto::krake::core::v1::Metric;
use krake_proto::krake::kubernetes::v1::{Application, ApplicationState};
use krake_proto::krake::meta::v1::{
    CheckTombstonesRequest, Condition, ConditionStatus, GetInstallationRequest, ReasonCode,
};
use krake_state::Authentication;
use krake_state::store::Store;

/// Runs a law on a service over memory and on one over etcd.
macro_rules! laws {
    ($($law:ident),* $(,)?) => {
        mod on_memory {
            $(#[tokio::test] async fn $law() { super::$law(super::memory()).await; })*
        }
        mod on_etcd {
            $(#[tokio::test] async fn $law() {
                if super::have_etcd() {
                    super::$law(super::shared_etcd().await).await;
                }
            })*
        }
    };
}

laws!(
    objects_are_created_read_listed_and_erased,
    a_change_of_spec_makes_a_generation_and_of_metadata_does_not,
    a_stale_version_is_a_conflict_that_tells_the_present_one,
    concurrent_writers_lose_nothing,
    a_mask_writes_what_it_names_and_absent_fields_stay,
    finalizers_hold_a_deleted_object_until_the_last_is_gone,
    force_erases_at_once,
    global_and_namespaced_objects_do_not_mix,
    pages_show_one_revision,
    a_watch_shows_everything_once_and_in_order,
    a_watch_resumes_without_gap_or_repetition,
    conditions_are_upserted_and_the_state_follows,
    bad_input_is_named_and_nothing_is_stored,
    metadata_of_all_kinds_can_be_followed,
    dry_runs_store_nothing,
);

async fn objects_are_created_read_listed_and_erased(store: Arc<dyn Store>) {
    let server = Server::start(store).await;
    let api = server.client.api::<Application>();
    let created = api.create(&application("a")).await.unwrap();
    let metadata = created.metadata.clone().unwrap();
    assert_eq!((metadata.generation, metadata.namespace.as_str()), (1, "demo"));
    assert!(
        !metadata.uid.is_empty() && metadata.resource_version > 0 && metadata.created == metadata.modified
    );
    assert_eq!(created.status.as_ref().unwrap().state(), ApplicationState::Pending);
    assert_eq!(created.spec.as_ref().unwrap().backoff_limit, Some(-1), "defaults are stored");
    assert_eq!(api.get("demo", "a").await.unwrap(), created);
    assert!(api.create(&application("a")).await.unwrap_err().is_already_exists());
    assert_eq!(
        api.list("demo", &ListOptions::default()).await.unwrap().items,
        std::slice::from_ref(&created)
    );
    assert_eq!(api.list("-", &ListOptions::default()).await.unwrap().items, [created]);
    assert!(api.list("other", &ListOptions::default()).await.unwrap().items.is_empty());
    assert!(api.get("demo", "b").await.unwrap_err().is_not_found());
    assert!(api.delete("demo", "b", &DeleteOptions::default()).await.unwrap_err().is_not_found());
}

async fn a_change_of_spec_makes_a_generation_and_of_metadata_does_not(store: Arc<dyn Store>) {
    let server = Server::start(store).await;
    let api = server.client.api::<Application>();
    let mut object = api.create(&application("a")).await.unwrap();
    object.metadata.as_mut().unwrap().labels.insert("tier".into(), "edge".into());
    let labelled = api.update(&object, Mask::All).await.unwrap();
    assert_eq!(labelled.metadata.as_ref().unwrap().generation, 1);
    let same = api.update(&labelled, Mask::All).await.unwrap();
    assert_eq!(same, labelled, "what changes nothing writes nothing");
    let mut changed = labelled;
    changed.spec.as_mut().unwrap().backoff = Some(5);
    let changed = api.update(&changed, Mask::All).await.unwrap();
    assert_eq!(changed.metadata.as_ref().unwrap().generation, 2);
    assert_eq!(changed.metadata.unwrap().labels["tier"], "edge");
}

async fn a_stale_version_is_a_conflict_that_tells_the_present_one(store: Arc<dyn Store>) {
    let server = Server::start(store).await;
    let api = server.client.api::<Metric>();
    let first = api.create(&metric("demo", "m", 1.0)).await.unwrap();
    let mut second = first.clone();
    second.spec.as_mut().unwrap().max = Some(2.0);
    let second = api.update(&second, Mask::All).await.unwrap();
    let mut stale = first.clone();
    stale.spec.as_mut().unwrap().max = Some(3.0);
    let error = api.update(&stale, Mask::All).await.unwrap_err();
    assert!(error.is_conflict());
    let present = second.metadata.as_ref().unwrap().resource_version;
    assert_eq!(error.current_resource_version(), Some(present));
    let old = first.metadata.as_ref().unwrap().resource_version;
    let delete = DeleteOptions { resource_version: old, ..Default::default() };
    assert!(api.delete("demo", "m", &delete).await.unwrap_err().is_conflict());
    assert_eq!(api.get("demo", "m").await.unwrap(), second);
}

async fn concurrent_writers_lose_nothing(store: Arc<dyn Store>) {
    let server = Server::start(store).await;
    let api = server.client.api::<Metric>();
    api.create(&metric("demo", "m", 1.0)).await.unwrap();
    let writers = (0..20).map(|writer| {
        let api = api.clone();
        async move {
            // Read, change, write with precondition, again until it is in.
            loop {
                let mut now = api.get("demo", "m").await.unwrap();
                now.metadata
                    .as_mut()
                    .unwrap()
                    .annotations
                    .insert(format!("writer-{writer}"), "was here".into());
                match api.update(&now, Mask::fields(["metadata.annotations"])).await {
                    Ok(_) => return,
                    Err(error) => assert!(error.is_conflict(), "{error}"),
                }
            }
        }
    });
    futures::future::join_all(writers).await;
    let end = api.get("demo", "m").await.unwrap();
    assert_eq!(end.metadata.unwrap().annotations.len(), 20);
}

async fn a_mask_writes_what_it_names_and_absent_fields_stay(store: Arc<dyn Store>) {
    let server = Server::start(store).await;
    let api = server.client.api::<Application>();
    let created = api.create(&application("a")).await.unwrap();
    let mut change =
        Application { metadata: crate::support::server::named("demo", "a"), ..Default::default() };
    change.spec.get_or_insert_default().backoff_delay = Some(9);
    let merged = api.update(&change, Mask::Populated).await.unwrap();
    assert_eq!(merged.spec.as_ref().unwrap().backoff_delay, Some(9));
    assert_eq!(merged.spec.as_ref().unwrap().manifest, created.spec.as_ref().unwrap().manifest);
    change.spec.get_or_insert_default().backoff = Some(4);
    let masked = api.update(&change, Mask::fields(["spec.backoff"])).await.unwrap();
    assert_eq!(masked.spec.as_ref().unwrap().backoff, Some(4));
    let error = api.update(&change, Mask::fields(["spec.nothing"])).await.unwrap_err();
    assert_eq!(error.violations()[0].field, "update_mask");
    let error = api.update(&change, Mask::fields(["status.bindings"])).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::InvalidField));
}

async fn finalizers_hold_a_deleted_object_until_the_last_is_gone(store: Arc<dyn Store>) {
    let server = Server::start(store).await;
    let api = server.client.api::<Metric>();
    let mut object = metric("demo", "m", 1.0);
    object.metadata.as_mut().unwrap().finalizers.push("mine".into());
    let created = api.create(&object).await.unwrap();
    let uid = created.metadata.as_ref().unwrap().uid.clone();

    let mut without = created.clone();
    without.metadata.as_mut().unwrap().finalizers.clear();
    let error = api.update(&without, Mask::fields(["metadata.finalizers"])).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::FinalizersInUse), "a living object keeps its finalizers");

    let deleted = api.delete("demo", "m", &DeleteOptions::default()).await.unwrap();
    let metadata = deleted.metadata.clone().unwrap();
    assert!(metadata.deleted.is_some());
    assert_eq!(metadata.finalizers, ["mine", "cascade_deletion"]);
    let again = api.delete("demo", "m", &DeleteOptions::default()).await.unwrap();
    assert_eq!(again, deleted, "deleting twice changes nothing");

    let remove = |finalizer: &str, uid: &str| remove_finalizer::<Metric>("m", uid, finalizer);
    let mut objects = server.client.objects();
    let other = objects.remove_finalizer(remove("mine", "another")).await.unwrap_err();
    assert_eq!(krake_proto::error::reason(&other), Some(ErrorReason::Conflict));
    objects.remove_finalizer(remove("cascade_deletion", &uid)).await.unwrap();
    assert!(api.get("demo", "m").await.is_ok());
    objects.remove_finalizer(remove("mine", &uid)).await.unwrap();
    assert!(api.get("demo", "m").await.unwrap_err().is_not_found());
    let asked = CheckTombstonesRequest { uids: vec![uid.clone(), "never".into()] };
    assert_eq!(objects.check_tombstones(asked).await.unwrap().into_inner().erased, [uid]);
}

async fn force_erases_at_once(store: Arc<dyn Store>) {
    let server = Server::start(store).await;
    let api = server.client.api::<Metric>();
    api.create(&metric("demo", "m", 1.0)).await.unwrap();
    let force = DeleteOptions { force: true, ..Default::default() };
    let last = api.delete("demo", "m", &force).await.unwrap();
    assert!(last.metadata.unwrap().deleted.is_some());
    assert!(api.get("demo", "m").await.unwrap_err().is_not_found());
}

async fn global_and_namespaced_objects_do_not_mix(store: Arc<dyn Store>) {
    let server = Server::start(store).await;
    let api = server.client.api::<Metric>();
    api.create(&metric("", "m", 1.0)).await.unwrap();
    api.create(&metric("demo", "m", 2.0)).await.unwrap();
    let max =
        |metrics: Vec<Metric>| metrics.iter().map(|m| m.spec.as_ref().unwrap().max()).collect::<Vec<_>>();
    assert_eq!(max(api.list("", &ListOptions::default()).await.unwrap().items), [1.0]);
    assert_eq!(max(api.list("demo", &ListOptions::default()).await.unwrap().items), [2.0]);
    assert_eq!(max(api.list("-", &ListOptions::default()).await.unwrap().items), [2.0]);
    let homeless = Application { metadata: crate::support::server::named("", "a"), ..application("a") };
    let error = server.client.api::<Application>().create(&homeless).await.unwrap_err();
    assert_eq!(error.violations()[0].field, "metadata.namespace");
}

async fn pages_show_one_revision(store: Arc<dyn Store>) {
    let server = Server::start(store).await;
    let api = server.client.api::<Metric>();
    for index in 0..5 {
        api.create(&metric("demo", &format!("m{index}"), 1.0)).await.unwrap();
    }
    let two = ListOptions { page_size: 2, ..Default::default() };
    let first = api.list_page("demo", &two, None).await.unwrap();
    assert_eq!(first.listing.items.len(), 2);
    api.create(&metric("demo", "m2b", 1.0)).await.unwrap();
    api.delete("demo", "m3", &DeleteOptions { force: true, ..Default::default() }).await.unwrap();
    let mut names: Vec<String> = Vec::new();
    let mut page = first.clone();
    loop {
        assert_eq!(page.listing.resource_version, first.listing.resource_version);
        names.extend(page.listing.items.iter().map(|m| m.metadata.as_ref().unwrap().name.clone()));
        let Some(token) = page.next else { break };
        page = api.list_page("demo", &two, Some(token)).await.unwrap();
    }
    assert_eq!(names, ["m0", "m1", "m2", "m3", "m4"]);
    let token = first.next.clone();
    let error = api.list_page("other", &two, token).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::InvalidPageToken));
}

/// The next event that is no bookmark, in short.
async fn next(watch: &mut krake_client::Watch<Metric>) -> String {
    let name = |object: &Metric| object.metadata.as_ref().unwrap().name.clone();
    let wait = tokio::time::timeout(crate::support::PATIENCE, async {
        loop {
            return match watch.next().await.expect("a watch does not end").unwrap() {
                WatchEvent::Bookmark { .. } => continue,
                WatchEvent::Restarted => "restarted".to_owned(),
                WatchEvent::Applied { object, initial } => format!("applied {} {initial}", name(&object)),
                WatchEvent::Deleted(object) => {
                    format!("deleted {} {}", name(&object), object.spec.unwrap().max())
                }
                WatchEvent::LeftFilter(object) => format!("left {}", name(&object)),
                WatchEvent::Synced { .. } => "synced".to_owned(),
            };
        }
    });
    wait.await.expect("an event comes in time")
}

async fn a_watch_shows_everything_once_and_in_order(store: Arc<dyn Store>) {
    let server = Server::start(store).await;
    let api = server.client.api::<Metric>();
    api.create(&metric("demo", "old", 1.0)).await.unwrap();
    api.create(&metric("other", "hidden", 1.0)).await.unwrap();
    let mut watch = api.watch(WatchOptions::namespace("demo"));
    assert_eq!(next(&mut watch).await, "restarted");
    assert_eq!(next(&mut watch).await, "applied old true");
    assert_eq!(next(&mut watch).await, "synced");
    api.create(&metric("other", "hidden2", 1.0)).await.unwrap();
    let created = api.create(&metric("demo", "new", 1.0)).await.unwrap();
    assert_eq!(next(&mut watch).await, "applied new false");
    let mut changed = created;
    changed.spec.as_mut().unwrap().max = Some(7.0);
    api.update(&changed, Mask::All).await.unwrap();
    assert_eq!(next(&mut watch).await, "applied new false");
    api.delete("demo", "new", &DeleteOptions { force: true, ..Default::default() }).await.unwrap();
    assert_eq!(next(&mut watch).await, "deleted new 7", "the last state is told");
}

async fn a_watch_resumes_without_gap_or_repetition(store: Arc<dyn Store>) {
    let server = Server::start(store).await;
    let api = server.client.api::<Metric>();
    let mut version = 0;
    for index in 0..10 {
        let created = api.create(&metric("demo", &format!("m{index}"), 1.0)).await.unwrap();
        if index == 4 {
            version = created.metadata.unwrap().resource_version;
        }
    }
    let start = Start::After { resource_version: version, epoch: String::new() };
    let mut watch = api.watch(WatchOptions { start, ..WatchOptions::namespace("demo") });
    for index in 5..10 {
        assert_eq!(next(&mut watch).await, format!("applied m{index} false"));
    }
    api.create(&metric("demo", "last", 1.0)).await.unwrap();
    assert_eq!(next(&mut watch).await, "applied last false");
}

async fn conditions_are_upserted_and_the_state_follows(store: Arc<dyn Store>) {
    let server = Server::start(store).await;
    let api = server.client.api::<Application>();
    let created = api.create(&application("a")).await.unwrap();
    let mut report = created.clone();
    let status = report.status.get_or_insert_default();
    status.state = ApplicationState::Running.into();
    status.conditions = vec![Condition {
        r#type: types::SCHEDULED.into(),
        status: ConditionStatus::False.into(),
        reason: reasons::NO_SUITABLE_RESOURCE.into(),
        message: "no cluster is in DE".into(),
        ..Default::default()
    }];
    let written = api.update_status(&report, Mask::fields(["status.conditions"])).await.unwrap();
    let status = written.status.clone().unwrap();
    assert_eq!(status.state(), ApplicationState::Pending, "the state is derived, not written");
    assert_eq!(status.reason.unwrap().code(), ReasonCode::NoSuitableResource);
    assert!(status.conditions[0].last_transition_time.is_some());
    let metadata = written.metadata.clone().unwrap();
    assert_eq!((metadata.generation, metadata.modified), (1, created.metadata.as_ref().unwrap().modified));
    let mut again = written.clone();
    again.status.as_mut().unwrap().conditions[0].message = "still none".into();
    let again = api.update_status(&again, Mask::fields(["status.conditions"])).await.unwrap();
    let conditions = again.status.unwrap().conditions;
    assert_eq!(conditions.len(), 1);
    assert_eq!(conditions[0].last_transition_time, status.conditions[0].last_transition_time);
    assert!(api.update_status(&report, Mask::fields(["status.conditions"])).await.unwrap_err().is_conflict());
    let error = api.update_status(&written, Mask::fields(["status.copies"])).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::InvalidField));
}

async fn bad_input_is_named_and_nothing_is_stored(store: Arc<dyn Store>) {
    let server = Server::start(store).await;
    let api = server.client.api::<Application>();
    let field =
        |error: krake_client::Error| error.violations().first().map(|v| v.field.clone()).unwrap_or_default();
    assert_eq!(field(api.create(&application("two words")).await.unwrap_err()), "metadata.name");
    let mut wrong = application("a");
    let constraints = wrong.spec.as_mut().unwrap().constraints.get_or_insert_default();
    constraints.cluster.get_or_insert_default().labels.push("location in (DE".into());
    assert_eq!(field(api.create(&wrong).await.unwrap_err()), "spec.constraints.cluster.labels[0]");
    let mut labelled = application("a");
    labelled.metadata.as_mut().unwrap().labels.insert("a b".into(), "x".into());
    assert_eq!(field(api.create(&labelled).await.unwrap_err()), "metadata.labels[\"a b\"]");
    assert_eq!(field(api.create(&Application::default()).await.unwrap_err()), "metadata.name");
    assert!(api.list("-", &ListOptions::default()).await.unwrap().items.is_empty());

    let created = api.create(&application("a")).await.unwrap();
    let mut renamed = created.clone();
    renamed.spec.as_mut().unwrap().manifest.clear();
    assert_eq!(field(api.update(&renamed, Mask::All).await.unwrap_err()), "spec.manifest");
    assert_eq!(api.get("demo", "a").await.unwrap(), created);
}

async fn metadata_of_all_kinds_can_be_followed(store: Arc<dyn Store>) {
    let server = Server::start(store).await;
    server.client.api().create(&cluster("c")).await.unwrap();
    server.client.api().create(&metric("", "m", 1.0)).await.unwrap();
    let listed = server.client.list_objects(&[]).await.unwrap().items;
    let shown: Vec<String> = listed
        .iter()
        .map(|o| format!("{}/{}/{}", o.api, o.kind, o.metadata.as_ref().unwrap().name))
        .collect();
    assert_eq!(shown, ["core/Metric/m", "kubernetes/Cluster/c"]);
    let mut objects = server.client.objects();
    let identity = objects.get_installation(GetInstallationRequest {}).await.unwrap().into_inner();
    assert!(!identity.installation.is_empty() && !identity.epoch.is_empty());
}

async fn dry_runs_store_nothing(store: Arc<dyn Store>) {
    use krake_proto::krake::kubernetes::v1::CreateApplicationRequest;
    let server = Server::start(store).await;
    let request = CreateApplicationRequest {
        application: Some(application("a")),
        validate_only: true,
        ..Default::default()
    };
    let shown = server.client.applications().create_application(request).await.unwrap().into_inner();
    assert_eq!(shown.spec.unwrap().backoff, Some(1));
    assert!(server.client.api::<Application>().get("demo", "a").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn nobody_is_served_who_is_not_let_in() {
    let server = Server::start_for(memory(), Authentication::default()).await;
    let error = server.client.api::<Metric>().get("", "m").await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::Unauthenticated));
    let error = server.client.objects().get_installation(GetInstallationRequest {}).await.unwrap_err();
    assert_eq!(krake_proto::error::reason(&error), Some(ErrorReason::Unauthenticated));
}
