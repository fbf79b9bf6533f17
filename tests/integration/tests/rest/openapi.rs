//! The OpenAPI document is valid, and tells the truth about the gateway that serves it.

use krake_integration::binaries::{Component, require};
use krake_integration::folder;
use krake_proto::rest::{Body, ROUTES, Route, Scope, Verb};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::World;

/// The example body of a route's documentation.
fn example(document: &Value, route: &Route) -> Value {
    let method = route.method.as_str().to_lowercase();
    let content = &document["paths"][&route.template][method]["requestBody"]["content"]["application/json"];
    content["examples"]["usual"]["value"].clone()
}

/// A route's path for the object that its kind's example makes.
fn path(document: &Value, route: &Route) -> String {
    let create = ROUTES
        .iter()
        .find(|other| other.verb == Verb::Create && other.shown_kind() == route.shown_kind())
        .unwrap();
    let body = example(document, create);
    let name = body["metadata"]["name"].as_str().unwrap();
    route.template.replace("{namespace}", "demo").replace("{name}", name)
}

/// One object of every kind, from the document's examples.
async fn filled(document: &Value) -> World {
    let world = World::start().await;
    for route in ROUTES.iter().filter(|route| route.verb == Verb::Create) {
        let mut body = example(document, route);
        world.post(&path(document, route), &body).await.ok();
        body["metadata"]["name"] = json!("again");
        world.post(&path(document, route), &body).await.ok();
    }
    world
}

#[tokio::test]
async fn every_route_of_the_document_is_served() {
    let document = krake_proto::openapi::document();
    let world = filled(&document).await;
    assert_eq!(
        world.get("/openapi.json").await.ok(),
        document,
        "the gateway serves the document of its own build"
    );
    let deletes_last = |route: &&Route| route.method == Method::DELETE;
    let (last, first): (Vec<&Route>, Vec<&Route>) = ROUTES.iter().partition(deletes_last);
    for route in first.into_iter().chain(last) {
        let (method, path) = (route.method.clone(), path(&document, route));
        let body = if route.body == Body::None { Value::Null } else { json!({}) };
        // What other objects use is deleted by force only.
        let path = if deletes_last(&route) { format!("{path}?force=True") } else { path };
        let answer = world.send(method, &path, &body).await;
        assert!(![404, 405, 501].contains(&answer.status), "{} {path}: {answer:?}", route.method);
        assert!(answer.status < 500, "{} {path}: {answer:?}", route.method);
        if route.body == Body::None {
            answer.ok();
        }
    }
    for (path, status) in [("/", 200), ("/me", 200), ("/release", 202)] {
        assert_eq!(world.get(path).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn answers_fit_the_schemas() {
    let Some(binaries) = require(&[Component::Python]) else { return };
    let document = krake_proto::openapi::document();
    let world = filled(&document).await;
    let mut answers = Vec::new();
    let mut keep = |schema: String, value: Value| answers.push(json!({ "schema": schema, "value": value }));
    for route in ROUTES.iter() {
        let (path, shown) = (path(&document, route), route.shown_kind());
        match route.verb {
            Verb::Get => keep(shown.to_owned(), world.get(&path).await.ok()),
            Verb::List => keep(format!("{shown}List"), world.get(&path).await.ok()),
            Verb::Update if route.scope != Scope::All => {
                let mut body = world.get(&path).await.ok();
                body["metadata"]["labels"] = json!({ "changed": "yes" });
                keep(shown.to_owned(), world.put(&path, &body).await.ok());
                keep("Problem".into(), world.put(&path, &json!({ "metadata": 7 })).await.problem(422));
            }
            Verb::Delete => keep("Problem".into(), world.delete(&format!("{path}-not")).await.problem(404)),
            _ => {}
        }
    }
    let binding = "/kubernetes/namespaces/demo/applications/echo/binding";
    let route = ROUTES.iter().find(|route| route.template.ends_with("/applications/{name}/binding")).unwrap();
    keep("Application".into(), world.put(binding, &example(&document, route)).await.ok());
    keep("Application".into(), world.delete("/kubernetes/namespaces/demo/applications/echo").await.ok());

    let folder = folder::create("fits").unwrap();
    let file = |name: &str, value: &Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, value.to_string()).unwrap();
        path
    };
    let output = tokio::process::Command::new(binaries.path("krake-test-python").unwrap())
        .args(["-B", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rest/fits.py")])
        .args([file("document.json", &document), file("answers.json", &Value::Array(answers))])
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
