//! Laws of what lists and watches show: label selectors, the filter by cluster, views, and pages of other people.

use std::sync::Arc;

use crate::placement::{bind, forget, reference, report, version};
use crate::support::server::{Server, application, cluster, metric};
use crate::support::{PATIENCE, have_etcd, memory, shared_etcd};
use futures::StreamExt;
use krake_client::{DeleteOptions, ListOptions, Mask, Watch, WatchEvent, WatchOptions};
use krake_proto::Resource;
use krake_proto::error::{ErrorReason, reason};
use krake_proto::krake::core::v1::{Metric, WatchMetricsRequest, watch_metrics_request};
use krake_proto::krake::kubernetes::v1::{Application, Cluster, Phase};
use krake_proto::krake::meta::v1::{KindRef, ListObjectsRequest, Object, View};
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
    a_list_shows_what_is_selected_on_every_page,
    a_watch_tells_what_enters_and_what_leaves_its_filter,
    a_watch_of_a_cluster_follows_bindings_and_copies,
    a_watch_of_a_name_follows_one_object_from_before_its_creation,
    the_basic_view_is_without_documents_in_lists_and_watches,
    metadata_of_all_kinds_comes_in_pages_of_one_moment,
);

fn tier(metric: &Metric, tier: &str) -> Metric {
    let mut metric = metric.clone();
    metric.metadata.get_or_insert_default().labels.insert("tier".into(), tier.into());
    metric
}

fn name<K: Resource>(object: &K) -> String {
    object.metadata().map(|metadata| metadata.name.clone()).unwrap_or_default()
}

/// The next event that is no bookmark, in short.
async fn next<K: Resource + Unpin>(watch: &mut Watch<K>) -> String {
    let event = async {
        loop {
            return match watch.next().await.expect("a watch does not end").unwrap() {
                WatchEvent::Bookmark { .. } => continue,
                WatchEvent::Restarted => "restarted".to_owned(),
                WatchEvent::Applied { object, initial: true } => format!("initial {}", name(&object)),
                WatchEvent::Applied { object, .. } => format!("applied {}", name(&object)),
                WatchEvent::Deleted(object) => format!("deleted {}", name(&object)),
                WatchEvent::LeftFilter(object) => format!("left {}", name(&object)),
                WatchEvent::Synced { .. } => "synced".to_owned(),
            };
        }
    };
    tokio::time::timeout(PATIENCE, event).await.expect("an event comes in time")
}

async fn a_list_shows_what_is_selected_on_every_page(store: Arc<dyn Store>) {
    let server = Server::start(store).await;
    let api = server.client.api::<Metric>();
    for index in 0..9 {
        let tiers = ["edge", "core", "cloud"];
        api.create(&tier(&metric("demo", &format!("m{index}"), 1.0), tiers[index % 3])).await.unwrap();
    }
    api.create(&metric("demo", "none", 1.0)).await.unwrap();
    let list = async |selector: &str, page_size: i32| {
        let options = ListOptions { label_selector: selector.into(), page_size, ..Default::default() };
        api.list("demo", &options).await.unwrap().items.iter().map(name).collect::<Vec<_>>()
    };
    for page_size in [0, 1, 2, 4] {
        assert_eq!(list("tier=edge", page_size).await, ["m0", "m3", "m6"], "pages of {page_size}");
        assert_eq!(list("tier notin (edge,core)", page_size).await, ["m2", "m5", "m8", "none"]);
        assert_eq!(list("!tier", page_size).await, ["none"]);
        assert_eq!(list("tier,tier!=edge,tier!=cloud", page_size).await, ["m1", "m4", "m7"]);
        assert!(list("tier=far", page_size).await.is_empty());
    }
}

async fn a_watch_tells_what_enters_and_what_leaves_its_filter(store: Arc<dyn Store>) {
    let server = Server::start(store).await;
    let api = server.client.api::<Metric>();
    let force = DeleteOptions { force: true, ..Default::default() };
    let old = api.create(&tier(&metric("demo", "old", 1.0), "edge")).await.unwrap();
    let other = api.create(&tier(&metric("demo", "other", 1.0), "core")).await.unwrap();
    let options =
        WatchOptions { label_selector: "tier in (edge, far)".into(), ..WatchOptions::namespace("demo") };
    let mut watch = api.watch(options);
    for expected in ["restarted", "initial old", "synced"] {
        assert_eq!(next(&mut watch).await, expected);
    }
    let label = Mask::fields(["metadata.labels"]);
    api.update(&tier(&other, "far"), label.clone()).await.unwrap();
    assert_eq!(next(&mut watch).await, "applied other", "it matches from now on");
    let old = api.update(&tier(&old, "far"), label.clone()).await.unwrap();
    assert_eq!(next(&mut watch).await, "applied old", "it still matches");
    let old = api.update(&tier(&old, "core"), label).await.unwrap();
    assert_eq!(next(&mut watch).await, "left old");
    // What is not seen any more changes and ends unseen; what is seen is told to be erased.
    let mut changed = old;
    changed.spec.get_or_insert_default().max = Some(9.0);
    api.update(&changed, Mask::fields(["spec.max"])).await.unwrap();
    api.delete("demo", "old", &force).await.unwrap();
    api.delete("demo", "other", &force).await.unwrap();
    assert_eq!(next(&mut watch).await, "deleted other");
}

async fn a_watch_of_a_cluster_follows_bindings_and_copies(store: Arc<dyn Store>) {
    let server = Server::start(store).await;
    let client = &server.client;
    let api = client.api::<Application>();
    let uid = api.create(&application("a")).await.unwrap().metadata.unwrap().uid;
    api.create(&application("elsewhere")).await.unwrap();
    let one = client.api().create(&cluster("one")).await.unwrap();
    let two = client.api().create(&cluster("two")).await.unwrap();
    let options = WatchOptions { cluster: reference(&one).uid, ..WatchOptions::all_namespaces() };
    let mut watch = api.watch(options);
    assert_eq!(next(&mut watch).await, "restarted");
    assert_eq!(next(&mut watch).await, "synced");
    bind(client, &[&one], 1, &[]).await.unwrap();
    assert_eq!(next(&mut watch).await, "applied a");
    let intended = report(client, &uid, &one, Phase::Intended, 0).await.unwrap();
    assert_eq!(next(&mut watch).await, "applied a");
    bind(client, &[&two], 1, &[&one]).await.unwrap();
    assert_eq!(next(&mut watch).await, "applied a", "not bound there any more, but the copy is still there");
    forget(client, &uid, &one, version(&intended, &one)).await.unwrap();
    assert_eq!(next(&mut watch).await, "left a");
}

async fn a_watch_of_a_name_follows_one_object_from_before_its_creation(store: Arc<dyn Store>) {
    let server = Server::start(store).await;
    let api = server.client.api::<Metric>();
    let force = DeleteOptions { force: true, ..Default::default() };
    let options = WatchOptions { label_selector: "tier=edge".into(), ..WatchOptions::object("demo", "m") };
    let (mut watch, mut selected) = (api.watch(WatchOptions::object("demo", "m")), api.watch(options));
    for watch in [&mut watch, &mut selected] {
        assert_eq!(next(watch).await, "restarted");
        assert_eq!(next(watch).await, "synced", "at once");
    }
    // Neighbours in every way.
    for (namespace, name) in [("demo", "m0"), ("demo", "mm"), ("demo", "l"), ("demos", "m"), ("", "m")] {
        api.create(&metric(namespace, name, 1.0)).await.unwrap();
    }
    let label = Mask::fields(["metadata.labels"]);
    let created = api.create(&metric("demo", "m", 1.0)).await.unwrap();
    assert_eq!(next(&mut watch).await, "applied m");
    api.update(&tier(&created, "edge"), label.clone()).await.unwrap();
    assert_eq!(next(&mut watch).await, "applied m");
    assert_eq!(next(&mut selected).await, "applied m");
    let mut late = api.watch(WatchOptions::object("demo", "m"));
    for expected in ["restarted", "initial m", "synced"] {
        assert_eq!(next(&mut late).await, expected);
    }
    let mut global = api.watch(WatchOptions::object("", "m"));
    assert_eq!(next(&mut global).await, "restarted");
    assert_eq!(next(&mut global).await, "initial m");
    let mut core = tier(&created, "core");
    core.metadata.as_mut().unwrap().resource_version = 0;
    api.update(&core, label).await.unwrap();
    assert_eq!(next(&mut selected).await, "left m");
    api.delete("demo", "mm", &force).await.unwrap();
    api.delete("demo", "m", &force).await.unwrap();
    for watch in [&mut watch, &mut late] {
        assert_eq!(next(watch).await, "applied m");
        assert_eq!(next(watch).await, "deleted m");
    }
    api.create(&metric("demo", "m", 2.0)).await.unwrap();
    assert_eq!(next(&mut watch).await, "applied m", "the name is followed, whoever has it");
}

async fn metadata_of_all_kinds_comes_in_pages_of_one_moment(store: Arc<dyn Store>) {
    let server = Server::start(store).await;
    let client = &server.client;
    for index in 0..5 {
        client.api().create(&metric("", &format!("m{index}"), 1.0)).await.unwrap();
        client.api().create(&cluster(&format!("c{index}"))).await.unwrap();
    }
    let names = |objects: Vec<Object>| objects.into_iter().map(|object| object.metadata.unwrap().name);
    for kinds in [vec![], vec![Cluster::KIND]] {
        let expected: Vec<String> = names(client.list_objects(&kinds).await.unwrap().items).collect();
        assert!(expected.len() >= 5);
        let kinds = kinds.iter().map(|kind| KindRef { api: kind.api.into(), kind: kind.kind.into() });
        let mut request = ListObjectsRequest { kinds: kinds.collect(), page_size: 2, ..Default::default() };
        let (mut seen, mut versions) = (Vec::new(), Vec::new());
        loop {
            let page = client.objects().list_objects(request.clone()).await.unwrap().into_inner();
            assert!(page.objects.len() <= 2);
            seen.extend(names(page.objects));
            versions.push(page.resource_version);
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
            let late = format!("late-{}-{}", page.resource_version, versions.len());
            client.api().create(&cluster(&late)).await.unwrap();
        }
        assert_eq!(seen, expected);
        assert!(versions.len() > 2 && versions.iter().all(|version| *version == versions[0]));
        request.kinds = vec![KindRef { api: "core".into(), kind: "Metric".into() }];
        let refused = client.objects().list_objects(request).await.unwrap_err();
        assert_eq!(reason(&refused), Some(ErrorReason::InvalidPageToken), "a token is for its own kinds");
    }
    let wrong = ListObjectsRequest { page_size: -1, ..Default::default() };
    let refused = client.objects().list_objects(wrong).await.unwrap_err();
    assert_eq!(reason(&refused), Some(ErrorReason::InvalidField));
}

async fn the_basic_view_is_without_documents_in_lists_and_watches(store: Arc<dyn Store>) {
    let server = Server::start(store).await;
    let api = server.client.api::<Application>();
    let created = api.create(&application("a")).await.unwrap();
    let mut expected = created.clone();
    for entry in &mut expected.spec.as_mut().unwrap().manifest {
        assert!(entry.document.take().is_some());
    }
    let basic = ListOptions { view: View::Basic, ..Default::default() };
    assert_eq!(api.list("demo", &basic).await.unwrap().items, std::slice::from_ref(&expected));
    let full = ListOptions { view: View::Full, ..Default::default() };
    assert_eq!(api.list("demo", &full).await.unwrap().items, [created]);
    let mut watch = api.watch(WatchOptions { view: View::Basic, ..WatchOptions::namespace("demo") });
    let event = async {
        loop {
            if let WatchEvent::Applied { object, .. } = watch.next().await.unwrap().unwrap() {
                return object;
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, event).await.unwrap(), expected);
}

#[tokio::test]
async fn a_selector_that_is_none_is_named_with_its_place() {
    let server = Server::start(memory()).await;
    let options = ListOptions { label_selector: "tier=edge,zone in (a".into(), ..Default::default() };
    let error = server.client.api::<Metric>().list("demo", &options).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::InvalidField));
    let violation = error.violations().remove(0);
    assert_eq!(violation.field, "label_selector");
    assert_eq!(violation.description, "unexpected end at column 21: expected \",\" or \")\"");

    let watch = |label_selector: &str, namespace: &str| WatchMetricsRequest {
        namespace: namespace.into(),
        label_selector: label_selector.into(),
        start: Some(watch_metrics_request::Start::Now(true)),
        ..Default::default()
    };
    let refused = server.client.metrics().watch_metrics(watch("a b", "demo")).await.unwrap_err();
    assert_eq!(reason(&refused), Some(ErrorReason::InvalidField));
    assert!(refused.message().contains("label_selector: unexpected \"b\" at column 3"), "{refused}");
    assert!(server.client.metrics().watch_metrics(watch("a", "demo")).await.is_ok());
}

#[tokio::test]
async fn a_watch_of_a_name_needs_a_namespace_and_a_name_that_can_be() {
    let server = Server::start(memory()).await;
    for (namespace, name, field) in
        [("-", "m", "namespace"), ("demo", "a/b", "name"), ("a/b", "m", "namespace")]
    {
        let mut watch = server.client.api::<Metric>().watch(WatchOptions::object(namespace, name));
        let error = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.violations()[0].field, field, "{namespace} {name}");
    }
}

#[tokio::test]
async fn only_applications_are_on_clusters() {
    let server = Server::start(memory()).await;
    let options = WatchOptions { cluster: "uid".into(), ..WatchOptions::namespace("demo") };
    let mut watch = server.client.api::<Metric>().watch(options);
    let error = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.violations()[0].field, "cluster");
}

#[tokio::test]
async fn a_page_token_is_good_for_its_own_list_only() {
    let store = memory();
    let known = |user: &str| Authentication { static_user: Some(user.into()), allow_anonymous: false };
    let alice = Server::start_for(store.clone(), known("alice")).await;
    let bob = Server::start_for(store, known("bob")).await;
    let [mine, theirs] = [&alice, &bob].map(|server| server.client.api::<Metric>());
    for index in 0..3 {
        mine.create(&tier(&metric("demo", &format!("m{index}"), 1.0), "edge")).await.unwrap();
    }
    let one = |label_selector: &str, view: View| ListOptions {
        label_selector: label_selector.into(),
        view,
        page_size: 1,
        ..Default::default()
    };
    let begun = one("tier=edge", View::Full);
    let token = mine.list_page("demo", &begun, None).await.unwrap().next;
    assert!(token.is_some());
    let refused = |error: krake_client::Error| {
        (error.reason(), error.violations().first().map(|violation| violation.field.clone()))
    };
    let expected = (Some(ErrorReason::InvalidPageToken), Some("page_token".to_owned()));
    let stolen = theirs.list_page("demo", &begun, token.clone()).await.unwrap_err();
    assert_eq!(refused(stolen), expected, "somebody else's");
    for other in [one("", View::Full), one("tier!=core", View::Full), one("tier=edge", View::Basic)] {
        let error = mine.list_page("demo", &other, token.clone()).await.unwrap_err();
        assert_eq!(refused(error), expected, "{other:?}");
    }
    let error = mine.list_page("other", &begun, token.clone()).await.unwrap_err();
    assert_eq!(refused(error), expected, "another namespace");
    let error = mine.list_page("demo", &begun, Some("made up".into())).await.unwrap_err();
    assert_eq!(refused(error), expected);
    assert_eq!(mine.list_page("demo", &begun, token).await.unwrap().listing.items.len(), 1);
}
