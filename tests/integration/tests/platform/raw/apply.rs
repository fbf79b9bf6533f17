//! Server-side apply: whose a field is, and what goes when its owner lets go.

use anyhow::{Result, ensure};
use krake_integration::wait::{self, HANG_GUARD};
use reqwest::Method;
use serde_json::{Value, json};

use super::objects::config_map;
use crate::api::{APPLY, Api};
use crate::report::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("apply creates, and owns what it set", creates),
        case("apply of the same makes no version", same_again),
        case("a field that is dropped goes", dropped),
        case("a field that another owns too stays", shared),
        case("a field of another is a conflict", conflict),
        case("force takes a field over", force),
        case("an update takes what it changes", updated),
        case("created fields outlive an apply without them", created_then_applied),
        case("corrected books let created fields go", corrected_books),
        case("books that are reset", reset_books),
        case("apply under preconditions", preconditions),
        case("apply without manager or with books", malformed),
        case("containers, env and ports by their names", pod_lists),
        case("ports of a Service by number and protocol", service_ports),
        case("finalizers one by one", finalizers),
        case("what a dry run of an apply would change", dry_run),
        case("an empty object is its applier's", empty),
    ]
}

async fn creates(api: Api) -> Result<()> {
    let mut object = config_map("a", json!({"k": "v", "l": "w"}));
    object["metadata"]["labels"] = json!({"x": "y"});
    api.apply("krake", &api.core("configmaps/a"), &object).await?.expect(201)?;
    Ok(())
}

async fn same_again(api: Api) -> Result<()> {
    let path = api.core("configmaps/a");
    let first = api.apply("krake", &path, &config_map("a", json!({"k": "v"}))).await?.expect(201)?;
    let second = api.apply("krake", &path, &config_map("a", json!({"k": "v"}))).await?.expect(200)?;
    ensure!(first.version() == second.version(), "{second:?}");
    Ok(())
}

async fn dropped(api: Api) -> Result<()> {
    let path = api.core("configmaps/a");
    let mut object = config_map("a", json!({"k": "v", "l": "w"}));
    object["metadata"]["labels"] = json!({"x": "y"});
    api.apply("krake", &path, &object).await?.expect(201)?;
    let less = api.apply("krake", &path, &config_map("a", json!({"l": "w"}))).await?.expect(200)?;
    ensure!(less.body["data"] == json!({"l": "w"}) && less.body["metadata"]["labels"].is_null(), "{less:?}");
    let none = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let none = api.apply("krake", &path, &none).await?.expect(200)?;
    ensure!(none.body["data"].is_null(), "{none:?}");
    Ok(())
}

async fn shared(api: Api) -> Result<()> {
    let path = api.core("configmaps/a");
    api.apply("krake", &path, &config_map("a", json!({"k": "v", "l": "w"}))).await?.expect(201)?;
    api.apply("other", &path, &config_map("a", json!({"k": "v"}))).await?.expect(200)?;
    let kept = api.apply("krake", &path, &config_map("a", json!({}))).await?.expect(200)?;
    ensure!(kept.body["data"] == json!({"k": "v"}), "{kept:?}");
    Ok(())
}

async fn conflict(api: Api) -> Result<()> {
    let path = api.core("configmaps/a");
    api.apply("krake", &path, &config_map("a", json!({"k": "v", "l": "w"}))).await?.expect(201)?;
    let theirs = config_map("a", json!({"k": "other", "l": "other", "m": "new"}));
    let refused = api.apply("other", &path, &theirs).await?.refused(409, "Conflict")?;
    ensure!(refused.text("/details/causes/0/field") == ".data.k", "{refused:?}");
    Ok(())
}

async fn force(api: Api) -> Result<()> {
    let path = api.core("configmaps/a");
    api.apply("krake", &path, &config_map("a", json!({"k": "v", "l": "w"}))).await?.expect(201)?;
    let forced = format!("{path}?force=true");
    api.apply("other", &forced, &config_map("a", json!({"k": "other"}))).await?.expect(200)?;
    let last = api.apply("krake", &path, &config_map("a", json!({"l": "w"}))).await?.expect(200)?;
    ensure!(last.body["data"] == json!({"k": "other", "l": "w"}), "it was not krake's any more: {last:?}");
    Ok(())
}

async fn updated(api: Api) -> Result<()> {
    let path = api.core("configmaps/a");
    api.apply("applier", &path, &config_map("a", json!({"k": "v", "l": "w"}))).await?.expect(201)?;
    api.patch(&path, &json!({"data": {"k": "changed", "new": "n"}})).await?.expect(200)?;
    api.apply("applier", &path, &config_map("a", json!({"k": "v", "l": "w"})))
        .await?
        .refused(409, "Conflict")?;
    let forced = format!("{path}?force=true");
    let back =
        api.apply("applier", &forced, &config_map("a", json!({"k": "v", "l": "w"}))).await?.expect(200)?;
    ensure!(back.body["data"] == json!({"k": "v", "l": "w", "new": "n"}), "{back:?}");
    Ok(())
}

async fn created_then_applied(api: Api) -> Result<()> {
    let path = api.core("configmaps/a");
    api.post(&api.core("configmaps"), &config_map("a", json!({"k": "v", "l": "w"}))).await?.expect(201)?;
    let forced = format!("{path}?force=true");
    let stays = api.apply("krake", &forced, &config_map("a", json!({"l": "w"}))).await?.expect(200)?;
    ensure!(stays.body["data"]["k"] == "v", "the update of the same manager still owns it: {stays:?}");
    Ok(())
}

async fn corrected_books(api: Api) -> Result<()> {
    let path = api.core("configmaps/a");
    let made = api
        .post(&api.core("configmaps"), &config_map("a", json!({"k": "v", "l": "w"})))
        .await?
        .expect(201)?;
    let mut books = made.body["metadata"]["managedFields"].clone();
    books[0]["operation"] = json!("Apply");
    let patch = json!({"metadata": {"uid": made.text("/metadata/uid"), "resourceVersion": made.version(),
        "managedFields": books}})
    .to_string();
    let reply = api.call(Method::PATCH, &path, crate::api::MERGE, Some(patch)).await?.expect(200)?;
    api.get(&path).await?.expect(200)?;
    ensure!(reply.body["metadata"]["managedFields"][0]["operation"] == "Apply", "{reply:?}");
    let gone = api.apply("krake", &path, &config_map("a", json!({"l": "w"}))).await?.expect(200)?;
    ensure!(gone.body["data"] == json!({"l": "w"}), "{gone:?}");
    Ok(())
}

async fn reset_books(api: Api) -> Result<()> {
    let path = api.core("configmaps/a");
    api.apply("krake", &path, &config_map("a", json!({"k": "v"}))).await?.expect(201)?;
    api.patch(&path, &json!({"metadata": {"managedFields": []}})).await?.expect(200)?;
    api.patch(&path, &json!({"metadata": {"managedFields": [{}]}})).await?.expect(200)?;
    // Nobody is asked about an update now; and what is there belongs to who was before the next to apply.
    api.patch(&path, &json!({"data": {"l": "w"}})).await?.expect(200)?;
    api.apply("other", &path, &config_map("a", json!({"k": "free"}))).await?.refused(409, "Conflict")?;
    let forced = format!("{path}?force=true");
    api.apply("other", &forced, &config_map("a", json!({"k": "free"}))).await?.expect(200)?;
    Ok(())
}

async fn preconditions(api: Api) -> Result<()> {
    let path = api.core("configmaps/a");
    let with = |field: &str, value: &str| {
        let mut object = config_map("a", json!({"k": "w"}));
        object["metadata"][field] = json!(value);
        object
    };
    api.apply("krake", &path, &with("uid", "none")).await?.refused(409, "Conflict")?;
    let made = api.apply("krake", &path, &config_map("a", json!({"k": "v"}))).await?.expect(201)?;
    api.apply("krake", &path, &with("uid", "wrong")).await?.refused(422, "Invalid")?;
    api.apply("krake", &path, &with("resourceVersion", "1")).await?.refused(409, "Conflict")?;
    let uid = made.text("/metadata/uid");
    let named = format!("{path}?fieldManager=krake");
    let right = api.call(Method::PATCH, &named, APPLY, Some(with("uid", uid).to_string()));
    ensure!(right.await?.expect(200)?.body["data"]["k"] == "w");
    api.get(&path).await?;
    Ok(())
}

async fn malformed(api: Api) -> Result<()> {
    let path = api.core("configmaps/a");
    let object = config_map("a", json!({"k": "v"}));
    api.send(Method::PATCH, &path, APPLY, &object.to_string()).await?.refused(422, "Invalid")?;
    api.apply("krake", &path, &object).await?.expect(201)?;
    let mut books = object.clone();
    books["metadata"]["managedFields"] = json!([{"manager": "x", "operation": "Apply", "apiVersion": "v1"}]);
    api.apply("krake", &path, &books).await?.refused(400, "BadRequest")?;
    api.apply("krake", &path, &config_map("b", json!({}))).await?.refused(400, "BadRequest")?;
    Ok(())
}

fn deployment(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec})
}

async fn pod_lists(api: Api) -> Result<()> {
    let path = api.apps("deployments/d");
    let containers = |containers: Value| json!({"template": {"spec": {"containers": containers}}});
    // No pods, so that no controller has much to say.
    let mut first = deployment(containers(json!([{"name": "main", "image": "i",
        "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"}],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}])));
    first["spec"]["replicas"] = json!(0);
    first["spec"]["selector"] = json!({"matchLabels": {"app": "d"}});
    first["spec"]["template"]["metadata"] = json!({"labels": {"app": "d"}});
    api.apply("krake", &path, &first).await?.expect(201)?;
    let more = containers(json!([{"name": "side", "image": "s"},
        {"name": "main", "env": [{"name": "C", "value": "3"}], "ports": [{"containerPort": 81, "protocol": "TCP"}]}]));
    let both = api.apply("other", &path, &deployment(more)).await?.expect(200)?;
    let names: Vec<&str> = ["0", "1"]
        .iter()
        .map(|index| both.text(&format!("/spec/template/spec/containers/{index}/name")))
        .collect();
    ensure!(names == ["side", "main"], "in the order of the last to apply: {both:?}");
    let theirs = containers(json!([{"name": "main", "env": [{"name": "A", "value": "other"}]}]));
    let refused = api.apply("third", &path, &deployment(theirs)).await?.refused(409, "Conflict")?;
    let field = ".spec.template.spec.containers[name=\"main\"].env[name=\"A\"].value";
    ensure!(refused.text("/details/causes/0/field") == field, "{refused:?}");
    // A change of the image by an applier that drops a variable and a port.
    first["spec"]["template"]["spec"]["containers"] = json!([{"name": "main", "image": "j",
        "ports": [{"containerPort": 80, "protocol": "TCP"}], "env": [{"name": "B", "value": "2"}]}]);
    let less = api.apply("krake", &path, &first).await?.expect(200)?;
    let env = less.body.pointer("/spec/template/spec/containers/1/env").cloned();
    ensure!(env == Some(json!([{"name": "B", "value": "2"}, {"name": "C", "value": "3"}])), "{less:?}");
    let nothing = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}});
    let alone = api.apply("other", &path, &nothing).await?.expect(200)?;
    ensure!(
        alone.body["spec"]["template"]["spec"]["containers"].as_array().map(Vec::len) == Some(1),
        "{alone:?}"
    );
    Ok(())
}

async fn service_ports(api: Api) -> Result<()> {
    let path = api.core("services/s");
    let service = |ports: Value| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
            "spec": {"type": "NodePort", "selector": {"app": "s"}, "ports": ports}})
    };
    let made = api.apply("krake", &path, &service(json!([{"port": 80}]))).await?.expect(201)?;
    let same = service(json!([{"port": 80, "protocol": "TCP"}]));
    api.apply("krake", &path, &same).await?.expect(200)?;
    let twice = service(json!([{"port": 80}, {"port": 80, "protocol": "TCP", "name": "a"}]));
    api.apply("krake", &path, &twice).await?.expect(500)?;
    ensure!(made.body.pointer("/spec/ports/0/nodePort").is_some_and(Value::is_u64), "{made:?}");
    let two = service(
        json!([{"port": 80, "protocol": "TCP", "name": "a"}, {"port": 81, "protocol": "TCP", "name": "b"}]),
    );
    let kept = api.apply("krake", &path, &two).await?.expect(200)?;
    for pointer in ["/spec/clusterIP", "/spec/ports/0/nodePort"] {
        ensure!(kept.body.pointer(pointer) == made.body.pointer(pointer), "{pointer} changed: {kept:?}");
    }
    let other = service(json!([{"port": 81, "protocol": "TCP", "name": "b"}]));
    api.apply("krake", &path, &other).await?.expect(200)?;
    let posted = json!({"metadata": {"name": "p"}, "spec": {"ports": [{"port": 80}]}});
    api.post(&api.core("services"), &posted).await?.expect(201)?;
    api.post(&api.core("services"), &json!({"metadata": {"name": "q"}, "spec": {}}))
        .await?
        .refused(422, "Invalid")?;
    Ok(())
}

async fn finalizers(api: Api) -> Result<()> {
    let path = api.core("configmaps/a");
    let with = |finalizers: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "finalizers": finalizers}});
    api.apply("krake", &path, &with(json!(["example.org/a"]))).await?.expect(201)?;
    let both = api.apply("other", &path, &with(json!(["example.org/b"]))).await?.expect(200)?;
    ensure!(both.body["metadata"]["finalizers"].as_array().map(Vec::len) == Some(2), "{both:?}");
    let one = api.apply("krake", &path, &with(json!([]))).await?.expect(200)?;
    ensure!(one.body["metadata"]["finalizers"] == json!(["example.org/b"]), "{one:?}");
    api.patch(&path, &json!({"metadata": {"finalizers": null}})).await?.expect(200)?;
    Ok(())
}

async fn dry_run(api: Api) -> Result<()> {
    let path = api.core("configmaps/a");
    let made = api.apply("krake", &path, &config_map("a", json!({"k": "v"}))).await?.expect(201)?;
    let dry = format!("{path}?dryRun=All");
    api.apply("other", &dry, &config_map("a", json!({"k": "w"}))).await?.refused(409, "Conflict")?;
    let forced = format!("{dry}&force=true");
    let shown = api.apply("other", &forced, &config_map("a", json!({"k": "w"}))).await?.expect(200)?;
    ensure!(shown.body["data"]["k"] == "w");
    let kept = api.get(&path).await?.expect(200)?;
    ensure!(kept.version() == made.version(), "{kept:?}");
    Ok(())
}

async fn empty(api: Api) -> Result<()> {
    let path = api.core("configmaps/a");
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "a", "labels": {}, "creationTimestamp": null}, "data": {}});
    api.apply("krake", &path, &object).await?.expect(201)?;
    api.apply("other", &path, &config_map("a", json!({"k": "v"}))).await?.refused(409, "Conflict")?;
    let forced = format!("{path}?force=true");
    api.apply("other", &forced, &config_map("a", json!({"k": "v"}))).await?.expect(200)?;
    api.apply("krake", &path, &config_map("a", json!({"l": "w"}))).await?.expect(200)?;
    api.apply("krake", &path, &config_map("a", json!({}))).await?.expect(200)?;
    let lists = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "finalizers": []},
        "spec": {"nodeSelector": {}, "tolerations": [], "volumes": [], "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "none", "args": [], "env": [], "volumeMounts": null}]}});
    let made = async || {
        let reply = api.unrecorded().apply("krake", &api.core("pods/p"), &lists).await;
        // Real servers refuse pods until the namespace's account is there.
        reply.ok().filter(|reply| reply.code < 400)
    };
    let pod = wait::until("the pod to be accepted", HANG_GUARD, made).await?;
    api.note("books of empty lists", pod.body["metadata"]["managedFields"][0]["fieldsV1"].clone());
    Ok(())
}
