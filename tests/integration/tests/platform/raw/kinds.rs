//! Kinds: what a server tells of them, custom ones, and namespaces.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use super::objects::config_map;
use crate::api::{Api, JSON, STRATEGIC};
use crate::report::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("version, groups and health", server),
        case("kinds as they are served", resources),
        case("a definition brings its kind along", custom_kind),
        case("custom resources are checked", custom_rules),
        case("a definition takes its objects along", custom_end),
        case("a namespace takes its objects along", namespace),
        case("nothing new in a namespace that goes", terminating),
        case("metadata alone", metadata_only),
    ]
}

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

pub(super) fn definition(plural: &str, kind: &str) -> Value {
    let spec = json!({"type": "object", "properties": {
        "size": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"],
                "properties": {"name": {"type": "string"}, "value": {"type": "string"}}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
    let status = json!({"type": "object", "properties": {"phase": {"type": "string"}}});
    let schema = json!({"type": "object", "properties": {"spec": spec, "status": status}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.suite.example.org")},
        "spec": {"group": "suite.example.org", "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": schema}}]},
    })
}

async fn server(api: Api) -> Result<()> {
    let get = async |path: &str| api.call(Method::GET, path, JSON, None).await?.expect(200);
    let version = get("/version").await?;
    api.note("version", json!([version.text("/major"), version.text("/minor"), version.text("/gitVersion")]));
    api.note("core versions", get("/api").await?.body["versions"].clone());
    let groups = get("/apis").await?.body;
    let mut known = BTreeMap::new();
    for name in ["apps", "batch", "networking.k8s.io", "rbac.authorization.k8s.io", "apiextensions.k8s.io"] {
        let mut all = groups["groups"].as_array().into_iter().flatten();
        let group = all.find(|group| group["name"] == name).context(name)?;
        known.insert(name, group["preferredVersion"]["groupVersion"].clone());
        get(&format!("/apis/{name}")).await?;
    }
    api.note("groups", json!(known));
    for path in ["/healthz", "/livez", "/readyz"] {
        get(path).await?;
    }
    Ok(())
}

async fn resources(api: Api) -> Result<()> {
    let kinds = [
        (
            "/api/v1",
            "configmaps,endpoints,events,limitranges,namespaces,nodes,persistentvolumeclaims,persistentvolumes,pods,\
             resourcequotas,secrets,services,serviceaccounts",
        ),
        ("/apis/apps/v1", "daemonsets,deployments,replicasets,statefulsets"),
        ("/apis/batch/v1", "cronjobs,jobs"),
        ("/apis/networking.k8s.io/v1", "ingressclasses,ingresses,networkpolicies"),
        ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
        ("/apis/policy/v1", "poddisruptionbudgets"),
        ("/apis/discovery.k8s.io/v1", "endpointslices"),
        ("/apis/coordination.k8s.io/v1", "leases"),
        ("/apis/scheduling.k8s.io/v1", "priorityclasses"),
        ("/apis/storage.k8s.io/v1", "storageclasses"),
        (
            "/apis/admissionregistration.k8s.io/v1",
            "mutatingwebhookconfigurations,validatingwebhookconfigurations",
        ),
        ("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings,clusterroles,rolebindings,roles"),
        ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions"),
    ];
    // Of a version that is not served, and of an object: the first names none.
    for path in [
        "/apis/batch/v1beta1",
        "/apis/batch/v1beta1/cronjobs",
        "/apis/batch/v1beta1/namespaces/default/cronjobs/none",
        "/apis/batch/v1/namespaces/default/cronjobs/none",
        "/apis/none.example.org/v1",
    ] {
        api.get(path).await?.expect(404)?;
    }
    for (path, plurals) in kinds {
        let list = api.call(Method::GET, path, JSON, None).await?.expect(200)?.body;
        for plural in plurals.split(',') {
            for name in [plural.to_owned(), format!("{plural}/status")] {
                let mut all = list["resources"].as_array().into_iter().flatten();
                let found = all.find(|resource| resource["name"] == name.as_str()).cloned();
                api.note(&format!("{path} {name}"), found.map(described).unwrap_or_default());
            }
        }
    }
    Ok(())
}

/// A resource of a list, without what only caches and printers look at.
fn described(mut resource: Value) -> Value {
    let mut verbs: Vec<Value> = resource["verbs"].as_array().cloned().unwrap_or_default();
    // The simulator answers it with 501, and says so by leaving it out.
    verbs.retain(|verb| verb != "deletecollection");
    verbs.sort_by_key(Value::to_string);
    resource["verbs"] = json!(verbs);
    resource.as_object_mut().unwrap().remove("storageVersionHash");
    resource
}

pub(super) async fn defined(api: &Api, plural: &str, kind: &str) -> Result<String> {
    api.post(DEFINITIONS, &definition(plural, kind)).await?.expect(201)?;
    let established = |reply: &crate::api::Reply| {
        let conditions = reply.body["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|one| one["type"] == "Established" && one["status"] == "True")
    };
    api.until(&format!("{DEFINITIONS}/{plural}.suite.example.org"), established).await?;
    let path = format!("/apis/suite.example.org/v1/namespaces/{}/{plural}", api.namespace);
    api.until(&path, |reply| reply.code == 200).await?;
    Ok(path)
}

fn custom(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "suite.example.org/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

async fn custom_kind(api: Api) -> Result<()> {
    let path = defined(&api, "tubs", "Tub").await?;
    let list = api.call(Method::GET, "/apis/suite.example.org/v1", JSON, None).await?.expect(200)?.body;
    let mut all = list["resources"].as_array().into_iter().flatten();
    let found = all.find(|resource| resource["name"] == "tubs").cloned().context("tubs")?;
    api.note("tubs", described(found));
    for path in ["/apis/suite.example.org/v0", "/apis/suite.example.org/v0/namespaces/default/tubs/a"] {
        api.get(path).await?.expect(404)?;
    }
    let made = api.post(&path, &custom("Tub", "a", json!({"size": 1, "unknown": 2}))).await?.expect(201)?;
    ensure!(made.body["spec"] == json!({"size": 1}), "{made:?}");
    let one = format!("{path}/a");
    let changed = api.patch(&one, &json!({"spec": {"size": 2}})).await?.expect(200)?;
    ensure!(changed.body["metadata"]["generation"] == 2, "{changed:?}");
    let labelled = api.patch(&one, &json!({"metadata": {"labels": {"x": "y"}}})).await?.expect(200)?;
    ensure!(labelled.body["metadata"]["generation"] == 2, "{labelled:?}");
    api.patch(&format!("{one}/status"), &json!({"status": {"phase": "Full"}, "spec": {"size": 3}}))
        .await?
        .expect(200)?;
    api.patch(&one, &json!({"status": {"phase": "Empty"}})).await?.expect(200)?;
    let list = api.get(&path).await?.expect(200)?;
    ensure!(list.body["items"][0]["kind"] == "Tub", "items of custom kinds tell their kind: {list:?}");
    let other = format!("{path}/b");
    let parts = json!({"parts": [{"name": "x", "value": "1"}, {"name": "y"}], "tags": ["a"], "free": {"deep": {"k": 1}}});
    api.apply("krake", &other, &custom("Tub", "b", parts)).await?.expect(201)?;
    let theirs = json!({"free": {"deep": {"k": 2, "l": 1}}});
    api.apply("other", &other, &custom("Tub", "b", theirs)).await?.refused(409, "Conflict")?;
    let beside = json!({"free": {"deep": {"l": 1}, "list": [1], "none": {}}});
    api.apply("other", &other, &custom("Tub", "b", beside)).await?.expect(200)?;
    let more = json!({"parts": [{"name": "z"}], "tags": ["b"], "free": {"wide": {"l": 1}}});
    api.apply("other", &other, &custom("Tub", "b", more)).await?.expect(200)?;
    let less = api
        .apply("krake", &other, &custom("Tub", "b", json!({"parts": [{"name": "y"}]})))
        .await?
        .expect(200)?;
    ensure!(less.body["spec"]["tags"] == json!(["b"]), "{less:?}");
    Ok(())
}

async fn custom_rules(api: Api) -> Result<()> {
    let path = defined(&api, "pots", "Pot").await?;
    api.post(&path, &custom("Pot", "a", json!({"size": "much"}))).await?.refused(422, "Invalid")?;
    api.post(&path, &json!({"metadata": {"name": "a"}})).await?.refused(400, "BadRequest")?;
    let undeclared = custom("Pot", "a", json!({"unknown": 1}));
    api.apply("krake", &format!("{path}/a"), &undeclared).await?.expect(500)?;
    api.post(&path, &custom("Pot", "a", json!({"size": 1}))).await?.expect(201)?;
    api.patch(&format!("{path}/a"), &json!({"spec": {"size": "much"}})).await?.refused(422, "Invalid")?;
    api.send(Method::PATCH, &format!("{path}/a"), STRATEGIC, "{}")
        .await?
        .refused(415, "UnsupportedMediaType")?;
    let misnamed = {
        let mut definition = definition("cups", "Cup");
        definition["metadata"]["name"] = json!("cups");
        definition
    };
    api.post(DEFINITIONS, &misnamed).await?.refused(422, "Invalid")?;
    Ok(())
}

async fn custom_end(api: Api) -> Result<()> {
    let path = defined(&api, "jars", "Jar").await?;
    api.post(&path, &custom("Jar", "a", json!({"size": 1}))).await?.expect(201)?;
    api.delete(&format!("{DEFINITIONS}/jars.suite.example.org"), &json!({})).await?.expect(200)?;
    api.until(&format!("{DEFINITIONS}/jars.suite.example.org"), |reply| reply.code == 404).await?;
    api.until(&path, |reply| reply.code == 404).await?;
    defined(&api, "jars", "Jar").await?;
    let list = api.get(&path).await?.expect(200)?;
    ensure!(list.body["items"] == json!([]), "{list:?}");
    Ok(())
}

async fn namespace(api: Api) -> Result<()> {
    let name = format!("{}-inner", api.namespace);
    let path = format!("/api/v1/namespaces/{name}");
    api.post("/api/v1/namespaces", &json!({"metadata": {"name": name}})).await?.expect(201)?;
    api.until(&format!("{path}/serviceaccounts/default"), |reply| reply.code == 200).await?;
    let inner = format!("{path}/configmaps");
    api.call(Method::POST, &inner, JSON, Some(config_map("a", json!({})).to_string())).await?.expect(201)?;
    api.delete(&path, &json!({})).await?.expect(200)?;
    api.until(&path, |reply| reply.code == 404).await?;
    api.until(&format!("{inner}/a"), |reply| reply.code == 404).await?;
    Ok(())
}

async fn terminating(api: Api) -> Result<()> {
    let name = format!("{}-inner", api.namespace);
    let path = format!("/api/v1/namespaces/{name}");
    let inner = format!("{path}/configmaps");
    api.post("/api/v1/namespaces", &json!({"metadata": {"name": name}})).await?.expect(201)?;
    let held = json!({"metadata": {"name": "a", "finalizers": ["example.org/hold"]}});
    api.call(Method::POST, &inner, JSON, Some(held.to_string())).await?.expect(201)?;
    api.delete(&path, &json!({})).await?.expect(200)?;
    api.post(&inner, &config_map("b", json!({}))).await?.refused(403, "Forbidden")?;
    api.apply("krake", &format!("{inner}/b"), &config_map("b", json!({})))
        .await?
        .refused(403, "Forbidden")?;
    api.until(&format!("{inner}/a"), |reply| !reply.text("/metadata/deletionTimestamp").is_empty()).await?;
    let release = json!({"metadata": {"finalizers": null}}).to_string();
    api.call(Method::PATCH, &format!("{inner}/a"), crate::api::MERGE, Some(release)).await?.expect(200)?;
    api.until(&path, |reply| reply.code == 404).await?;
    Ok(())
}

async fn metadata_only(api: Api) -> Result<()> {
    let object = json!({"metadata": {"name": "a", "labels": {"case": "m"}}, "data": {"k": "v"}});
    api.post(&api.core("configmaps"), &object).await?.expect(201)?;
    for (path, form) in [
        ("configmaps?labelSelector=case", "PartialObjectMetadataList"),
        ("configmaps/a", "PartialObjectMetadata"),
    ] {
        let found = api.get_as(&api.core(path), form).await?.expect(200)?;
        ensure!(found.body["kind"] == form, "{found:?}");
    }
    Ok(())
}
