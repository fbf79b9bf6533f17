//! Workloads, which come to run, and nodes.

use anyhow::{Result, ensure};
use krake_integration::wait::{self, HANG_GUARD};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Api, JSON, Reply, STRATEGIC};
use crate::report::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("a Deployment comes to run, and again after a change", deployment),
        case("generations count changes of the spec", generations),
        case("StatefulSets, DaemonSets, Jobs and Pods come to run", others),
        case("workloads are checked", rules),
        case("nodes and their conditions", nodes),
    ]
}

fn workload(kind: &str, name: &str, more: Value) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": "none"}]}}});
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn number(reply: &Reply, field: &str) -> u64 {
    reply.body["status"][field].as_u64().unwrap_or(0)
}

fn seen(reply: &Reply) -> bool {
    reply.body["status"]["observedGeneration"] == reply.body["metadata"]["generation"]
}

async fn deployment(api: Api) -> Result<()> {
    let path = api.apps("deployments/web");
    let made = api
        .post(&api.apps("deployments"), &workload("Deployment", "web", json!({"replicas": 2})))
        .await?
        .expect(201)?;
    ensure!(number(&made, "availableReplicas") == 0, "not at once: {made:?}");
    let runs = |replicas: u64| {
        move |reply: &Reply| {
            seen(reply)
                && ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"]
                    .iter()
                    .all(|field| number(reply, field) == replicas)
        }
    };
    let running = api.until(&path, runs(2)).await?;
    let mut conditions: Vec<[Value; 2]> = running.body["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|condition| [condition["type"].clone(), condition["status"].clone()])
        .collect();
    conditions.sort_by_key(|[kind, _]| kind.to_string());
    api.note("conditions", json!(conditions));
    api.note("unavailable", running.body["status"]["unavailableReplicas"].clone());
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "other"}]}}}})
        .to_string();
    api.call(Method::PATCH, &path, STRATEGIC, Some(image)).await?.expect(200)?;
    let again = api.until(&path, runs(2)).await?;
    ensure!(again.body["metadata"]["generation"] == 2, "{again:?}");
    Ok(())
}

async fn generations(api: Api) -> Result<()> {
    let path = api.apps("deployments/web");
    let object = workload("Deployment", "web", json!({"replicas": 0}));
    let generation = |reply: Reply| reply.body["metadata"]["generation"].as_u64().unwrap_or(0);
    ensure!(generation(api.apply("krake", &path, &object).await?) == 1);
    ensure!(generation(api.apply("krake", &path, &object).await?) == 1);
    let mut labelled = object.clone();
    labelled["metadata"]["labels"] = json!({"x": "y"});
    ensure!(generation(api.apply("krake", &path, &labelled).await?) == 1);
    labelled["spec"]["minReadySeconds"] = json!(1);
    ensure!(generation(api.apply("krake", &path, &labelled).await?) == 2);
    ensure!(generation(api.apply("krake", &path, &object).await?) == 3);
    Ok(())
}

async fn others(api: Api) -> Result<()> {
    let make = async |path: String, object: Value| {
        api.call(Method::POST, &path, JSON, Some(object.to_string())).await?.expect(201)
    };
    let stateful = workload("StatefulSet", "db", json!({"replicas": 1, "serviceName": "db"}));
    make(api.apps("statefulsets"), stateful).await?;
    make(api.apps("daemonsets"), workload("DaemonSet", "agent", json!({}))).await?;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": "none"}]}});
    // Real servers refuse pods until the namespace's account has its token.
    let made = async || make(api.core("pods"), pod.clone()).await.ok();
    wait::until("the pod to be accepted", HANG_GUARD, made).await?;
    let jobs = format!("/apis/batch/v1/namespaces/{}/jobs", api.namespace);
    let job = json!({"metadata": {"name": "once"}, "spec": {"template": {"spec": {"restartPolicy": "Never",
        "containers": [{"name": "main", "image": "none"}]}}}});
    make(jobs.clone(), job).await?;
    let at = api.apps("statefulsets/db");
    let runs = api.until(&at, |reply| seen(reply) && number(reply, "readyReplicas") == 1).await?;
    let revisions = ["currentRevision", "updateRevision"].map(|field| !runs.body["status"][field].is_null());
    api.note(
        "StatefulSet has revisions, and the same",
        json!([revisions, runs.body["status"]["currentRevision"] == runs.body["status"]["updateRevision"]]),
    );
    let at = api.apps("daemonsets/agent");
    let runs = api.until(&at, |reply| seen(reply) && number(reply, "numberAvailable") == 1).await?;
    let fields =
        ["desiredNumberScheduled", "updatedNumberScheduled", "numberReady", "currentNumberScheduled"];
    api.note("DaemonSet", json!(fields.map(|field| number(&runs, field))));
    api.until(&format!("{jobs}/once"), |reply| number(reply, "active") + number(reply, "succeeded") == 1)
        .await?;
    let ready = |reply: &Reply| {
        if reply.body["status"]["phase"] != "Running" {
            return false;
        }
        let conditions = reply.body["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    let pod = api.until(&api.core("pods/one"), ready).await?;
    api.note("Pod", pod.body["status"]["phase"].clone());
    Ok(())
}

async fn rules(api: Api) -> Result<()> {
    let path = api.apps("deployments");
    let mut mismatched = workload("Deployment", "a", json!({}));
    mismatched["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    api.post(&path, &mismatched).await?.refused(422, "Invalid")?;
    api.post(&path, &json!({"metadata": {"name": "a"}})).await?.refused(422, "Invalid")?;
    let mut nameless = workload("Deployment", "a", json!({}));
    nameless["spec"]["template"]["spec"]["containers"] = json!([{"image": "i"}]);
    api.post(&path, &nameless).await?.refused(422, "Invalid")?;
    api.post(&path, &workload("Deployment", "a", json!({"replicas": 0}))).await?.expect(201)?;
    let other = json!({"spec": {"selector": {"matchLabels": {"app": "z"}},
        "template": {"metadata": {"labels": {"app": "z"}}}}});
    api.patch(&format!("{path}/a"), &other).await?.refused(422, "Invalid")?;
    Ok(())
}

async fn nodes(api: Api) -> Result<()> {
    let list = api.call(Method::GET, "/api/v1/nodes", JSON, None).await?.expect(200)?.body;
    let node = list["items"][0].clone();
    let status = |node: &Value, kind: &str| {
        let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        conditions.find(|condition| condition["type"] == kind).map(|condition| condition["status"].clone())
    };
    let kinds = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
    api.note("conditions", json!(kinds.map(|kind| status(&node, kind))));
    let path = format!("/api/v1/nodes/{}/status", node["metadata"]["name"].as_str().unwrap_or_default());
    let set = async |value: &str| {
        let patch =
            json!({"status": {"conditions": [{"type": "ExamplePressure", "status": value}]}}).to_string();
        api.call(Method::PATCH, &path, STRATEGIC, Some(patch)).await?.expect(200)
    };
    let pressed = set("True").await?.body;
    api.note("with another", json!([status(&pressed, "ExamplePressure"), status(&pressed, "Ready")]));
    let without =
        json!({"status": {"conditions": [{"type": "ExamplePressure", "$patch": "delete"}]}}).to_string();
    let relieved = api.call(Method::PATCH, &path, STRATEGIC, Some(without)).await?.expect(200)?.body;
    api.note("without it", json!([status(&relieved, "ExamplePressure"), status(&relieved, "Ready")]));
    Ok(())
}
