//! Watches: what they tell, from where they resume, how they end.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::kinds::definition;
use super::objects::config_map;
use crate::api::Api;
use crate::report::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("a watch tells every change after a version", changes),
        case("a watch without version begins with what is there", from_start),
        case("an object that leaves the selection is deleted to a watch", leaving),
        case("a watch ends in time, with a bookmark before", bookmark),
        case("a watch from too old a version is told so", too_old),
        case("a watch from no version is refused", malformed),
    ]
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap_or_default()).collect()
}

fn version(event: &Value) -> &str {
    event["object"]["metadata"]["resourceVersion"].as_str().unwrap_or_default()
}

/// Objects that are the case's alone: others come and go in a namespace of a real cluster.
fn watching(api: &Api, query: &str) -> String {
    format!("{}?watch=true&labelSelector=case&timeoutSeconds=8{query}", api.core("configmaps"))
}

fn ours(name: &str, label: &str) -> Value {
    let mut object = config_map(name, json!({}));
    object["metadata"]["labels"] = json!({"case": label});
    object
}

async fn changes(api: Api) -> Result<()> {
    let list =
        api.call(reqwest::Method::GET, &api.core("configmaps"), crate::api::JSON, None).await?.expect(200)?;
    let path = api.core("configmaps/a");
    api.post(&api.core("configmaps"), &ours("a", "x")).await?.expect(201)?;
    api.patch(&path, &json!({"data": {"k": "v"}})).await?.expect(200)?;
    api.delete(&path, &json!({})).await?.expect(200)?;
    let start = watching(&api, "");
    let events = watch_from(&api, &start, list.version(), 3).await?;
    ensure!(types(&events) == ["ADDED", "MODIFIED", "DELETED"], "{events:?}");
    let versions: Vec<u64> = events.iter().filter_map(|event| version(event).parse().ok()).collect();
    ensure!(versions.len() == 3 && versions.is_sorted(), "{versions:?}");
    // Whoever resumes from an event misses nothing and is told nothing twice.
    let rest = watch_from(&api, &start, version(&events[0]), 2).await?;
    ensure!(types(&rest) == ["MODIFIED", "DELETED"], "{rest:?}");
    Ok(())
}

/// Versions differ from server to server, so they are no part of what is compared.
async fn watch_from(api: &Api, path: &str, version: &str, events: usize) -> Result<Vec<Value>> {
    let other = api.unrecorded();
    let found = other.watch(&format!("{path}&resourceVersion={version}"), events).await?;
    api.note("events", json!(types(&found)));
    Ok(found)
}

async fn from_start(api: Api) -> Result<()> {
    for name in ["a", "b"] {
        api.post(&api.core("configmaps"), &ours(name, "x")).await?.expect(201)?;
    }
    for query in ["", "&resourceVersion=0"] {
        let events = api.unrecorded().watch(&watching(&api, query), 2).await?;
        ensure!(types(&events) == ["ADDED", "ADDED"], "{events:?}");
        // In no order.
        let names: BTreeSet<_> =
            events.iter().map(|event| event["object"]["metadata"]["name"].to_string()).collect();
        api.note("events", json!(names));
    }
    Ok(())
}

async fn leaving(api: Api) -> Result<()> {
    let path = api.core("configmaps/a");
    let made = api.post(&api.core("configmaps"), &ours("a", "x")).await?.expect(201)?;
    api.patch(&path, &json!({"metadata": {"labels": {"case": null}}})).await?.expect(200)?;
    api.patch(&path, &json!({"data": {"k": "v"}})).await?.expect(200)?;
    api.patch(&path, &json!({"metadata": {"labels": {"case": "x"}}})).await?.expect(200)?;
    let events = watch_from(&api, &watching(&api, ""), made.version(), 2).await?;
    ensure!(types(&events) == ["DELETED", "ADDED"], "{events:?}");
    let told = events[0]["object"].clone();
    api.note("what is told of the object that left", json!([told["metadata"]["labels"], told["data"]]));
    Ok(())
}

async fn bookmark(api: Api) -> Result<()> {
    let none = format!("{}?watch=true&labelSelector=none", api.core("secrets"));
    let path = format!("{none}&allowWatchBookmarks=true&timeoutSeconds=5");
    let watched = api.unrecorded();
    let mut last = Vec::new();
    // Servers send a bookmark about two seconds before the end. A starved server may miss that moment.
    for _ in 0..5 {
        last = tokio::select! {
            events = watched.watch(&path, usize::MAX) => events?,
            error = stir(&api) => error?,
        };
        if !last.is_empty() {
            break;
        }
    }
    ensure!(!last.is_empty() && types(&last).iter().all(|kind| *kind == "BOOKMARK"), "{last:?}");
    ensure!(!version(&last[0]).is_empty(), "{last:?}");
    api.note("kind of a bookmark's object", last[0]["object"]["kind"].clone());
    let without = format!("{none}&timeoutSeconds=2");
    let events = api.watch(&without, usize::MAX).await?;
    ensure!(events.is_empty(), "{events:?}");
    Ok(())
}

/// Creates secrets without end: a real server sends a bookmark only if something has changed since the watch began.
async fn stir(api: &Api) -> Result<Vec<Value>> {
    let other = api.unrecorded();
    loop {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"generateName": "stir-"}});
        other.post(&api.core("secrets"), &secret).await?.expect(201)?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Of a new kind no server remembers the beginning of time.
async fn too_old(api: Api) -> Result<()> {
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    api.post(definitions, &definition("olds", "Old")).await?.expect(201)?;
    let path = format!("/apis/suite.example.org/v1/namespaces/{}/olds", api.namespace);
    api.until(&path, |reply| reply.code == 200).await?;
    let other = api.unrecorded();
    let events = other.watch(&format!("{path}?watch=true&resourceVersion=1&timeoutSeconds=5"), 1).await?;
    ensure!(types(&events) == ["ERROR"], "{events:?}");
    let object = &events[0]["object"];
    api.note("the error", json!([object["kind"], object["code"], object["reason"], object["status"]]));
    ensure!(object["code"] == 410, "{object}");
    api.delete(&format!("{definitions}/olds.suite.example.org"), &json!({})).await?.expect(200)?;
    Ok(())
}

async fn malformed(api: Api) -> Result<()> {
    api.get(&format!("{}?watch=true&resourceVersion=abc", api.core("configmaps"))).await?.expect(500)?;
    Ok(())
}
