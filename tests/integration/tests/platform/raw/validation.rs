//! Fields that a kind does not have, fields that are given twice, and values of a wrong type: what is refused, what is
//! warned of, and in which words.

use anyhow::Result;
use reqwest::Method;
use serde_json::json;

use super::kinds::defined;
use crate::api::{APPLY, Api, JSON, MERGE, STRATEGIC};
use crate::report::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("unknown and repeated fields of a new object", created),
        case("unknown and repeated fields of a changed object", changed),
        case("what is applied must fit", applied),
        case("values of a wrong type", types),
        case("unknown fields of custom resources", custom),
        case("warnings of what an apply cannot tell apart", ambiguous),
    ]
}

/// A Deployment with more fields in its spec and its container, as text: JSON values have no field twice.
fn deployment(spec: &str, container: &str) -> String {
    format!(
        r#"{{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {{"name": "d"}}, "spec": {{{spec}
        "selector": {{"matchLabels": {{"a": "b"}}}}, "template": {{"metadata": {{"labels": {{"a": "b"}}}},
        "spec": {{"containers": [{{"name": "c", "image": "none"{container}}}]}}}}}}}}"#
    )
}

const MODES: [&str; 4] = ["fieldValidation=Strict", "fieldValidation=Warn", "fieldValidation=Ignore", ""];

/// A request; its code, its message behind any object that it quotes, and its warnings are compared.
async fn told(api: &Api, method: Method, path: &str, content: &str, body: &str) -> Result<u16> {
    let reply = api.call(method, path, content, Some(body.to_owned())).await?;
    let message = match reply.code {
        200..300 => "",
        // What the patch makes holds a uid.
        422 => reply.text("/message").rsplit("}\": ").next().unwrap_or_default(),
        _ => reply.text("/message"),
    };
    api.note(path, json!([reply.code, reply.body["reason"], sorted(message), reply.warnings]));
    Ok(reply.code)
}

/// The subject of a message and the mistakes that it names: a real server names those of a custom resource in any order.
fn sorted(message: &str) -> Vec<&str> {
    let Some((subject, mistakes)) = message.split_once("is invalid: [") else { return vec![message] };
    let mut mistakes: Vec<&str> = mistakes.trim_end_matches(']').split(", ").collect();
    mistakes.sort_unstable();
    mistakes.insert(0, subject);
    mistakes
}

async fn created(api: Api) -> Result<()> {
    let path = api.apps("deployments?dryRun=All");
    let typos = deployment(
        r#""replcias": 3,"#,
        r#", "imagee": "x", "env": [{"name": "A", "value": "1", "value": "2"}]"#,
    );
    for mode in MODES {
        told(&api, Method::POST, &format!("{path}&{mode}"), JSON, &typos).await?;
    }
    told(&api, Method::POST, &format!("{path}&fieldValidation=Never"), JSON, &deployment("", "")).await?;
    let map = r#"{"metadata": {"name": "m", "nmae": "x"}, "dta": {"a": "1"}, "data": {"a": "1", "a": "2"}}"#;
    for mode in MODES {
        told(&api, Method::POST, &format!("{}&{mode}", api.core("configmaps?dryRun=All")), JSON, map).await?;
    }
    Ok(())
}

async fn changed(api: Api) -> Result<()> {
    api.post(&api.core("configmaps"), &json!({"metadata": {"name": "m"}, "data": {"a": "1"}}))
        .await?
        .expect(201)?;
    let path = api.core("configmaps/m?dryRun=All");
    let put = r#"{"metadata": {"name": "m"}, "data": {"a": "1"}, "foo": 1}"#;
    let patch = r#"{"dta": {"a": "1"}, "data": {"b": "1", "b": "2"}}"#;
    for mode in MODES {
        told(&api, Method::PUT, &format!("{path}&{mode}"), JSON, put).await?;
        told(&api, Method::PATCH, &format!("{path}&{mode}"), MERGE, patch).await?;
    }
    let patch = r#"{"dta": {"a": "1"}}"#;
    for mode in MODES {
        told(&api, Method::PATCH, &format!("{path}&{mode}"), STRATEGIC, patch).await?;
    }
    told(&api, Method::PATCH, &path, MERGE, r#"{"data": {"b": 1}}"#).await?;
    Ok(())
}

async fn applied(api: Api) -> Result<()> {
    let path = api.apps("deployments/d?dryRun=All&fieldManager=krake");
    for (spec, container) in [
        (r#""replcias": 3,"#, ""),
        // One mistake each: servers look at fields in random order, and stop at some mistakes.
        (r#""replicas": "three","#, ""),
        (r#""paused": "yes","#, ""),
        (r#""strategy": "x","#, ""),
        ("", r#", "env": {"a": 1}"#),
        ("", r#", "env": [{"name": "a", "value": 1}]"#),
        ("", r#", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]"#),
        ("", r#", "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}]"#),
    ] {
        told(&api, Method::PATCH, &path, APPLY, &deployment(spec, container)).await?;
    }
    for resources in [r#"{"limits": {"cpu": true}}"#, r#"{"limits": {"cpu": "abc"}}"#] {
        let body = deployment("", &format!(r#", "resources": {resources}"#));
        told(&api, Method::PATCH, &path, APPLY, &body).await?;
    }
    for (kind, plural, more) in [
        ("Secret", "secrets", r#""data": {"k": "hunter2 is no base64!"}"#),
        ("Secret", "secrets", r#""stringData": {"k": 7}"#),
        ("Service", "services", r#""spec": {"ports": [{"port": "http"}]}"#),
        ("Service", "services", r#""spec": {"ports": [{"port": 80, "targetPort": true}]}"#),
    ] {
        let body =
            format!(r#"{{"apiVersion": "v1", "kind": "{kind}", "metadata": {{"name": "s"}}, {more}}}"#);
        let path = api.core(plural);
        told(&api, Method::POST, &format!("{path}?dryRun=All"), JSON, &body).await?;
        told(&api, Method::PATCH, &format!("{path}/s?dryRun=All&fieldManager=krake"), APPLY, &body).await?;
    }
    // In one line: the line is told too.
    let twice = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "1", "a": "2"}}"#;
    for mode in MODES {
        let path = format!("{}&{mode}", api.core("configmaps/m?dryRun=All&fieldManager=krake"));
        told(&api, Method::PATCH, &path, APPLY, twice).await?;
    }
    Ok(())
}

async fn types(api: Api) -> Result<()> {
    let path = api.apps("deployments?dryRun=All");
    for (spec, container) in [
        (r#""replicas": "three","#, ""),
        (r#""replicas": 3.5,"#, ""),
        (r#""paused": "x","#, ""),
        (r#""strategy": "x","#, ""),
        ("", r#", "env": {"a": 1}"#),
        ("", r#", "env": [{"name": "a", "value": 1}]"#),
        ("", r#", "ports": "x""#),
        ("", r#", "resources": {"limits": {"cpu": true}}"#),
        ("", r#", "resources": {"limits": {"cpu": "abc"}}"#),
    ] {
        told(&api, Method::POST, &path, JSON, &deployment(spec, container)).await?;
    }
    let map = r#"{"metadata": {"name": "m"}, "data": {"a": 1}}"#;
    told(&api, Method::POST, &api.core("configmaps?dryRun=All"), JSON, map).await?;
    Ok(())
}

async fn custom(api: Api) -> Result<()> {
    let path = defined(&api, "mugs", "Mug").await?;
    let typos = r#"{"apiVersion": "suite.example.org/v1", "kind": "Mug", "metadata": {"name": "a", "nmae": "x"},
        "top": 1, "spec": {"size": 1, "other": 2, "parts": [{"name": "x", "value": "y", "value": "z", "b": 1}]}}"#;
    for mode in MODES {
        told(&api, Method::POST, &format!("{path}?dryRun=All&{mode}"), JSON, typos).await?;
        let one = format!("{path}/a?dryRun=All&fieldManager=krake&{mode}");
        let typo = r#"{"apiVersion": "suite.example.org/v1", "kind": "Mug", "metadata": {"name": "a"},
            "spec": {"parts": [{"name": "x", "b": 1}]}}"#;
        told(&api, Method::PATCH, &one, APPLY, typo).await?;
    }
    let wrong = r#"{"apiVersion": "suite.example.org/v1", "kind": "Mug", "metadata": {"name": "a"},
        "spec": {"size": [1], "tags": 3}}"#;
    told(&api, Method::POST, &format!("{path}?dryRun=All"), JSON, wrong).await?;
    let wrong = wrong.replace(r#", "tags": 3"#, "");
    told(&api, Method::PATCH, &format!("{path}/a?dryRun=All&fieldManager=krake"), APPLY, &wrong).await?;
    let labels = r#"{"apiVersion": "suite.example.org/v1", "kind": "Mug", "metadata": {"name": "a", "labels": {"a": 1}}}"#;
    told(&api, Method::POST, &format!("{path}?dryRun=All"), JSON, labels).await?;
    let mug = json!({"apiVersion": "suite.example.org/v1", "kind": "Mug", "metadata": {"name": "b"},
        "spec": {"size": 1}});
    api.post(&path, &mug).await?.expect(201)?;
    for mode in MODES {
        let patch = r#"{"spec": {"size": 1, "other": 2}}"#;
        told(&api, Method::PATCH, &format!("{path}/b?dryRun=All&{mode}"), MERGE, patch).await?;
    }
    told(&api, Method::PUT, &format!("{path}/b?dryRun=All"), JSON, &mug.to_string()).await?;
    Ok(())
}

async fn ambiguous(api: Api) -> Result<()> {
    let path = api.apps("deployments?dryRun=All");
    for container in [
        r#", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]"#,
        r#", "ports": [{"containerPort": 80}, {"containerPort": 80}]"#,
    ] {
        told(&api, Method::POST, &path, JSON, &deployment("", container)).await?;
    }
    Ok(())
}
