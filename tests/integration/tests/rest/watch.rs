//! Watches over REST: lines and heartbeats, Server-Sent Events, where they begin and how they go on.

use krake_integration::wait::HANG_GUARD;
use reqwest::Response;
use serde_json::{Value, json};

use crate::behaviour::metric;
use crate::world::World;

const METRICS: &str = "/core/namespaces/demo/metrics";

/// A stream of lines.
pub(crate) struct Lines {
    response: Response,
    buffer: String,
}

impl Lines {
    /// Opens a watch; the headers come when it is established.
    pub(crate) async fn open(world: &World, path: &str, headers: &[(&'static str, &str)]) -> Self {
        // Without the client's deadline for whole requests.
        let mut request = world.http.get(world.url(path)).timeout(std::time::Duration::from_secs(3600));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response =
            tokio::time::timeout(HANG_GUARD, request.send()).await.expect("the watch begins").unwrap();
        assert_eq!(response.status(), 200, "{path}");
        Lines { response, buffer: String::new() }
    }

    fn content_type(&self) -> &str {
        self.response.headers()["content-type"].to_str().unwrap()
    }

    /// The next line, without its end.
    pub(crate) async fn line(&mut self) -> String {
        loop {
            if let Some((line, rest)) = self.buffer.split_once('\n') {
                let line = line.to_owned();
                self.buffer = rest.to_owned();
                return line;
            }
            let chunk = tokio::time::timeout(HANG_GUARD, self.response.chunk()).await;
            let chunk = chunk.expect("a line comes").unwrap().expect("the stream goes on");
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next line that is no heartbeat, as JSON.
    pub(crate) async fn event(&mut self) -> Value {
        loop {
            let line = self.line().await;
            if !line.is_empty() {
                return serde_json::from_str(&line).unwrap();
            }
        }
    }

    /// The problem in the next line, which must be of the type ERROR and the last one.
    pub(crate) async fn error(mut self) -> Value {
        let mut last = self.event().await;
        assert_eq!(last["type"], "ERROR", "{last}");
        assert_eq!(self.buffer, "", "nothing follows");
        let end = tokio::time::timeout(HANG_GUARD, self.response.chunk()).await.expect("the end comes");
        assert!(end.expect("the answer is whole").is_none(), "nothing follows");
        last["object"].take()
    }

    /// The next Server-Sent Event with data: its members.
    async fn sent_event(&mut self) -> Value {
        let mut members = serde_json::Map::new();
        loop {
            let line = self.line().await;
            if line.is_empty() && members.contains_key("data") {
                return Value::Object(members);
            }
            if let Some((name, value)) = line.split_once(':').filter(|(name, _)| !name.is_empty()) {
                members.insert(name.to_owned(), value.trim_start().into());
            }
        }
    }
}

pub(crate) fn told(event: &Value) -> (&str, &str) {
    (event["type"].as_str().unwrap(), event["object"]["metadata"]["name"].as_str().unwrap())
}

#[tokio::test]
async fn lines_begin_now_and_tell_every_change() {
    let world = World::start().await;
    world.post(METRICS, &metric("before", 1.0)).await.ok();
    let mut lines = Lines::open(&world, &format!("{METRICS}?watch"), &[]).await;
    assert_eq!(lines.content_type(), "application/x-ndjson");
    let mut body = world.post(METRICS, &metric("m", 1.0)).await.ok();
    world.post("/core/namespaces/other/metrics", &metric("elsewhere", 1.0)).await.ok();
    body["spec"]["max"] = json!(2.0);
    world.put(&format!("{METRICS}/m"), &body).await.ok();
    world.delete(&format!("{METRICS}/m?force=True")).await.ok();

    let added = lines.event().await;
    assert_eq!(told(&added), ("ADDED", "m"), "nothing of before");
    assert_eq!((&added["object"]["kind"], &added["object"]["api"]), (&json!("Metric"), &json!("core")));
    let modified = lines.event().await;
    assert_eq!((told(&modified), &modified["object"]["spec"]["max"]), (("MODIFIED", "m"), &json!(2.0)));
    let mut last = lines.event().await;
    if last["type"] == "MODIFIED" {
        last = lines.event().await;
    }
    assert_eq!((told(&last), &last["object"]["spec"]["max"]), (("DELETED", "m"), &json!(2.0)));
}

#[tokio::test]
async fn heartbeats_are_empty_lines() {
    let world = World::start().await;
    let mut lines = Lines::open(&world, &format!("{METRICS}?watch&heartbeat=1"), &[]).await;
    for _ in 0..2 {
        assert_eq!(lines.line().await, "");
    }
    let mut quiet = Lines::open(&world, &format!("{METRICS}?watch&heartbeat=0"), &[]).await;
    world.post(METRICS, &metric("m", 1.0)).await.ok();
    assert!(!quiet.line().await.is_empty(), "the first line is the change");
}

#[tokio::test]
async fn presence_of_the_flag_counts() {
    let world = World::start().await;
    for query in ["watch=false", "watch=0", "watch="] {
        let mut lines = Lines::open(&world, &format!("{METRICS}?{query}"), &[]).await;
        let name = query.replace('=', "-") + "x";
        world.post(METRICS, &metric(&name, 1.0)).await.ok();
        assert_eq!(told(&lines.event().await), ("ADDED", name.as_str()), "{query}");
    }
}

#[tokio::test]
async fn of_all_namespaces_and_of_global_ones() {
    let world = World::start().await;
    let mut all = Lines::open(&world, "/core/metrics?watch", &[]).await;
    let mut global = Lines::open(&world, "/core/globalmetrics?watch", &[]).await;
    world.post("/core/globalmetrics", &metric("g", 1.0)).await.ok();
    world.post(METRICS, &metric("n", 1.0)).await.ok();
    assert_eq!(told(&all.event().await), ("ADDED", "n"));
    let event = global.event().await;
    assert_eq!((told(&event), &event["object"]["kind"]), (("ADDED", "g"), &json!("GlobalMetric")));
}

#[tokio::test]
async fn lines_resume_where_they_were_or_where_a_list_was() {
    let world = World::start().await;
    let listed = world.get(METRICS).await.ok()["metadata"].clone();
    for name in ["a", "b", "c"] {
        world.post(METRICS, &metric(name, 1.0)).await.ok();
    }
    let after = |version: &Value| format!("{METRICS}?watch&resource_version={version}");
    let mut lines = Lines::open(&world, &after(&listed["resource_version"]), &[]).await;
    let first = lines.event().await;
    assert_eq!((told(&first), told(&lines.event().await)), (("ADDED", "a"), ("ADDED", "b")));
    let epoch = listed["epoch"].as_str().unwrap();
    let resume = format!("{}&epoch={epoch}", after(&first["resource_version"]));
    let mut lines = Lines::open(&world, &resume, &[]).await;
    assert_eq!(told(&lines.event().await), ("ADDED", "b"));
    assert_eq!(told(&lines.event().await), ("ADDED", "c"));
    let of_another =
        format!("{}&epoch=00000000-0000-0000-0000-000000000000", after(&first["resource_version"]));
    world.get(&of_another).await.problem(410);
}

#[tokio::test]
async fn server_sent_events_resume_by_their_ids() {
    let world = World::start().await;
    let accept = ("accept", "text/event-stream");
    let path = format!("{METRICS}?watch");
    let mut events = Lines::open(&world, &path, &[accept]).await;
    assert!(events.content_type().starts_with("text/event-stream"), "{}", events.content_type());
    world.post(METRICS, &metric("a", 1.0)).await.ok();
    world.post(METRICS, &metric("b", 1.0)).await.ok();
    let first = events.sent_event().await;
    let data: Value = serde_json::from_str(first["data"].as_str().unwrap()).unwrap();
    assert_eq!((told(&data), &first["event"]), (("ADDED", "a"), &json!("ADDED")));
    drop(events);
    let id = first["id"].as_str().unwrap();
    let mut events = Lines::open(&world, &path, &[accept, ("last-event-id", id)]).await;
    let next = events.sent_event().await;
    let data: Value = serde_json::from_str(next["data"].as_str().unwrap()).unwrap();
    assert_eq!(told(&data), ("ADDED", "b"));
}

#[tokio::test]
async fn selectors_narrow_lists_and_watches() {
    let world = World::start().await;
    let selector = "label_selector=tier%3Dedge";
    let mut lines = Lines::open(&world, &format!("{METRICS}?watch&{selector}"), &[]).await;
    world.post(METRICS, &metric("other", 1.0)).await.ok();
    let mut body = metric("edge", 1.0);
    body["metadata"]["labels"] = json!({ "tier": "edge" });
    let mut made = world.post(METRICS, &body).await.ok();
    assert_eq!(told(&lines.event().await), ("ADDED", "edge"));
    let list = world.get(&format!("{METRICS}?{selector}")).await.ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    made["metadata"]["labels"] = json!({});
    world.put(&format!("{METRICS}/edge"), &made).await.ok();
    assert_eq!(told(&lines.event().await), ("LEFT_FILTER", "edge"));
}
