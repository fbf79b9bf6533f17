//! Watches that are refused, and those that show more than is kept.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response};
use kube::api::{ApiResource, GroupVersionKind};
use kube::client::Body;
use serde_json::{Value, json};
use tower::BoxError;

use super::*;
use crate::cluster::cache::Lookup;
use crate::cluster::connection::Deadlines;
use crate::cluster::holdings::Sum;
use crate::object::APPLICATION_LABEL;

#[test]
fn forbidden_watches_are_tried_less_and_less() {
    let pauses: Vec<u64> = (0..10).map(|refusals| pause_after_refusals(refusals).as_secs()).collect();
    assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
    assert_eq!(pause_after_refusals(u32::MAX), LONGEST_PAUSE);
}

#[test]
fn a_watch_that_held_for_long_rests_shortly_when_it_shows_too_much_again() {
    let mut excesses = Excesses::default();
    let seconds = [0, 900, 3, 900, 3600, 7, 24 * 3600];
    let pauses = seconds.map(|lasted| excesses.pause_after(Duration::from_secs(lasted)).as_secs());
    assert_eq!(pauses, [5, 10, 20, 40, 5, 10, 5], "a list alone may take 900 s");
}

/// The watch of ConfigMaps in one namespace, over a server that answers each request by its number. The cache has room for
/// three objects.
struct Scene {
    cache: Arc<KindCache>,
    wakes: Arc<Wakes>,
    asked: Arc<AtomicUsize>,
    revive: tokio::sync::watch::Sender<u64>,
    _ends: tokio::task::AbortHandle,
}

fn scene(answer: impl Fn(usize, &KindCache) -> (u16, Value) + Clone + Send + Sync + 'static) -> Scene {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    let holdings = Arc::new(Holdings::of_at_most(Sum { objects: 3, bytes: 1 << 20 }));
    let (revive, revived) = tokio::sync::watch::channel(0);
    let cache = Arc::new(KindCache::new(&kind, holdings, revived.clone()));
    let asked = Arc::new(AtomicUsize::new(0));
    let service = tower::service_fn({
        let (asked, cache) = (asked.clone(), cache.clone());
        move |_: Request<Body>| {
            let (code, body) = answer(asked.fetch_add(1, Ordering::SeqCst), &cache);
            let response = Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
            async move { response.map_err(BoxError::from) }
        }
    });
    let client = kube::Client::new(service, "demo");
    let connection = Connection::over(client, "demo", "host", Deadlines::default());
    let wakes = Arc::new(Wakes::default());
    cache.await_sync(&"app".into());
    let watch = Watch {
        cluster: "c".into(),
        objects: Api::namespaced_with(connection.client().clone(), "demo", &kind),
        config: watcher::Config::default(),
        narrowable: false,
        cache: cache.clone(),
        wakes: wakes.clone(),
        revived,
    };
    let _ends = tokio::spawn(watch.run()).abort_handle();
    Scene { cache, wakes, asked, revive, _ends }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self._ends.abort();
    }
}

fn list(names: &[String], next: &str) -> (u16, Value) {
    let item = |name: &String| {
        json!({"metadata": {"name": name, "namespace": "demo", "uid": name, "resourceVersion": "1",
        "labels": {APPLICATION_LABEL: "app"}}})
    };
    let items: Vec<Value> = names.iter().map(item).collect();
    let metadata = json!({"resourceVersion": "1", "continue": next});
    (200, json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": metadata, "items": items}))
}

fn is_known(cache: &KindCache) -> bool {
    matches!(cache.get(Some("demo"), "a"), Lookup::Present(_))
}

#[tokio::test(start_paused = true)]
async fn a_list_without_end_is_given_up_for_longer_and_longer_and_said() {
    let scene = scene(|number, _| list(&[format!("a-{number}"), format!("b-{number}")], "more"));
    let woken = scene.wakes.take().await;
    assert_eq!(woken, [Wake::Application("app".into(), "c".into())], "it learns why nothing is seen");
    let trouble = scene.cache.trouble().unwrap();
    assert!(trouble.contains("more objects than Krake keeps of one cluster"), "{trouble}");
    assert_eq!(scene.asked.load(Ordering::SeqCst), 2, "two pages, of two objects each");
    let lasted = passes_until(|| scene.asked.load(Ordering::SeqCst) >= 7).await;
    assert!(lasted >= Duration::from_secs(5 + 10 + 20), "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_before_two_refusals_is_not_trusted_and_before_one_it_is() {
    let known_at_third = Arc::new(AtomicUsize::new(0));
    let scene = scene({
        let known_at_third = known_at_third.clone();
        move |number, cache| {
            if number == 2 {
                // The watch was refused once, after the list.
                known_at_third.store(usize::from(is_known(cache)), Ordering::SeqCst);
            }
            match number {
                0 => list(&["a".to_owned()], ""),
                _ => {
                    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
                        "reason": "Forbidden", "message": "not any more"});
                    (403, status)
                }
            }
        }
    });
    scene.wakes.take().await;
    assert!(is_known(&scene.cache) && scene.cache.synced());
    while scene.cache.trouble().is_none() {
        scene.wakes.take().await;
    }
    assert_eq!(known_at_third.load(Ordering::SeqCst), 1, "one refusal may pass");
    assert!(!is_known(&scene.cache) && !scene.cache.synced());
    assert!(scene.cache.trouble().unwrap().contains("not any more"));
    assert_eq!(scene.asked.load(Ordering::SeqCst), 3);
}

/// A failure of the server that may pass.
fn trouble() -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500,
        "reason": "InternalError", "message": "conversion webhook failed"});
    (500, status)
}

/// Lets time pass until something holds, hours at most. Returns how long that took.
async fn passes_until(holds: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(6 * 3600), "it never comes to hold");
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    begun.elapsed()
}

#[rstest::rstest]
#[case::when_the_watch_is_too_old(true)]
#[case::when_no_watch_can_be_started(false)]
#[tokio::test(start_paused = true)]
async fn what_was_seen_is_not_believed_for_ever_while_lists_fail(#[case] is_too_old: bool) {
    let gone = || {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410,
            "reason": "Expired", "message": "too old"});
        (200, json!({"type": "ERROR", "object": status}))
    };
    let scene = scene(move |number, _| match number {
        0 => list(&["a".to_owned()], ""),
        1 if is_too_old => gone(),
        _ => trouble(),
    });
    scene.wakes.take().await;
    assert!(is_known(&scene.cache));
    let lasted = passes_until(|| !is_known(&scene.cache)).await;
    assert!((LIST_DEADLINE..LIST_DEADLINE * 2).contains(&lasted), "{lasted:?}");
    let why = scene.cache.trouble().unwrap();
    assert!(why.contains("within 15 min") && why.contains("conversion webhook failed"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn after_a_silence_nothing_is_known_until_it_is_listed_anew() {
    let answers = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let scene = scene({
        let answers = answers.clone();
        move |_, _| if answers.load(Ordering::SeqCst) { list(&["a".to_owned()], "") } else { trouble() }
    });
    scene.wakes.take().await;
    assert!(is_known(&scene.cache));
    answers.store(false, Ordering::SeqCst);
    scene.revive.send_modify(|times| *times += 1);
    assert!(!is_known(&scene.cache) && !scene.cache.synced(), "at once");
    assert!(scene.cache.last_seen(Some("demo"), "a").is_some(), "and that it was there is not forgotten");
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(!is_known(&scene.cache));
    scene.cache.await_sync(&"app".into());
    answers.store(true, Ordering::SeqCst);
    passes_until(|| is_known(&scene.cache)).await;
    assert_eq!(scene.wakes.take().await, [Wake::Application("app".into(), "c".into())]);
}
