//! Bad input: upstream's statuses and problems, and nothing is stored.

use reqwest::Method;
use serde_json::{Value, json};

use crate::behaviour::{application, metric, provider};
use crate::world::{Answer, World};

const APPLICATIONS: &str = "/kubernetes/namespaces/demo/applications";
const METRICS: &str = "/core/namespaces/demo/metrics";

pub(crate) fn cluster(name: &str) -> Value {
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "c", "cluster": { "server": "https://127.0.0.1:1" } }],
        "users": [{ "name": "u", "user": { "token": "t0ps3cret" } }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
        "current-context": "x",
    });
    json!({
        "metadata": { "name": name },
        "spec": { "kubeconfig": kubeconfig, "constraints": { "cloud": {} } },
    })
}

/// The body with another value at a JSON pointer.
fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    match body.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            body.pointer_mut(parent).unwrap()[name] = value;
        }
    }
    body
}

async fn post_text(world: &World, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = world.http.post(world.url(path)).header("content-type", content_type).body(body);
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap() }
}

#[tokio::test]
async fn wrong_types_at_each_level_name_their_place() {
    let mut world = World::start().await;
    let app = || application("a");
    for (path, body, place) in [
        (APPLICATIONS, json!([]), "Invalid input type."),
        (APPLICATIONS, json!("text"), "Invalid input type."),
        (APPLICATIONS, with(app(), "/metadata", json!(7)), "metadata"),
        (APPLICATIONS, with(app(), "/metadata/labels", json!(["a"])), "metadata.labels"),
        (APPLICATIONS, with(app(), "/metadata/labels", json!({ "tier": 7 })), "metadata.labels"),
        (APPLICATIONS, with(app(), "/metadata/finalizers", json!("one")), "metadata.finalizers"),
        (APPLICATIONS, with(app(), "/metadata/owners", json!([{ "kind": [] }])), "metadata.owners"),
        (APPLICATIONS, with(app(), "/spec", json!([])), "spec"),
        (APPLICATIONS, with(app(), "/spec/manifest", json!({ "kind": "Pod" })), "spec.manifest"),
        (APPLICATIONS, with(app(), "/spec/manifest/0", json!({ "kind": "Pod" })), "spec.manifest"),
        (APPLICATIONS, with(app(), "/spec/backoff", json!("many")), "spec.backoff"),
        (APPLICATIONS, with(app(), "/spec/backoff", json!(1.5)), "spec.backoff"),
        (
            APPLICATIONS,
            with(app(), "/spec/constraints/migration", json!("yes")),
            "spec.constraints.migration",
        ),
        (
            APPLICATIONS,
            with(app(), "/spec/constraints/cluster/labels", json!([7])),
            "spec.constraints.cluster",
        ),
        (
            APPLICATIONS,
            with(app(), "/spec/constraints/cluster/labels", json!(["location ~ DE"])),
            "cluster.labels",
        ),
        (
            APPLICATIONS,
            with(app(), "/spec/migration_strategy", json!("create_first")),
            "spec.migration_strategy",
        ),
        (APPLICATIONS, with(app(), "/spec/min_residency", json!("soon")), "spec.min_residency"),
        (APPLICATIONS, json!({ "kind": "Cluster", "metadata": { "name": "a" } }), "kind"),
        (APPLICATIONS, json!({ "metadata": { "name": "a" } }), "spec"),
        (APPLICATIONS, json!({}), "metadata"),
        (METRICS, with(metric("m", 1.0), "/spec/min", json!({})), "spec.min"),
        (METRICS, with(metric("m", 1.0), "/spec/provider", json!("p")), "spec.provider"),
        (METRICS, with(metric("m", 1.0), "/spec/max", json!(-1)), "spec"),
        ("/core/globalmetricsproviders", with(provider("p"), "/spec/type", json!("kafka")), "kafka"),
        ("/core/globalmetricsproviders", with(provider("p"), "/spec/type", json!("graphite")), "graphite"),
        (
            "/core/globalmetricsproviders",
            with(provider("p"), "/spec/static/metrics", json!({ "m": "x" })),
            "metrics",
        ),
        (
            "/kubernetes/namespaces/demo/clusters",
            with(cluster("c"), "/spec/kubeconfig", json!("text")),
            "kubeconfig",
        ),
        (
            "/kubernetes/namespaces/demo/clusters",
            json!({ "metadata": { "name": "c" }, "spec": {} }),
            "kubeconfig",
        ),
    ] {
        let answer = world.post(path, &body).await;
        answer.invalid(place);
        assert!(!answer.text.contains("t0ps3cret"), "secrets are not repeated: {answer:?}");
    }
    assert_eq!(world.stored().await, 0);
    world.unharmed().await;
}

#[tokio::test]
async fn numbers_as_strings_and_fields_of_tomorrow_are_accepted() {
    let mut world = World::start().await;
    let body = with(application("a"), "/spec/backoff", json!("7"));
    let body = with(body, "/spec/of_tomorrow", json!({ "x": 1 }));
    let made = world.post(APPLICATIONS, &body).await.ok();
    assert_eq!((&made["spec"]["backoff"], made["spec"].get("of_tomorrow")), (&json!(7), None));
    world.unharmed().await;
}

#[tokio::test]
async fn bodies_that_are_no_json_or_too_large() {
    let mut world = World::start().await;
    let whole = metric("m", 1.0).to_string();
    for cut in ["", "{", "nonsense", &whole[..whole.len() - 1], "{\"metadata\": \u{0}}"] {
        post_text(&world, METRICS, "application/json", cut.to_owned()).await.problem(415);
    }
    post_text(&world, METRICS, "application/json", vec![b'{', 0xff, 0xfe, b'}']).await.problem(415);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let answer = post_text(&world, METRICS, "application/json", deep).await;
    assert!([415, 422].contains(&answer.problem(answer.status)["status"].as_u64().unwrap()), "{answer:?}");
    let spec = with(application("a"), "/spec/manifest/0/data", json!({ "text": "x".repeat(4 << 20) }));
    world.post(APPLICATIONS, &spec).await.invalid("spec.manifest");
    let large =
        with(application("a"), "/spec/manifest/0/data", json!({ "text": "x".repeat(10 << 20) })).to_string();
    let size = large.len();
    let answer = post_text(&world, APPLICATIONS, "application/json", large).await;
    answer.refused(413, "Maximum request body size 8388608 exceeded");
    assert!(size > 10 << 20);
    // Upstream does not look at the content type.
    assert_eq!(post_text(&world, METRICS, "text/plain", whole).await.ok()["metadata"]["name"], "m");
    assert_eq!(world.stored().await, 1);
    world.unharmed().await;
}

#[tokio::test]
async fn queries_that_mean_nothing() {
    let mut world = World::start().await;
    for query in ["heartbeat=-1", "watch&heartbeat=-1"] {
        let answer = world.get(&format!("{METRICS}?{query}")).await;
        let problem = answer.problem(422);
        let detail: Value = serde_json::from_str(problem["detail"].as_str().unwrap()).unwrap();
        assert_eq!(detail, json!({ "query": { "heartbeat": ["Must be greater than or equal to 0."] } }));
    }
    for query in ["heartbeat=soon", "watch&heartbeat=1.5", "watch&resource_version=x", "label_selector=(("] {
        world.get(&format!("{METRICS}?{query}")).await.problem(422);
    }
    world.get(&format!("{METRICS}?unknown=7&another")).await.ok();
    let waiting = world.post(&format!("{APPLICATIONS}?blocking=nonsense"), &application("a")).await;
    assert_eq!(waiting.problem(422)["status"], 422);
    assert_eq!(world.stored().await, 0, "nothing was made to wait for");
    world.unharmed().await;
}

#[tokio::test]
async fn names_that_lead_elsewhere() {
    let mut world = World::start().await;
    for name in ["", "..", ".", "../clusters", "a/b", "a b", "ä", "a\u{0}", "%2e%2e", "-a", &"x".repeat(256)]
    {
        world.post(METRICS, &metric(name, 1.0)).await.invalid("metadata.name");
    }
    world.post("/core/namespaces/n%20s/metrics", &metric("m", 1.0)).await.invalid("namespace");
    world.post("/core/namespaces/-/metrics", &metric("m", 1.0)).await.problem(422);
    assert_eq!(world.stored().await, 0);

    world.post(METRICS, &metric("m", 1.0)).await.ok();
    for (path, statuses) in [
        // As they stand; the test's own HTTP client would tidy them up.
        ("/core/namespaces/demo/metrics/%2e%2e", [404, 422]),
        ("/core/namespaces/demo/metrics/..%2fmetrics%2fm", [404, 422]),
        ("/core/namespaces/demo/metrics/../metrics/m", [404, 404]),
        ("/core/namespaces/demo/metrics/%256d", [404, 422]),
        ("/core/namespaces/demo/metrics/%ff", [400, 404]),
        ("/core/namespaces/demo/metrics/m%00", [404, 422]),
        ("/core/namespaces//metrics/m", [404, 422]),
        ("/core/namespaces/-/metrics/m", [404, 422]),
        ("//core/globalmetrics", [404, 404]),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let answer = world.raw(request.as_bytes()).await;
        let status: u16 = answer.split(' ').nth(1).unwrap_or_default().parse().unwrap_or_default();
        assert!(statuses.contains(&status), "{path}: {answer}");
        assert!(answer.contains("application/problem+json"), "{path}: {answer}");
    }
    // One level of encoding is how a colon may be sent.
    world.post(METRICS, &metric("a:b", 1.0)).await.ok();
    assert_eq!(world.get(&format!("{METRICS}/a%3Ab")).await.ok()["metadata"]["name"], "a:b");
    world.unharmed().await;
}

#[tokio::test]
async fn methods_that_no_route_has() {
    let mut world = World::start().await;
    for method in ["PATCH", "TRACE", "PROPFIND"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        world.send(method, METRICS, &Value::Null).await.refused(405, "Method Not Allowed");
    }
    world.put(METRICS, &metric("m", 1.0)).await.problem(405);
    world.post(&format!("{METRICS}/m"), &metric("m", 1.0)).await.problem(405);
    assert_eq!(world.stored().await, 0);
    world.unharmed().await;
}
