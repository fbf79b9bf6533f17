//! Single objects: creating, reading, changing, deleting, each under its preconditions.

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Api, JSON, MERGE};
use crate::report::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("create and read", create_and_read),
        case("create what exists", create_what_exists),
        case("create where there is no namespace", create_nowhere),
        case("names are checked", names_are_checked),
        case("bodies are checked", bodies_are_checked),
        case("what is not there is 404", absent),
        case("replace under preconditions", replace),
        case("merge patch under preconditions", merge_patch),
        case("a patch that changes nothing makes no version", no_change),
        case("delete under preconditions", delete),
        case("finalizers hold a deleted object", finalizers),
        case("owners take their dependents along", owners),
        case("credentials are checked", credentials),
        case("methods and media types are checked", methods),
        case("a dry run stores nothing", dry_run),
    ]
}

pub(super) fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

async fn create_and_read(api: Api) -> Result<()> {
    let object = json!({"metadata": {"name": "a", "labels": {"x": "y"}, "annotations": {"p": "q"}}, "data": {"k": "v"}});
    let made = api.post(&api.core("configmaps"), &object).await?.expect(201)?;
    ensure!(!made.text("/metadata/uid").is_empty() && !made.version().is_empty(), "{made:?}");
    let read = api.get(&api.core("configmaps/a")).await?.expect(200)?;
    ensure!(read.body == made.body, "what was answered is what is stored");
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"a": "text"}, "data": {"b": "Yg=="}});
    api.post(&api.core("secrets"), &secret).await?.expect(201)?;
    let generated = json!({"metadata": {"generateName": "some-"}}).to_string();
    let path = api.core("configmaps");
    let named = api.call(Method::POST, &path, JSON, Some(generated)).await?.expect(201)?;
    ensure!(named.text("/metadata/name").len() == 10, "{named:?}");
    Ok(())
}

async fn create_what_exists(api: Api) -> Result<()> {
    let object = config_map("a", json!({}));
    api.post(&api.core("configmaps"), &object).await?.expect(201)?;
    api.post(&api.core("configmaps"), &object).await?.refused(409, "AlreadyExists")?;
    Ok(())
}

async fn create_nowhere(api: Api) -> Result<()> {
    api.post("/api/v1/namespaces/nowhere/configmaps", &config_map("a", json!({})))
        .await?
        .refused(404, "NotFound")?;
    let path = "/api/v1/namespaces/nowhere/configmaps/a";
    api.apply("krake", path, &config_map("a", json!({}))).await?.refused(404, "NotFound")?;
    api.get(path).await?.refused(404, "NotFound")?;
    Ok(())
}

async fn names_are_checked(api: Api) -> Result<()> {
    let path = api.core("configmaps");
    api.post(&path, &config_map("A_B", json!({}))).await?.refused(422, "Invalid")?;
    api.post(&path, &json!({"metadata": {}})).await?.refused(422, "Invalid")?;
    Ok(())
}

async fn bodies_are_checked(api: Api) -> Result<()> {
    let path = api.core("configmaps");
    let other = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "b"}});
    api.post(&path, &other).await?.refused(400, "BadRequest")?;
    let elsewhere = json!({"metadata": {"name": "b", "namespace": "other"}});
    api.post(&path, &elsewhere).await?.refused(400, "BadRequest")?;
    let versioned = json!({"metadata": {"name": "b", "resourceVersion": "4"}});
    api.post(&path, &versioned).await?.expect(500)?;
    api.send(Method::POST, &path, JSON, "{\"metadata\":").await?.refused(400, "BadRequest")?;
    Ok(())
}

async fn absent(api: Api) -> Result<()> {
    for path in [api.core("configmaps/none"), api.core("nothings"), api.core("nothings/none")] {
        api.get(&path).await?.refused(404, "NotFound")?;
    }
    let none = api.core("configmaps/none");
    api.patch(&none, &json!({})).await?.refused(404, "NotFound")?;
    api.delete(&none, &json!({})).await?.refused(404, "NotFound")?;
    // Of groups that it does not serve, a server says so in plain text.
    for path in ["/apis/nothing.example/v1", "/apis/nothing.example/v1/namespaces/default/nothings"] {
        let answer = api.call(Method::GET, path, JSON, None).await?.expect(404)?;
        ensure!(answer.body.is_null(), "{answer:?}");
    }
    Ok(())
}

async fn replace(api: Api) -> Result<()> {
    let made = api.post(&api.core("configmaps"), &config_map("a", json!({"k": "v"}))).await?.expect(201)?;
    let path = api.core("configmaps/a");
    let with = |name: &str, field: &str, value: &str| {
        let mut object = config_map(name, json!({"k": "w"}));
        object["metadata"][field] = json!(value);
        object
    };
    api.put(&path, &with("a", "uid", "wrong")).await?.refused(409, "Conflict")?;
    api.put(&path, &with("a", "resourceVersion", "1")).await?.refused(409, "Conflict")?;
    api.put(&path, &config_map("b", json!({}))).await?.refused(400, "BadRequest")?;
    let new = api.put(&path, &with("a", "resourceVersion", made.version())).await?.expect(200)?;
    ensure!(
        new.text("/metadata/uid") == made.text("/metadata/uid") && new.version() != made.version(),
        "{new:?}"
    );
    let emptied = api.put(&path, &json!({"metadata": {"name": "a"}})).await?.expect(200)?;
    ensure!(emptied.body["data"].is_null(), "{emptied:?}");
    Ok(())
}

async fn merge_patch(api: Api) -> Result<()> {
    let made = api
        .post(&api.core("configmaps"), &config_map("a", json!({"k": "v", "l": "w"})))
        .await?
        .expect(201)?;
    let path = api.core("configmaps/a");
    let patched =
        api.patch(&path, &json!({"metadata": {"labels": {"x": "y"}}, "data": {"k": null, "m": "n"}})).await?;
    ensure!(patched.body["data"] == json!({"l": "w", "m": "n"}), "{patched:?}");
    let uid = json!({"metadata": {"uid": "wrong"}, "data": {"q": "r"}});
    api.patch(&path, &uid).await?.refused(422, "Invalid")?;
    let version = json!({"metadata": {"resourceVersion": made.version()}, "data": {"q": "r"}});
    api.patch(&path, &version).await?.refused(409, "Conflict")?;
    let both = json!({"metadata": {"uid": made.text("/metadata/uid"), "resourceVersion": patched.version(),
        "labels": {"x": null}}});
    api.patch(&path, &both).await?.expect(200)?;
    Ok(())
}

async fn no_change(api: Api) -> Result<()> {
    let made = api.post(&api.core("configmaps"), &config_map("a", json!({"k": "v"}))).await?.expect(201)?;
    let path = api.core("configmaps/a");
    for patch in [json!({}), json!({"data": {"k": "v"}}), json!({"data": {"other": null}})] {
        let same = api.patch(&path, &patch).await?.expect(200)?;
        ensure!(same.version() == made.version(), "{patch}");
    }
    Ok(())
}

async fn delete(api: Api) -> Result<()> {
    let made = api.post(&api.core("configmaps"), &config_map("a", json!({}))).await?.expect(201)?;
    let path = api.core("configmaps/a");
    let guard = |field: &str, value: &str| {
        let mut options = json!({"propagationPolicy": "Background"});
        options["preconditions"][field] = json!(value);
        options
    };
    api.delete(&path, &guard("uid", "wrong")).await?.refused(409, "Conflict")?;
    api.delete(&path, &guard("resourceVersion", "1")).await?.refused(409, "Conflict")?;
    let mut right = guard("uid", made.text("/metadata/uid"));
    right["preconditions"]["resourceVersion"] = json!(made.version());
    api.delete(&path, &right).await?.expect(200)?;
    api.get(&path).await?.refused(404, "NotFound")?;
    let again = api.post(&api.core("configmaps"), &config_map("a", json!({}))).await?.expect(201)?;
    ensure!(again.text("/metadata/uid") != made.text("/metadata/uid"), "a name is used again, a uid is not");
    Ok(())
}

async fn finalizers(api: Api) -> Result<()> {
    let object = json!({"metadata": {"name": "a", "finalizers": ["example.org/hold"]}});
    api.post(&api.core("configmaps"), &object).await?.expect(201)?;
    let path = api.core("configmaps/a");
    let held = api.delete(&path, &json!({})).await?.expect(200)?;
    ensure!(held.body["kind"] == "ConfigMap", "an object in the answer means that it is still there");
    api.delete(&path, &json!({})).await?.expect(200)?;
    api.patch(&path, &json!({"data": {"x": "y"}})).await?.expect(200)?;
    api.patch(&path, &json!({"metadata": {"finalizers": null}})).await?.expect(200)?;
    api.get(&path).await?.refused(404, "NotFound")?;
    Ok(())
}

async fn owners(api: Api) -> Result<()> {
    for (owner, policy) in [("one", "Background"), ("two", "Orphan")] {
        let made = api.post(&api.core("configmaps"), &config_map(owner, json!({}))).await?.expect(201)?;
        let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": made.text("/metadata/uid")});
        let mut dependent = config_map(&format!("of-{owner}"), json!({}));
        dependent["metadata"]["ownerReferences"] = json!([reference]);
        let body = dependent.to_string();
        api.call(Method::POST, &api.core("configmaps"), JSON, Some(body)).await?.expect(201)?;
        let path = api.core(&format!("configmaps/{owner}"));
        let options = json!({"propagationPolicy": policy}).to_string();
        api.call(Method::DELETE, &path, JSON, Some(options)).await?.expect(200)?;
        api.until(&path, |reply| reply.code == 404).await?;
    }
    api.until(&api.core("configmaps/of-one"), |reply| reply.code == 404).await?;
    let orphan = api.until(&api.core("configmaps/of-two"), |reply| reply.code == 200).await?;
    ensure!(orphan.text("/metadata/name") == "of-two");
    Ok(())
}

async fn credentials(api: Api) -> Result<()> {
    for path in ["/api/v1/nodes?limit=1", "/api/v1", "/apis"] {
        api.with_token("wrong").get(path).await?.refused(401, "Unauthorized")?;
    }
    Ok(())
}

async fn methods(api: Api) -> Result<()> {
    api.post("/api/v1/configmaps", &config_map("a", json!({}))).await?.refused(405, "MethodNotAllowed")?;
    let (all, one) = (api.core("configmaps"), api.core("configmaps/a"));
    api.post(&one, &config_map("a", json!({}))).await?.refused(405, "MethodNotAllowed")?;
    api.put(&all, &config_map("a", json!({}))).await?.refused(405, "MethodNotAllowed")?;
    api.send(Method::PATCH, &all, MERGE, "{}").await?.refused(405, "MethodNotAllowed")?;
    api.post(&all, &config_map("a", json!({}))).await?.expect(201)?;
    api.send(Method::PATCH, &one, "text/plain", "{}").await?.refused(415, "UnsupportedMediaType")?;
    Ok(())
}

async fn dry_run(api: Api) -> Result<()> {
    let dry = |rest: &str| format!("{}?dryRun=All", api.core(rest));
    api.post(&dry("configmaps"), &config_map("a", json!({"k": "v"}))).await?.expect(201)?;
    api.get(&api.core("configmaps/a")).await?.refused(404, "NotFound")?;
    api.apply("krake", &dry("configmaps/a"), &config_map("a", json!({"k": "v"}))).await?.expect(201)?;
    api.get(&api.core("configmaps/a")).await?.refused(404, "NotFound")?;
    let made = api.post(&api.core("configmaps"), &config_map("a", json!({"k": "v"}))).await?.expect(201)?;
    let shown = api.patch(&dry("configmaps/a"), &json!({"data": {"k": "w"}})).await?.expect(200)?;
    ensure!(shown.body["data"]["k"] == "w", "{shown:?}");
    api.delete(&api.core("configmaps/a"), &json!({"dryRun": ["All"]})).await?.expect(200)?;
    let kept = api.get(&api.core("configmaps/a")).await?.expect(200)?;
    ensure!(kept.version() == made.version(), "{kept:?}");
    let some = format!("{}?dryRun=Some", api.core("configmaps"));
    api.post(&some, &config_map("b", json!({}))).await?.refused(422, "Invalid")?;
    Ok(())
}
