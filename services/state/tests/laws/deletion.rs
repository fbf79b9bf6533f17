//! Laws of deletion at its edges: who may let an object go, and what a refused deletion leaves alone.

use crate::placement::{World, bind, forget, report, version, why, world};
use crate::support::server::{Server, application, cluster, metric, named};
use crate::support::{have_etcd, memory, shared_etcd};
use krake_client::{DeleteOptions, Mask, ObjectKey};
use krake_proto::Resource;
use krake_proto::error::ErrorReason;
use krake_proto::finalizer::{CASCADE_DELETION, CLUSTER_COPIES, KUBERNETES_RESOURCES};
use krake_proto::krake::core::v1::metrics_provider_spec::Type;
use krake_proto::krake::core::v1::{Metric, MetricRef, MetricsProvider, MetricsProviderSpec, StaticProvider};
use krake_proto::krake::kubernetes::v1::{Application, Cluster, Phase};
use krake_proto::krake::meta::v1::{CheckTombstonesRequest, Deletion, OwnerReference};

fn key<K: Resource>(name: &str) -> ObjectKey {
    let metadata = named("demo", name).unwrap();
    ObjectKey::from(&K::KIND.reference(&metadata))
}

#[tokio::test]
async fn nobody_lets_go_of_what_still_has_copies() {
    let World { server, uid, one, .. } = world().await;
    let client = &server.client;
    bind(client, &[&one], 1, &[]).await.unwrap();
    let intended = report(client, &uid, &one, Phase::Intended, 0).await.unwrap();
    let early = client.remove_finalizer(&key::<Cluster>("one"), "", CLUSTER_COPIES).await;
    assert_eq!(early.unwrap_err().reason(), Some(ErrorReason::FinalizersInUse), "it is not being deleted");
    client.api::<Application>().delete("demo", "a", &DeleteOptions::default()).await.unwrap();
    client.api::<Cluster>().delete("demo", "one", &DeleteOptions::default()).await.unwrap();

    let application = key::<Application>("a");
    let error = client.remove_finalizer(&application, "", KUBERNETES_RESOURCES).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::FinalizersInUse));
    let error = client.remove_finalizer(&key::<Cluster>("one"), "", CLUSTER_COPIES).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::FinalizersInUse));
    let without = Mask::fields(["metadata.finalizers"]);
    let bare = Application { metadata: named("demo", "a"), ..Default::default() };
    let kept = client.api().update(&bare, without.clone()).await.unwrap();
    assert_eq!(kept.metadata.unwrap().finalizers, [KUBERNETES_RESOURCES, CASCADE_DELETION]);
    let bare = Cluster { metadata: named("demo", "one"), ..Default::default() };
    let kept = client.api().update(&bare, without).await.unwrap();
    assert_eq!(kept.metadata.unwrap().finalizers, [CLUSTER_COPIES, CASCADE_DELETION]);

    client.remove_finalizer(&application, "", CASCADE_DELETION).await.unwrap();
    forget(client, &uid, &one, version(&intended, &one)).await.unwrap();
    assert!(client.api::<Application>().get("demo", "a").await.unwrap_err().is_not_found());
    client.remove_finalizer(&key::<Cluster>("one"), "", CLUSTER_COPIES).await.unwrap();
    client.remove_finalizer(&key::<Cluster>("one"), "", CASCADE_DELETION).await.unwrap();
    assert!(client.api::<Cluster>().get("demo", "one").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_finalizer_for_copies_without_any_does_not_hold_an_application() {
    let server = Server::start(memory()).await;
    let api = server.client.api::<Application>();
    let mut exported = application("a");
    exported.metadata.as_mut().unwrap().finalizers = vec!["mine".into(), KUBERNETES_RESOURCES.into()];
    api.create(&exported).await.unwrap();
    let deleted = api.delete("demo", "a", &DeleteOptions::default()).await.unwrap();
    assert_eq!(deleted.metadata.unwrap().finalizers, ["mine", CASCADE_DELETION]);
}

#[tokio::test]
async fn what_a_deletion_includes_is_recorded_on_the_object_alone_and_never_taken_back() {
    let World { server, one, two, .. } = world().await;
    let client = &server.client;
    let bound = bind(client, &[&one], 1, &[]).await.unwrap();
    let version = one.metadata.as_ref().unwrap().resource_version;
    let options =
        |cascade, resource_version| DeleteOptions { cascade, resource_version, ..Default::default() };
    let clusters = client.api::<Cluster>();
    assert!(clusters.delete("demo", "one", &options(true, version + 1)).await.unwrap_err().is_conflict());
    assert_eq!(clusters.get("demo", "one").await.unwrap(), one, "a refused deletion writes nothing");

    let plain = clusters.delete("demo", "one", &options(false, version)).await.unwrap().metadata.unwrap();
    assert_eq!(plain.deletion, Some(Deletion::default()));
    let plain = clusters.delete("demo", "two", &options(true, 0)).await.unwrap().metadata.unwrap();
    assert!(plain.deletion.unwrap().cascade);
    let again = clusters.delete("demo", "two", &options(false, 0)).await.unwrap().metadata.unwrap();
    assert!(again.deletion.unwrap().cascade, "it is not taken back");
    assert_eq!(
        client.api::<Application>().get("demo", "a").await.unwrap(),
        bound,
        "no other object is written"
    );
    assert_eq!(why(bind(client, &[&two], 1, &[]).await), Some(ErrorReason::BeingDeleted));
}

#[tokio::test]
async fn applications_of_a_cluster_that_goes_with_them_are_not_bound_elsewhere() {
    let World { server, one, two, uid } = world().await;
    let client = &server.client;
    bind(client, &[&one], 1, &[]).await.unwrap();
    report(client, &uid, &one, Phase::Intended, 0).await.unwrap();
    let cascade = DeleteOptions { cascade: true, ..Default::default() };
    let clusters = client.api::<Cluster>();
    let plain = clusters.delete("demo", "one", &DeleteOptions::default()).await.unwrap().metadata.unwrap();
    assert_eq!(plain.finalizers, [CLUSTER_COPIES, CASCADE_DELETION]);
    client.remove_finalizer(&key::<Cluster>("one"), "", CASCADE_DELETION).await.unwrap();
    let added = clusters.delete("demo", "one", &cascade).await.unwrap().metadata.unwrap();
    assert_eq!(
        added.finalizers,
        [CLUSTER_COPIES, CASCADE_DELETION],
        "it is the garbage collector's turn again"
    );
    for to in [&[&two][..], &[]] {
        assert_eq!(why(bind(client, to, 1, &[]).await), Some(ErrorReason::BeingDeleted), "{to:?}");
    }
}

#[tokio::test]
async fn a_forced_cascade_erases_the_object_when_its_dependents_are_gone() {
    let server = Server::start(memory()).await;
    let clusters = server.client.api::<Cluster>();
    let mut held = cluster("c");
    held.metadata.as_mut().unwrap().finalizers = vec!["mine".into()];
    clusters.create(&held).await.unwrap();
    let options = DeleteOptions { cascade: true, force: true, ..Default::default() };
    let marked = clusters.delete("demo", "c", &options).await.unwrap().metadata.unwrap();
    assert_eq!(marked.finalizers, ["mine", CASCADE_DELETION]);
    server.client.remove_finalizer(&key::<Cluster>("c"), "", CASCADE_DELETION).await.unwrap();
    assert!(clusters.get("demo", "c").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_deletion_by_metadata_includes_as_much_as_one_by_kind() {
    let server = Server::start(memory()).await;
    let client = &server.client;
    let mut held = application("a");
    held.metadata.as_mut().unwrap().finalizers = vec!["mine".into()];
    let uid = client.api().create(&held).await.unwrap().metadata.unwrap().uid;
    let includes = |cascade, force| Deletion { cascade, force, ..Deletion::default() };
    let delete = async |includes| {
        let deleted = client.delete_object(&key::<Application>("a"), &uid, &includes).await.unwrap();
        deleted.metadata.unwrap()
    };
    assert_eq!(delete(includes(false, false)).await.deletion, Some(includes(false, false)));
    let forced = delete(includes(true, true)).await;
    assert_eq!(forced.deletion, Some(includes(true, true)));
    assert_eq!(forced.finalizers, ["mine", CASCADE_DELETION], "what belongs to it goes first");
    client.remove_finalizer(&key::<Application>("a"), &uid, CASCADE_DELETION).await.unwrap();
    assert!(client.api::<Application>().get("demo", "a").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn force_can_be_added_to_a_cascade_that_is_past_its_dependents() {
    let World { server, one, uid, .. } = world().await;
    let client = &server.client;
    bind(client, &[&one], 1, &[]).await.unwrap();
    report(client, &uid, &one, Phase::Intended, 0).await.unwrap();
    let options = |cascade, force| DeleteOptions { cascade, force, ..Default::default() };
    let applications = client.api::<Application>();
    applications.delete("demo", "a", &options(true, false)).await.unwrap();
    client.remove_finalizer(&key::<Application>("a"), "", CASCADE_DELETION).await.unwrap();
    let forced = applications.delete("demo", "a", &options(false, true)).await.unwrap().metadata.unwrap();
    assert_eq!(
        forced.finalizers,
        [KUBERNETES_RESOURCES, CASCADE_DELETION],
        "it is the garbage collector's turn"
    );
    client.remove_finalizer(&key::<Application>("a"), "", CASCADE_DELETION).await.unwrap();
    assert!(applications.get("demo", "a").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_finalizer_is_removed_only_from_the_version_that_was_decided_on() {
    let server = Server::start(memory()).await;
    let client = &server.client;
    let clusters = client.api::<Cluster>();
    clusters.create(&cluster("c")).await.unwrap();
    let seen = clusters.delete("demo", "c", &DeleteOptions::default()).await.unwrap().metadata.unwrap();
    let cascade = DeleteOptions { cascade: true, ..Default::default() };
    let changed = clusters.delete("demo", "c", &cascade).await.unwrap().metadata.unwrap();
    let remove = async |version| {
        client.remove_finalizer_at(&key::<Cluster>("c"), &seen.uid, version, CASCADE_DELETION).await
    };
    assert!(remove(seen.resource_version).await.unwrap_err().is_conflict(), "the deletion includes more now");
    remove(changed.resource_version).await.unwrap();
}

#[tokio::test]
async fn a_deletion_is_for_the_object_that_the_caller_means() {
    let server = Server::start(memory()).await;
    let api = server.client.api::<Application>();
    let uid = api.create(&application("a")).await.unwrap().metadata.unwrap().uid;
    let other = DeleteOptions {
        uid: "0190b5a0-0000-7000-8000-000000000000".into(),
        force: true,
        ..Default::default()
    };
    assert!(api.delete("demo", "a", &other).await.unwrap_err().is_conflict());
    let this = DeleteOptions { uid, force: true, ..Default::default() };
    api.delete("demo", "a", &this).await.unwrap();
}

#[tokio::test]
async fn what_others_use_is_deleted_only_by_force_and_the_error_names_them() {
    let server = Server::start(memory()).await;
    let client = &server.client;
    let fixed = Type::Static(StaticProvider { metrics: [("heat".to_owned(), 1.0)].into() });
    for namespace in ["", "demo"] {
        let spec = Some(MetricsProviderSpec { r#type: Some(fixed.clone()) });
        client
            .api()
            .create(&MetricsProvider { metadata: named(namespace, "prometheus"), spec })
            .await
            .unwrap();
        client.api().create(&metric(namespace, "heat", 1.0)).await.unwrap();
    }
    let mut ranked = cluster("ranked");
    ranked.spec.as_mut().unwrap().metrics =
        vec![MetricRef { name: "heat".into(), weight: 1.0, namespaced: true }];
    client.api().create(&ranked).await.unwrap();
    let plain = DeleteOptions::default();
    let error = client.api::<MetricsProvider>().delete("demo", "prometheus", &plain).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::InUse));
    assert!(error.to_string().contains("Metric \"heat\" in namespace \"demo\""), "{error}");
    let error = client.api::<Metric>().delete("demo", "heat", &plain).await.unwrap_err();
    assert!(error.to_string().contains("Cluster \"ranked\" in namespace \"demo\""), "{error}");
    // The global twin is not the one that the cluster ranks by; and what is not used goes.
    client.api::<Metric>().delete("", "heat", &plain).await.unwrap();
    let force = DeleteOptions { force: true, ..Default::default() };
    client.api::<Metric>().delete("demo", "heat", &force).await.unwrap();
    client.api::<MetricsProvider>().delete("demo", "prometheus", &plain).await.unwrap();
}

#[tokio::test]
async fn finalizers_are_a_stack() {
    let server = Server::start(memory()).await;
    let api = server.client.api::<Application>();
    let set = async |finalizers: &[&str]| {
        let mut wanted = Application { metadata: named("demo", "a"), ..Default::default() };
        wanted.metadata.as_mut().unwrap().finalizers =
            finalizers.iter().map(|text| text.to_string()).collect();
        let answer = api.update(&wanted, Mask::fields(["metadata.finalizers"])).await;
        answer.map(|object| object.metadata.unwrap().finalizers).map_err(|error| error.reason().unwrap())
    };
    let refused = Err(ErrorReason::FinalizersInUse);
    api.create(&application("a")).await.unwrap();
    assert_eq!(set(&["a", "b"]).await.unwrap(), ["a", "b"]);
    for wrong in [&["b", "a"][..], &["a"], &[], &["x", "a", "b"], &["a", "x", "b"]] {
        assert_eq!(set(wrong).await, refused, "{wrong:?} while it lives");
    }
    assert_eq!(set(&["a", "b", "a"]).await.unwrap(), ["a", "b", "a"]);
    api.delete("demo", "a", &DeleteOptions::default()).await.unwrap();
    for wrong in [&["b", "a"][..], &["a", "a"], &["a", "b", "x"], &["b"]] {
        assert_eq!(set(wrong).await, refused, "{wrong:?} while it is being deleted");
    }
    let early = server.client.remove_finalizer(&key::<Application>("a"), "", "b").await.unwrap_err();
    assert_eq!(early.reason(), Some(ErrorReason::FinalizersInUse), "others stand above it");
    assert_eq!(set(&["a"]).await, refused, "the garbage collector's entry stands above them");
    server.client.remove_finalizer(&key::<Application>("a"), "", CASCADE_DELETION).await.unwrap();
    assert_eq!(set(&["a"]).await.unwrap(), ["a"], "several at once, from the end");
    set(&[]).await.unwrap();
    assert!(api.get("demo", "a").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn an_owner_has_the_namespace_of_what_it_owns() {
    let server = Server::start(memory()).await;
    let api = server.client.api::<Application>();
    let owned_by = |namespace: &str| {
        let mut owned = application("a");
        let owner = OwnerReference {
            api: "core".into(),
            kind: "Metric".into(),
            namespace: namespace.into(),
            name: "m".into(),
            ..Default::default()
        };
        owned.metadata.as_mut().unwrap().owners = vec![owner];
        owned
    };
    let refused = api.create(&owned_by("other")).await.unwrap_err();
    assert_eq!(refused.violations()[0].field, "metadata.owners[0].namespace");
    api.create(&owned_by("demo")).await.unwrap();
    assert!(!api.update(&owned_by("other"), Mask::All).await.unwrap_err().violations().is_empty());
    api.update(&owned_by(""), Mask::All).await.unwrap();
}

#[tokio::test]
async fn what_is_no_uid_was_never_erased() {
    if !have_etcd() {
        return;
    }
    let server = Server::start(shared_etcd().await).await;
    let uids = vec![String::new(), "../_epoch".into(), "x".repeat(60_000)];
    let answer = server.client.objects().check_tombstones(CheckTombstonesRequest { uids }).await.unwrap();
    assert!(answer.into_inner().erased.is_empty());
}

#[tokio::test]
async fn nothing_is_popped_from_below_the_cascade_whatever_the_rpc() {
    let server = Server::start(memory()).await;
    let client = &server.client;
    let clusters = client.api::<Cluster>();
    let mut held = cluster("c");
    held.metadata.as_mut().unwrap().finalizers = vec!["first".into(), "second".into()];
    clusters.create(&held).await.unwrap();
    let marked = clusters.delete("demo", "c", &DeleteOptions::default()).await.unwrap();
    let with = |finalizers: &[&str]| {
        let mut bare = Cluster { metadata: named("demo", "c"), ..Default::default() };
        bare.metadata.as_mut().unwrap().finalizers = finalizers.iter().map(ToString::to_string).collect();
        bare
    };
    let mask = || Mask::fields(["metadata.finalizers"]);
    let key = key::<Cluster>("c");
    for early in [
        clusters.update(&with(&["first"]), mask()).await.unwrap_err(),
        clusters.update(&with(&[]), mask()).await.unwrap_err(),
        client.remove_finalizer(&key, "", "second").await.unwrap_err(),
    ] {
        assert_eq!(early.reason(), Some(ErrorReason::FinalizersInUse));
        assert!(early.to_string().contains("after \"cascade_deletion\""), "{early}");
    }
    assert_eq!(clusters.get("demo", "c").await.unwrap(), marked);

    client.remove_finalizer(&key, "", CASCADE_DELETION).await.unwrap();
    let popped = clusters.update(&with(&["first"]), mask()).await.unwrap();
    assert_eq!(popped.metadata.unwrap().finalizers, ["first"]);
    client.remove_finalizer(&key, "", "first").await.unwrap();
    assert!(clusters.get("demo", "c").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_deletion_and_its_finalizers_leave_the_time_of_the_last_modification() {
    let server = Server::start(memory()).await;
    let clusters = server.client.api::<Cluster>();
    let mut held = cluster("c");
    held.metadata.as_mut().unwrap().finalizers = vec!["mine".into()];
    let modified = |cluster: Cluster| cluster.metadata.unwrap().modified;
    let created = modified(clusters.create(&held).await.unwrap());
    assert_eq!(modified(clusters.delete("demo", "c", &DeleteOptions::default()).await.unwrap()), created);
    server.client.remove_finalizer(&key::<Cluster>("c"), "", CASCADE_DELETION).await.unwrap();
    assert_eq!(modified(clusters.get("demo", "c").await.unwrap()), created);
}
