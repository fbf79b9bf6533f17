//! Roles over REST: a kind without namespaces, whose rules stand beside the metadata as upstream has them.

use krake_proto::krake::core::v1::{Role, Verb};
use serde_json::{Value, json};

use crate::world::World;

const ROLES: &str = "/core/roles";
const READER: &str = "/core/roles/system:reader";

fn role(verbs: &[&str]) -> Value {
    json!({
        "metadata": { "name": "system:reader" },
        "rules": [{
            "api": "kubernetes",
            "resources": ["applications", "clusters/status"],
            "namespaces": ["demo", ""],
            "verbs": verbs,
        }],
    })
}

#[tokio::test]
async fn a_role_lives_as_upstream_has_it() {
    let world = World::start().await;
    let empty = world.get(ROLES).await.ok();
    assert_eq!((&empty["kind"], &empty["items"]), (&json!("RoleList"), &json!([])));

    let made = world.post(ROLES, &role(&["get", "list_all"])).await.ok();
    let members: Vec<&str> = made.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["api", "kind", "metadata", "rules"], "no spec and no status");
    assert_eq!((&made["api"], &made["kind"]), (&json!("core"), &json!("Role")));
    assert_eq!(
        (&made["metadata"]["namespace"], &made["rules"]),
        (&Value::Null, &role(&["get", "list_all"])["rules"])
    );
    world.post(ROLES, &role(&["get"])).await.refused(409, "Role 'system:reader' already exists");
    assert_eq!(world.get(READER).await.ok(), made);
    assert_eq!(world.get(ROLES).await.ok()["items"], json!([made]));
    world.get("/core/roles/nobody").await.refused(404, "'Role' 'nobody' does not exist");

    let mut wider = made.clone();
    wider["rules"][0]["verbs"] = json!(["get", "list_all", "delete"]);
    let changed = world.put(READER, &wider).await.ok();
    assert_eq!((&changed["rules"], &changed["metadata"]["uid"]), (&wider["rules"], &made["metadata"]["uid"]));
    assert_eq!(changed["metadata"]["generation"], 2);
    let stored: Role = world.object("", "system:reader").await;
    assert_eq!(stored.spec.unwrap().rules[0].verbs().nth(2), Some(Verb::Delete));

    world.put(READER, &changed).await.refused(400, "The body contained no update.");
    world.put(READER, &json!({})).await.refused(400, "The body contained no update.");
    let labelled = world.put(READER, &json!({ "metadata": { "labels": { "team": "a" } } })).await.ok();
    assert_eq!(labelled["rules"], changed["rules"], "what a body does not hold stays");

    let deleted = world.delete(READER).await.ok();
    assert!(deleted["metadata"]["deleted"].is_string());
    world.delete(&format!("{READER}?force=True")).await.ok();
    world.get(READER).await.problem(404);
}

#[tokio::test]
async fn bad_rules_are_refused_by_the_names_that_the_body_has() {
    let mut world = World::start().await;
    let without = |field: &str| {
        let mut body = role(&["get"]);
        body["rules"][0].as_object_mut().unwrap().remove(field);
        body
    };
    let bodies = [
        (role(&["get", "frobnicate"]), "rules[0].verbs[1]"),
        (role(&["GET"]), "rules[0].verbs[0]"),
        (role(&["unspecified"]), "rules[0].verbs[0]"),
        (json!({ "metadata": { "name": "r" } }), "rules"),
        (json!({ "metadata": { "name": "r" }, "rules": [] }), "rules"),
        (json!({ "metadata": { "name": "r" }, "rules": "all" }), "rules"),
        // The shape of gRPC, which is not that of REST.
        (json!({ "metadata": { "name": "r" }, "spec": { "rules": role(&["get"])["rules"] } }), "rules"),
        (without("verbs"), "rules[0].verbs"),
        (without("resources"), "rules[0].resources"),
    ];
    for (body, place) in bodies {
        let answer = world.post(ROLES, &body).await;
        answer.invalid(place);
        assert!(!answer.text.contains("spec"), "{}", answer.text);
    }
    assert_eq!(world.stored().await, 0);

    let made = world.post(ROLES, &role(&["get"])).await.ok();
    world.put(READER, &role(&["get", "frobnicate"])).await.invalid("rules[0].verbs[1]");
    world.put(READER, &json!({ "rules": [] })).await.invalid("rules");
    let moved = json!({ "metadata": { "namespace": "demo" } });
    world.put(READER, &moved).await.refused(400, "Trying to update an immutable field: namespace");
    for path in ["/core/namespaces/demo/roles", "/core/namespaces/demo/roles/system:reader"] {
        world.get(path).await.problem(404);
    }
    assert_eq!(world.get(READER).await.ok(), made);
    world.unharmed().await;
}
