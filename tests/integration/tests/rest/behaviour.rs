//! Upstream's conventions, one by one: statuses, shapes of lists, `blocking`, CORS, and what is not about a kind.

use krake_integration::wait::{self, HANG_GUARD};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{ORIGIN, World};

const APPLICATIONS: &str = "/kubernetes/namespaces/demo/applications";
const METRICS: &str = "/core/namespaces/demo/metrics";

pub(crate) fn application(name: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": {
            "manifest": [{ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } }],
            "constraints": { "cluster": {} },
        },
    })
}

pub(crate) fn metric(name: &str, max: f64) -> Value {
    let provider = json!({ "name": "p", "metric": "m" });
    json!({ "metadata": { "name": name }, "spec": { "min": 0, "max": max, "provider": provider } })
}

pub(crate) fn provider(name: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": { "type": "static", "static": { "metrics": { "m": 1.0 } } },
    })
}

#[tokio::test]
async fn what_is_not_about_a_kind() {
    let world = World::start().await;
    let version = world.get("/").await.ok();
    assert!(version["version"].as_str().is_some_and(|version| version.contains('.')), "{version}");
    assert_eq!(world.get("/me").await.ok(), json!({ "user": "system:anonymous", "roles": [] }));
    let release = world.get("/release").await;
    assert_eq!((release.status, release.json()), (202, json!("You released the Krake.")));
    world.get("/nowhere").await.refused(404, "404: Not Found");
    world.get("/kubernetes/namespaces/demo/applications/a/b/c").await.problem(404);
    world.send(Method::PATCH, APPLICATIONS, &json!({})).await.refused(405, "405: Method Not Allowed");
    world.delete("/core/globalmetrics").await.problem(405);
}

#[tokio::test]
async fn the_life_of_a_resource() {
    let world = World::start().await;
    let before = world.get(METRICS).await.ok();
    assert_eq!((&before["api"], &before["kind"]), (&json!("core"), &json!("MetricList")));
    assert_eq!(before["items"], json!([]));

    let made = world.post(METRICS, &metric("m", 1.0)).await.ok();
    let metadata = &made["metadata"];
    assert_eq!((&made["api"], &made["kind"]), (&json!("core"), &json!("Metric")));
    assert_eq!((&metadata["namespace"], &metadata["deleted"]), (&json!("demo"), &Value::Null));
    assert_eq!(
        (&metadata["labels"], &metadata["finalizers"], &metadata["owners"]),
        (&json!({}), &json!([]), &json!([]))
    );
    assert_eq!(metadata["created"], metadata["modified"]);
    let created = metadata["created"].as_str().unwrap();
    assert!(created.len() == 32 && created.ends_with("+00:00"), "{created}");
    let again = world.post(METRICS, &metric("m", 2.0)).await;
    again.refused(409, "Metric 'm' already exists in namespace 'demo'");
    assert_eq!(again.json()["title"], "RESOURCE_ALREADY_EXISTS");

    let path = format!("{METRICS}/m");
    assert_eq!(world.get(&path).await.ok(), made);
    let nobody = world.get(&format!("{METRICS}/nobody")).await;
    nobody.refused(404, "'Metric' 'nobody' does not exist in namespace 'demo'");
    assert_eq!(nobody.json()["title"], "NOT_FOUND_ERROR");
    assert!(nobody.json()["type"].as_str().unwrap().ends_with("#not-found-error"));

    let mut body = made.clone();
    let unchanged = world.put(&path, &body).await;
    unchanged.refused(400, "The body contained no update.");
    assert_eq!(unchanged.json()["title"], "UPDATE_ERROR");
    body["spec"]["max"] = json!(3.5);
    let changed = world.put(&path, &body).await.ok();
    assert_eq!((&changed["spec"]["max"], &changed["metadata"]["uid"]), (&json!(3.5), &metadata["uid"]));
    let mut renamed = changed.clone();
    renamed["metadata"]["name"] = json!("n");
    world.put(&path, &renamed).await.refused(400, "Trying to update an immutable field: name");
    world.put(&format!("{METRICS}/nobody"), &metric("nobody", 1.0)).await.problem(404);

    // Without upstream's own garbage collector: marked, and there until the finalizer is gone.
    let deleted = world.delete(&path).await.ok();
    assert!(deleted["metadata"]["deleted"].is_string());
    assert_eq!(deleted["metadata"]["finalizers"], json!(["cascade_deletion"]));
    assert_eq!(world.delete(&path).await.ok()["metadata"]["deleted"], deleted["metadata"]["deleted"]);
    let mut more = deleted.clone();
    more["metadata"]["finalizers"] = json!(["cascade_deletion", "more"]);
    world.put(&path, &more).await.refused(409, "metadata.finalizers");
    let mut gone = deleted.clone();
    gone["metadata"]["finalizers"] = json!([]);
    // Only the garbage collector removes its own, by another call.
    world.put(&path, &gone).await.refused(400, "The body contained no update.");
    world.delete(&format!("{path}?force=True")).await.ok();
    world.get(&path).await.problem(404);
    world.delete(&path).await.problem(404);
}

#[tokio::test]
async fn lists_of_a_namespace_of_all_and_of_none() {
    let world = World::start().await;
    let names = |list: &Value| -> Vec<(String, Value)> {
        let items = list["items"].as_array().unwrap().iter();
        items
            .map(|item| {
                let metadata = &item["metadata"];
                (metadata["name"].as_str().unwrap().to_owned(), metadata["namespace"].clone())
            })
            .collect()
    };
    for (path, name) in [("/core/namespaces/a/metrics", "x"), ("/core/namespaces/ab/metrics", "y")] {
        world.post(path, &metric(name, 1.0)).await.ok();
    }
    world.post("/core/globalmetrics", &metric("x", 1.0)).await.ok();
    world.post("/core/globalmetricsproviders", &provider("p")).await.ok();

    let list = world.get("/core/namespaces/a/metrics").await.ok();
    assert_eq!(names(&list), [("x".to_owned(), json!("a"))]);
    let list = world.get("/core/metrics").await.ok();
    assert_eq!(
        names(&list),
        [("x".to_owned(), json!("a")), ("y".to_owned(), json!("ab"))],
        "without global ones"
    );
    let list = world.get("/core/globalmetrics").await.ok();
    assert_eq!(
        (names(&list), &list["kind"]),
        (vec![("x".to_owned(), Value::Null)], &json!("GlobalMetricList"))
    );
    assert_eq!(list["items"][0]["kind"], "GlobalMetric");
    let nobody = world.get("/core/globalmetrics/nobody").await;
    nobody.refused(404, "'GlobalMetric' 'nobody' does not exist");
    world.get("/core/namespaces/a/metrics?label_selector=tier%3Dedge").await.ok();
    assert_eq!(names(&world.get("/core/namespaces/nobody/metrics").await.ok()), []);
}

#[tokio::test]
async fn what_upstreams_clients_leave_out_keeps_its_value() {
    let world = World::start().await;
    let mut body = application("a");
    body["spec"]["min_gain"] = json!(0.5);
    body["spec"]["constraints"]["cluster"]["labels"] = json!(["location is DE"]);
    world.post(APPLICATIONS, &body).await.ok();
    let path = format!("{APPLICATIONS}/a");
    let mut read = world.get(&path).await.ok();
    assert_eq!(read["spec"]["constraints"]["cluster"]["labels"], json!(["location is DE"]), "as it was sent");
    read["spec"].as_object_mut().unwrap().remove("min_gain");
    read["metadata"].as_object_mut().unwrap().remove("resource_version");
    read["metadata"]["labels"] = json!({ "tier": "edge" });
    let written = world.put(&path, &read).await.ok();
    assert_eq!(
        (&written["spec"]["min_gain"], &written["metadata"]["labels"]),
        (&json!(0.5), &json!({ "tier": "edge" }))
    );
    // Lists and maps are replaced as a whole.
    read["metadata"]["labels"] = json!({});
    assert_eq!(world.put(&path, &read).await.ok()["metadata"]["labels"], json!({}));
}

#[tokio::test]
async fn versions_guard_those_who_give_them() {
    let world = World::start().await;
    let made = world.post(METRICS, &metric("m", 1.0)).await;
    let (tag, path) = (made.header("etag").to_owned(), format!("{METRICS}/m"));
    let mut body = made.ok();
    assert!(
        tag.starts_with(&format!("\"{}/", body["metadata"]["resource_version"])),
        "{tag}: with the epoch"
    );
    body["spec"]["max"] = json!(2.0);
    world.put(&path, &body).await.ok();
    body["spec"]["max"] = json!(3.0);
    let stale = world.put(&path, &body).await;
    assert_eq!(stale.problem(409)["title"], "TRANSACTION_ERROR");
    body["metadata"].as_object_mut().unwrap().remove("resource_version");
    let guarded = world.send_with(Method::PUT, &path, &body, &[("if-match", &tag)]).await;
    guarded.problem(412);
    world.send_with(Method::DELETE, &path, &Value::Null, &[("if-match", &tag)]).await.problem(412);
    // Who gives none writes last, as with upstream.
    assert_eq!(world.put(&path, &body).await.ok()["spec"]["max"], json!(3.0));
}

#[tokio::test]
async fn status_and_binding_are_sub_resources() {
    let world = World::start().await;
    let made = world.post(APPLICATIONS, &application("a")).await.ok();
    assert_eq!(made["status"]["state"], "PENDING");
    let cluster = crate::input::cluster("c");
    world.post("/kubernetes/namespaces/demo/clusters", &cluster).await.ok();
    let target = json!({ "api": "kubernetes", "kind": "Cluster", "namespace": "demo", "name": "c" });
    let path = format!("{APPLICATIONS}/a");
    let bound = world.put(&format!("{path}/binding"), &json!({ "cluster": target })).await.ok();
    assert_eq!(bound["status"]["scheduled_to"]["name"], "c");
    assert_eq!(bound["metadata"]["owners"][0]["name"], "c");
    assert_eq!(bound["metadata"]["modified"], made["metadata"]["modified"]);
    let nobody =
        json!({ "cluster": { "api": "kubernetes", "kind": "Cluster", "namespace": "demo", "name": "x" } });
    let refused = world.put(&format!("{path}/binding"), &nobody).await;
    assert!((400..500).contains(&refused.status), "{refused:?}");
    // A status within the main PUT counts for nothing.
    let mut body = world.get(&path).await.ok();
    body["status"]["retries"] = json!(77);
    body["metadata"]["labels"] = json!({ "touched": "yes" });
    assert_ne!(world.put(&path, &body).await.ok()["status"]["retries"], json!(77));
    body["metadata"].as_object_mut().unwrap().remove("resource_version");
    let written = world.put(&format!("{path}/status"), &body).await.ok();
    assert_eq!(written["status"]["retries"], json!(77));
}

#[tokio::test]
async fn blocking_waits_for_the_state_of_this_very_object() {
    let world = World::start().await;
    let pending = world.post(&format!("{APPLICATIONS}?blocking=pending"), &application("a")).await.ok();
    assert_eq!(pending["status"]["state"], "PENDING");
    let off = world.post(&format!("{APPLICATIONS}?blocking=False"), &application("b")).await.ok();
    assert_eq!(off["metadata"]["name"], "b");
    let deletion = world.delete("/kubernetes/namespaces/demo/applications/a?blocking=deleted");
    let eraser = async {
        let marked = async || {
            let shown = world.get(&format!("{APPLICATIONS}/a")).await.ok();
            shown["metadata"]["deleted"].is_string().then_some(())
        };
        wait::until("the deletion to be asked for", HANG_GUARD, marked).await.unwrap();
        // Another object's end must not be taken for that of "a".
        world.delete("/kubernetes/namespaces/demo/applications/b?force=True").await.ok();
        world.delete("/kubernetes/namespaces/demo/applications/a?force=True").await.ok();
    };
    let (deleted, ()) =
        tokio::time::timeout(HANG_GUARD, async { tokio::join!(deletion, eraser) }).await.unwrap();
    assert_eq!(deleted.ok()["metadata"]["name"], "a");
}

#[tokio::test]
async fn pages_of_the_allowed_origin_may_call() {
    let world = World::start().await;
    let answer = world.send_with(Method::GET, METRICS, &Value::Null, &[("origin", ORIGIN)]).await;
    assert_eq!(answer.header("access-control-allow-origin"), ORIGIN);
    assert_eq!(answer.header("access-control-allow-credentials"), "true");
    let preflight = async |origin, method| {
        let headers = [("origin", origin), ("access-control-request-method", method)];
        world.send_with(Method::OPTIONS, METRICS, &Value::Null, &headers).await
    };
    let answer = preflight(ORIGIN, "POST").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), ORIGIN);
    assert!(answer.header("access-control-allow-methods").contains("POST"), "{answer:?}");
    assert_eq!(preflight(ORIGIN, "BREW").await.status, 403);
    assert_eq!(world.send(Method::OPTIONS, METRICS, &Value::Null).await.status, 403, "without an origin");
    let stranger = preflight("http://evil.example", "POST").await;
    assert_eq!(stranger.header("access-control-allow-origin"), "", "{stranger:?}");
}
