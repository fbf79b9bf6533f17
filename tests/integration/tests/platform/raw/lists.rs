//! Lists: pages, selectors, metadata alone.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::api::Api;
use crate::report::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("a list page by page", pages),
        case("lists by label and by field", selectors),
        case("selectors and tokens are checked", wrong_queries),
        case("an empty list", nothing),
    ]
}

fn labelled(name: &str, labels: Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}})
}

fn names(list: &Value) -> BTreeSet<String> {
    let items = list["items"].as_array().into_iter().flatten();
    items.map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn pages(api: Api) -> Result<()> {
    for index in 0..5 {
        api.post(&api.core("secrets"), &labelled(&format!("s{index}"), json!({"of": "pages"})))
            .await?
            .expect(201)?;
    }
    let mut found = Vec::new();
    let mut token = String::new();
    for _ in 0..3 {
        // All have the label; the default account's token, of real servers, has not.
        let base = format!("{}?labelSelector=of%3Dpages&limit=2", api.core("secrets"));
        let path = if token.is_empty() { base } else { format!("{base}&continue={token}") };
        let page = api.call(reqwest::Method::GET, &path, crate::api::JSON, None).await?.expect(200)?;
        ensure!(!page.version().is_empty(), "a list has a version to watch from: {page:?}");
        found.push(names(&page.body));
        token = page.text("/metadata/continue").to_owned();
        if token.is_empty() {
            break;
        }
    }
    api.note("pages", json!(found));
    let all: BTreeSet<String> = found.into_iter().flatten().collect();
    ensure!(all.len() == 5 && token.is_empty(), "{all:?}");
    Ok(())
}

async fn selectors(api: Api) -> Result<()> {
    for (name, labels) in
        [("a", json!({"x": "1"})), ("b", json!({"x": "2", "y": "1"})), ("c", json!({"z": "1"}))]
    {
        api.post(&api.core("secrets"), &labelled(name, labels)).await?.expect(201)?;
    }
    for selector in
        ["x", "x%3D1", "x!%3D1,x", "x in (1,2)", "x notin (1),x", "x,!y", "x%3D%3D2,y%3D1", "y%3D2"]
    {
        let selector = selector.replace(' ', "%20");
        let list =
            api.get(&format!("{}?labelSelector={selector}", api.core("secrets"))).await?.expect(200)?;
        ensure!(list.body["kind"] == "SecretList", "{list:?}");
    }
    let one =
        api.get(&format!("{}?fieldSelector=metadata.name%3Db", api.core("secrets"))).await?.expect(200)?;
    ensure!(names(&one.body) == BTreeSet::from(["b".to_owned()]), "{one:?}");
    let space = format!("metadata.namespace%3D{}", api.namespace);
    let everywhere =
        api.get(&format!("/api/v1/secrets?labelSelector=x&fieldSelector={space}")).await?.expect(200)?;
    ensure!(names(&everywhere.body).len() == 2, "{everywhere:?}");
    Ok(())
}

async fn wrong_queries(api: Api) -> Result<()> {
    for query in ["labelSelector=%3D%3D", "fieldSelector=data.x%3Dy", "continue=garbage"] {
        let path = format!("{}?{query}", api.core("configmaps"));
        api.get(&path).await?.refused(400, "BadRequest")?;
    }
    Ok(())
}

async fn nothing(api: Api) -> Result<()> {
    let list = api.get(&api.apps("daemonsets")).await?.expect(200)?;
    ensure!(list.body["items"] == json!([]), "{list:?}");
    api.get("/api/v1/namespaces/nowhere/secrets").await?.expect(200)?;
    Ok(())
}
