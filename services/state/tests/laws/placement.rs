//! Laws of bindings and copies: what the scheduler and the adapters may write, and what follows from it.

use crate::support::memory;
use crate::support::requests::{binding, forget_copy, remove_finalizer, report_copy};
use crate::support::server::{Server, application, cluster};
use krake_client::{Client, DeleteOptions};
use krake_proto::Resource;
use krake_proto::error::{ErrorReason, reason};
use krake_proto::finalizer::{CASCADE_DELETION, CLUSTER_COPIES, KUBERNETES_RESOURCES};
use krake_proto::krake::kubernetes::v1::{
    Application, ApplicationState, BindApplicationRequest, Binding, Cluster, Copy, Phase,
};
use krake_proto::krake::meta::v1::{OnDelete, ResourceRef};
use tonic::Status;

pub(crate) fn reference(cluster: &Cluster) -> ResourceRef {
    Cluster::KIND.reference(cluster.metadata.as_ref().unwrap())
}

pub(crate) async fn bind(
    client: &Client,
    to: &[&Cluster],
    generation: i64,
    replaces: &[&Cluster],
) -> Result<Application, Status> {
    let uid = |cluster: &&Cluster| reference(cluster).uid;
    let request = BindApplicationRequest {
        bindings: to.iter().map(|c| Binding { cluster: Some(reference(c)), ..Default::default() }).collect(),
        generation,
        replaces: replaces.iter().map(uid).collect(),
        ..binding()
    };
    Ok(client.applications().bind_application(request).await?.into_inner())
}

pub(crate) async fn report(
    client: &Client,
    uid: &str,
    cluster: &Cluster,
    phase: Phase,
    version: i64,
) -> Result<Application, Status> {
    let copy = Copy {
        cluster: Some(reference(cluster)),
        phase: phase.into(),
        observed_generation: 1,
        ..Default::default()
    };
    report_copy(client, uid, copy, version).await
}

pub(crate) async fn forget(
    client: &Client,
    uid: &str,
    cluster: &Cluster,
    version: i64,
) -> Result<Application, Status> {
    let copy = Copy { cluster: Some(reference(cluster)), ..Default::default() };
    forget_copy(client, uid, copy, version).await
}

/// The version of the application's copy on a cluster, for the next report.
pub(crate) fn version(application: &Application, cluster: &Cluster) -> i64 {
    let copies = &application.status.as_ref().unwrap().copies;
    copies.iter().find(|copy| copy.cluster == Some(reference(cluster))).unwrap().version
}

pub(crate) fn why<T: std::fmt::Debug>(result: Result<T, Status>) -> Option<ErrorReason> {
    reason(&result.unwrap_err())
}

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) uid: String,
    pub(crate) one: Cluster,
    pub(crate) two: Cluster,
}

pub(crate) async fn world() -> World {
    let server = Server::start(memory()).await;
    let uid = server.client.api().create(&application("a")).await.unwrap().metadata.unwrap().uid;
    let one = server.client.api().create(&cluster("one")).await.unwrap();
    let two = server.client.api().create(&cluster("two")).await.unwrap();
    World { server, uid, one, two }
}

#[tokio::test]
async fn a_binding_is_a_compare_and_set_of_the_whole_set() {
    let World { server, one, two, .. } = world().await;
    let client = &server.client;
    let bound = bind(client, &[&one], 1, &[]).await.unwrap();
    let status = bound.status.as_ref().unwrap();
    assert_eq!(status.state(), ApplicationState::Creating);
    assert_eq!(status.scheduled_to.as_ref().unwrap().name, "one");
    assert_eq!((status.scheduled_generation, status.history.len()), (1, 1));
    let owner = &bound.metadata.as_ref().unwrap().owners[0];
    assert_eq!((owner.name.as_str(), owner.on_delete()), ("one", OnDelete::Release));

    assert_eq!(bind(client, &[&one], 1, &[]).await.unwrap(), bound, "binding again changes nothing");
    assert_eq!(why(bind(client, &[&two], 2, &[]).await), Some(ErrorReason::Conflict), "another generation");
    assert_eq!(
        why(bind(client, &[&two], 1, &[&two]).await),
        Some(ErrorReason::Conflict),
        "not what is replaced"
    );
    let moved = bind(client, &[&two], 1, &[&one]).await.unwrap();
    let status = moved.status.unwrap();
    assert_eq!(status.bindings.len(), 1);
    assert_eq!(status.history[0].from.as_ref().unwrap().name, "one");
    assert_eq!(
        why(bind(client, &[], 1, &[&two]).await),
        Some(ErrorReason::InvalidField),
        "nothing is unbound"
    );
}

#[tokio::test]
async fn a_binding_is_taken_back_only_before_a_copy_is_begun() {
    for begun in [false, true] {
        let World { server, uid, one, .. } = world().await;
        let client = &server.client;
        bind(client, &[&one], 1, &[]).await.unwrap();
        if begun {
            report(client, &uid, &one, Phase::Intended, 0).await.unwrap();
        }
        let replaces = vec![reference(&one).uid];
        let request = BindApplicationRequest { generation: 1, replaces, without_copies: true, ..binding() };
        let released = client.applications().bind_application(request).await;
        if begun {
            assert_eq!(why(released), Some(ErrorReason::Conflict));
            continue;
        }
        let status = released.unwrap().into_inner().status.unwrap();
        assert_eq!((status.bindings.len(), &status.scheduled_to), (0, &None));
        assert_eq!(status.state(), ApplicationState::Pending);
        let late = report(client, &uid, &one, Phase::Intended, 0).await;
        assert_eq!(why(late), Some(ErrorReason::Conflict), "nothing is begun there any more");
    }
}

#[tokio::test]
async fn an_application_is_unbound_where_a_cluster_that_goes_would_wait_for_it_in_vain() {
    // `ran`: on `one`; `applied`: on `two`.
    let cases = [(true, true, false), (true, true, true), (false, true, false), (false, false, false)];
    for (goes, ran, applied) in cases {
        let World { server, uid, one, two } = world().await;
        let client = &server.client;
        bind(client, &[&one], 1, &[]).await.unwrap();
        let (cluster, phase) = (Some(reference(&one)), Phase::Intended.into());
        let copy = Copy { cluster, phase, observed_generation: i64::from(ran), ..Default::default() };
        report_copy(client, &uid, copy, 0).await.unwrap();
        if goes {
            client.api::<Cluster>().delete("demo", "one", &DeleteOptions::default()).await.unwrap();
        }
        bind(client, &[&two], 1, &[&one]).await.unwrap();
        let (cluster, phase) = (Some(reference(&two)), Phase::Intended.into());
        let begun = Copy { cluster, phase, observed_generation: i64::from(applied), ..Default::default() };
        report_copy(client, &uid, begun, 0).await.unwrap();
        let unbound = bind(client, &[], 1, &[&two]).await;
        if !applied && (goes || !ran) {
            assert_eq!(unbound.unwrap().status.unwrap().bindings, []);
        } else {
            assert_eq!(why(unbound), Some(ErrorReason::InvalidField), "{goes} {ran} {applied}");
        }
    }
}

#[tokio::test]
async fn a_binding_names_a_cluster_and_nothing_else() {
    let World { server, one, .. } = world().await;
    let bind_to = async |cluster: ResourceRef| {
        let request = BindApplicationRequest { cluster: Some(cluster), ..binding() };
        server.client.applications().bind_application(request).await
    };
    let named = ResourceRef { uid: String::new(), ..reference(&one) };
    for (wrong, field) in [
        (ResourceRef { api: "core".into(), ..named.clone() }, "bindings[0].cluster.api"),
        (ResourceRef { kind: "Application".into(), ..named.clone() }, "bindings[0].cluster.kind"),
    ] {
        let violations = krake_proto::error::violations(&bind_to(wrong).await.unwrap_err());
        assert_eq!(violations[0].field, field);
    }
    let absent = bind_to(ResourceRef { name: "none".into(), ..named.clone() }).await.unwrap_err();
    let absent = krake_proto::error::violations(&absent)[0].to_string();
    assert!(absent.ends_with("does not exist") && !absent.contains("uid"), "{absent}");
    // Upstream's clients name the cluster alone.
    bind_to(ResourceRef { api: String::new(), kind: String::new(), ..named }).await.unwrap();
}

#[tokio::test]
async fn clusters_that_are_unknown_or_deleted_or_foreign_are_not_bound() {
    let World { server, one, two, .. } = world().await;
    let client = &server.client;
    client.api::<Cluster>().delete("demo", "one", &DeleteOptions::default()).await.unwrap();
    assert_eq!(why(bind(client, &[&one], 1, &[]).await), Some(ErrorReason::BeingDeleted));
    let mut replaced = two.clone();
    replaced.metadata.as_mut().unwrap().uid = "another".into();
    assert_eq!(why(bind(client, &[&replaced], 1, &[]).await), Some(ErrorReason::InvalidField));
    let mut foreign = cluster("far");
    foreign.metadata.as_mut().unwrap().namespace = "other".into();
    let foreign = client.api().create(&foreign).await.unwrap();
    assert_eq!(why(bind(client, &[&foreign], 1, &[]).await), Some(ErrorReason::InvalidField));
    let mut open = cluster("open");
    open.metadata.as_mut().unwrap().namespace = "other".into();
    open.spec.as_mut().unwrap().allowed_namespaces.push("demo".into());
    let open = client.api().create(&open).await.unwrap();
    assert!(bind(client, &[&open], 1, &[]).await.is_ok());
}

#[tokio::test]
async fn a_copy_begins_as_an_intent_and_holds_application_and_cluster() {
    let World { server, uid, one, two } = world().await;
    let client = &server.client;
    assert_eq!(
        why(report(client, &uid, &one, Phase::Intended, 0).await),
        Some(ErrorReason::Conflict),
        "not bound"
    );
    bind(client, &[&one], 1, &[]).await.unwrap();
    assert_eq!(why(report(client, &uid, &one, Phase::Applying, 0).await), Some(ErrorReason::InvalidField));
    assert_eq!(why(report(client, "other", &one, Phase::Intended, 0).await), Some(ErrorReason::Conflict));
    let intended = report(client, &uid, &one, Phase::Intended, 0).await.unwrap();
    assert_eq!(intended.metadata.as_ref().unwrap().finalizers, [KUBERNETES_RESOURCES]);
    let held = client.api::<Cluster>().get("demo", "one").await.unwrap();
    assert_eq!(held.metadata.unwrap().finalizers, [CLUSTER_COPIES]);
    assert_eq!(
        why(report(client, &uid, &one, Phase::Running, 0).await),
        Some(ErrorReason::Conflict),
        "stale"
    );
    let running = report(client, &uid, &one, Phase::Running, version(&intended, &one)).await.unwrap();
    let old = version(&running, &one);
    assert!(old > version(&intended, &one));
    let status = running.status.unwrap();
    assert_eq!(status.state(), ApplicationState::Running);
    assert_eq!(status.running_on.unwrap().name, "one");

    bind(client, &[&two], 1, &[&one]).await.unwrap();
    let both = report(client, &uid, &two, Phase::Intended, 0).await.unwrap();
    assert_eq!(both.status.as_ref().unwrap().state(), ApplicationState::Migrating);
    assert_eq!(both.metadata.as_ref().unwrap().owners.len(), 2);
    report(client, &uid, &two, Phase::Running, version(&both, &two)).await.unwrap();
    let moved = forget(client, &uid, &one, old).await.unwrap();
    assert_eq!(moved.status.unwrap().state(), ApplicationState::Running);
    let metadata = moved.metadata.unwrap();
    assert_eq!((metadata.owners.len(), metadata.finalizers), (1, vec![KUBERNETES_RESOURCES.to_owned()]));
}

#[tokio::test]
async fn the_last_copy_lets_a_deleted_application_go() {
    let World { server, uid, one, .. } = world().await;
    let client = &server.client;
    bind(client, &[&one], 1, &[]).await.unwrap();
    report(client, &uid, &one, Phase::Intended, 0).await.unwrap();
    let deleted = client.api::<Application>().delete("demo", "a", &DeleteOptions::default()).await.unwrap();
    let finalizers = &deleted.metadata.as_ref().unwrap().finalizers;
    assert_eq!(*finalizers, [KUBERNETES_RESOURCES, CASCADE_DELETION]);
    assert_eq!(deleted.status.as_ref().unwrap().state(), ApplicationState::Deleting);
    assert_eq!(why(bind(client, &[&one], 1, &[]).await), Some(ErrorReason::BeingDeleted));
    let remove = remove_finalizer::<Application>("a", &uid, CASCADE_DELETION);
    client.objects().remove_finalizer(remove).await.unwrap();
    let removing = report(client, &uid, &one, Phase::Removing, version(&deleted, &one)).await.unwrap();
    forget(client, &uid, &one, version(&removing, &one)).await.unwrap();
    assert!(client.api::<Application>().get("demo", "a").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_deleted_cluster_takes_no_copies_and_waits_for_the_last() {
    let World { server, uid, one, two } = world().await;
    let client = &server.client;
    bind(client, &[&one], 1, &[]).await.unwrap();
    let intended = report(client, &uid, &one, Phase::Intended, 0).await.unwrap();
    client.api::<Cluster>().delete("demo", "one", &DeleteOptions::default()).await.unwrap();
    let remove = || remove_finalizer::<Cluster>("one", "", CLUSTER_COPIES);
    let held = client.objects().remove_finalizer(remove()).await;
    assert_eq!(why(held), Some(ErrorReason::FinalizersInUse));
    let unbound = bind(client, &[], 1, &[&one]).await.unwrap();
    assert_eq!(unbound.status.unwrap().state(), ApplicationState::Pending);
    bind(client, &[&two], 1, &[]).await.unwrap();
    client.api::<Cluster>().delete("demo", "two", &DeleteOptions::default()).await.unwrap();
    assert_eq!(why(report(client, &uid, &two, Phase::Intended, 0).await), Some(ErrorReason::BeingDeleted));
    forget(client, &uid, &one, version(&intended, &one)).await.unwrap();
    client.objects().remove_finalizer(remove()).await.unwrap();
}
