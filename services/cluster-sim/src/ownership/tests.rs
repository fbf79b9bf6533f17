//! Laws of apply and update.

use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use crate::ownership::{Applied, Ask, Malformed, Schema, apply, merge_patch, strategic_merge, update};

fn schema() -> Schema {
    Schema::of([
        ("metadata.finalizers", "set"),
        ("spec.items", "name"),
        ("spec.items[].ports", "port,protocol"),
        ("spec.defaulted", "port=0,protocol=TCP"),
        ("spec.whole", "atomic"),
    ])
}

fn ask<'a>(schema: &'a Schema, zero: &'a Value, manager: &'a str) -> Ask<'a> {
    Ask { schema, zero, manager, subresource: "", own_status: true, api_version: "v1", now: "now" }
}

fn apply_as(live: &Value, spec: Value, manager: &str, force: bool) -> Applied {
    let (schema, zero) = (schema(), json!({"metadata": {}, "spec": {}}));
    let ask = ask(&schema, &zero, manager);
    apply(live, &json!({"metadata": {"name": "a"}, "spec": spec}), ask, force)
}

fn applied(live: &Value, spec: Value, manager: &str) -> Value {
    match apply_as(live, spec, manager, false) {
        Applied::Object(object) => object,
        other => panic!("{other:?}"),
    }
}

fn nothing() -> Value {
    json!({"metadata": {}})
}

fn owned(object: &Value, manager: &str) -> Value {
    let mut entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries
        .find(|entry| entry["manager"] == manager)
        .map(|entry| entry["fieldsV1"].clone())
        .unwrap_or_default()
}

/// What two appliers of these specs, one after the other, come to; then the first drops everything.
#[rstest]
#[case::fields(json!({"a": 1, "b": {"c": 2}}), json!({"b": {"d": 3}}), json!({"b": {"d": 3}}))]
#[case::shared(json!({"a": 1, "b": 2}), json!({"b": 2}), json!({"b": 2}))]
#[case::items(json!({"items": [{"name": "x", "v": 1}]}), json!({"items": [{"name": "y"}]}), json!({"items": [{"name": "y"}]}))]
#[case::an_item_of_both(json!({"items": [{"name": "x", "v": 1}]}), json!({"items": [{"name": "x", "w": 2}]}),
    json!({"items": [{"name": "x", "w": 2}]}))]
#[case::items_in_items(json!({"items": [{"name": "x", "ports": [{"port": 1, "protocol": "T"}]}]}),
    json!({"items": [{"name": "x", "ports": [{"port": 1, "protocol": "U"}]}]}),
    json!({"items": [{"name": "x", "ports": [{"port": 1, "protocol": "U"}]}]}))]
#[case::atomic(json!({"whole": {"a": 1}, "b": 1}), json!({"c": 1}), json!({"c": 1}))]
fn what_an_applier_drops_goes_and_nothing_else(
    #[case] first: Value,
    #[case] second: Value,
    #[case] left: Value,
) {
    let one = applied(&nothing(), first, "first");
    let both = applied(&one, second, "second");
    assert_eq!(applied(&both, json!({}), "first")["spec"], left);
}

#[rstest]
#[case(json!({"a": 1}), json!({"a": 2}), &[".spec.a"])]
#[case(json!({"a": {"b": 1, "c": 1}}), json!({"a": {"b": 1, "c": 2, "d": 3}}), &[".spec.a.c"])]
#[case(json!({"items": [{"name": "x", "v": 1}]}), json!({"items": [{"name": "x", "v": 2}]}), &[".spec.items[name=\"x\"].v"])]
#[case(json!({"whole": {"a": 1}}), json!({"whole": {"b": 1}}), &[".spec.whole"])]
#[case(json!({"list": [1]}), json!({"list": [1, 2]}), &[".spec.list"])]
fn what_another_owns_is_a_conflict_and_force_takes_it(
    #[case] first: Value,
    #[case] second: Value,
    #[case] fields: &[&str],
) {
    let live = applied(&nothing(), first, "first");
    let Applied::Conflicts(conflicts) = apply_as(&live, second.clone(), "second", false) else {
        panic!("applied")
    };
    let found: Vec<(&str, &str)> =
        conflicts.iter().map(|(who, field)| (who.as_str(), field.as_str())).collect();
    let expected: Vec<(&str, &str)> = fields.iter().map(|field| ("\"first\"", *field)).collect();
    assert_eq!(found, expected);
    let Applied::Object(forced) = apply_as(&live, second.clone(), "second", true) else { panic!("refused") };
    let Applied::Object(again) = apply_as(&forced, second, "second", false) else { panic!("refused") };
    assert_eq!(again, forced, "what was taken is no conflict any more");
}

#[test]
fn an_item_without_its_keys_is_named() {
    let spec = json!({"items": [{"name": "x", "ports": [{"port": 1}]}]});
    let Applied::Malformed(Malformed(why)) = apply_as(&nothing(), spec, "first", false) else {
        panic!("applied")
    };
    let text = ".spec.items[name=\"x\"].ports: element 0: associative list with keys has an element that omits key \
                field \"protocol\" (and doesn't have default value)";
    assert_eq!(why, text);
}

#[test]
fn keys_have_defaults_and_name_one_item() {
    let one = applied(&nothing(), json!({"defaulted": [{"port": 80}]}), "first");
    let element = json!({"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}});
    assert_eq!(owned(&one, "first"), json!({"f:spec": {"f:defaulted": element}}));
    let twice = json!({"defaulted": [{"port": 80}, {"port": 80, "protocol": "TCP"}]});
    let Applied::Malformed(Malformed(why)) = apply_as(&nothing(), twice, "first", false) else {
        panic!("applied")
    };
    assert_eq!(why, ".spec.defaulted: duplicate entries for key [port=80,protocol=\"TCP\"]");
}

#[test]
fn an_empty_object_is_owned_until_another_fills_it() {
    let mut one = applied(&nothing(), json!({"data": {}, "items": [], "whole": null}), "first");
    assert_eq!(owned(&one, "first"), json!({"f:spec": {"f:data": {}, "f:whole": {}}}));
    // Servers do not store it.
    one["spec"].as_object_mut().unwrap().remove("data");
    let Applied::Conflicts(conflicts) = apply_as(&one, json!({"data": {"k": 1}}), "second", false) else {
        panic!("applied")
    };
    assert_eq!(conflicts, [("\"first\"".to_owned(), ".spec.data".to_owned())]);
}

/// As a real server (1.35.8) orders them.
#[rstest]
#[case("a", "ba", "ba")]
#[case("ab", "c", "abc")]
#[case("abc", "cda", "bcda")]
#[case("abcd", "da", "bcda")]
#[case("ab", "ba", "ba")]
fn merged_items_keep_the_order_of_the_applied_ones(
    #[case] live: &str,
    #[case] new: &str,
    #[case] merged: &str,
) {
    let list = |names: &str| names.chars().map(|name| json!({"name": name})).collect::<Value>();
    let one = applied(&nothing(), json!({"items": list(live)}), "first");
    let both = applied(&one, json!({"items": list(new)}), "second");
    assert_eq!(both["spec"]["items"], list(merged));
}

proptest! {
    #[test]
    fn a_merged_list_has_every_item_once_and_keeps_both_orders(
        live in prop::sample::subsequence(vec!['a', 'b', 'c', 'd', 'e', 'f'], 1..6).prop_shuffle(),
        new in prop::sample::subsequence(vec!['a', 'b', 'c', 'd', 'e', 'f'], 1..6).prop_shuffle(),
    ) {
        let (live, new) = (live.iter().collect::<String>(), new.iter().collect::<String>());
        let list = |names: &str| names.chars().map(|name| json!({"name": name})).collect::<Value>();
        let one = applied(&nothing(), json!({"items": list(&live)}), "first");
        let both = applied(&one, json!({"items": list(&new)}), "second");
        let merged: String = both["spec"]["items"].as_array().into_iter().flatten()
            .filter_map(|item| item["name"].as_str()).collect();
        let only = |text: &str, of: &dyn Fn(char) -> bool| text.chars().filter(|name| of(*name)).collect::<String>();
        prop_assert_eq!(only(&merged, &|name| new.contains(name)), new.clone());
        let alone = |name: char| !new.contains(name);
        prop_assert_eq!(only(&merged, &alone), only(&live, &alone));
    }
}

#[test]
fn the_status_is_booked_apart_and_not_to_writers_of_the_object() {
    let mut live = applied(&nothing(), json!({"a": 1}), "first");
    live["metadata"]["uid"] = json!("u");
    let (schema, zero) = (schema(), json!({"metadata": {}, "spec": {}}));
    let mut new = live.clone();
    new["status"] = json!({"phase": "Full"});
    let ask = Ask { subresource: "status", ..ask(&schema, &zero, "first") };
    let new = update(&live, new, ask);
    let books = new["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(books.len(), 2);
    assert_eq!(books[1]["subresource"], "status");
    assert_eq!(books[1]["fieldsV1"], json!({"f:status": {".": {}, "f:phase": {}}}));
    let mut again = new.clone();
    again["status"] = json!({"phase": "Empty"});
    assert_eq!(updated(&new, again, "second")["metadata"]["managedFields"], new["metadata"]["managedFields"]);
}

fn updated(live: &Value, new: Value, manager: &str) -> Value {
    let zero = json!({"metadata": {}, "spec": {}});
    update(live, new, ask(&schema(), &zero, manager))
}

#[test]
fn an_update_owns_what_it_changes_and_takes_it_from_others() {
    let mut live = applied(&nothing(), json!({"a": 1, "b": 1}), "applier");
    live["metadata"]["uid"] = json!("u");
    let mut new = live.clone();
    new["spec"] = json!({"a": 2, "c": {"d": 1}});
    let new = updated(&live, new, "hand");
    assert_eq!(owned(&new, "hand"), json!({"f:spec": {"f:a": {}, "f:c": {".": {}, "f:d": {}}}}));
    assert_eq!(owned(&new, "applier"), Value::Null, "one field was taken, the other is gone");
}

#[test]
fn objects_without_books_get_them_by_the_first_apply() {
    let mut live = json!({"metadata": {"uid": "u", "name": "a"}, "spec": {"a": 1}});
    live = updated(&live.clone(), live, "hand");
    assert_eq!(live["metadata"].get("managedFields"), None);
    let Applied::Conflicts(conflicts) = apply_as(&live, json!({"a": 2}), "applier", false) else {
        panic!("applied")
    };
    assert_eq!(conflicts, [("\"before-first-apply\" using v1".to_owned(), ".spec.a".to_owned())]);
}

#[test]
fn patches_merge_by_name_or_replace() {
    let start = json!({"spec": {"items": [{"name": "x", "v": 1}, {"name": "y"}], "gone": 1}});
    let mut merged = start.clone();
    merge_patch(&mut merged, &json!({"spec": {"items": [{"name": "z"}], "gone": null}}));
    assert_eq!(merged, json!({"spec": {"items": [{"name": "z"}]}}));
    let mut strategic = start;
    let patch = json!({"spec": {"gone": null, "$setElementOrder/items": [{"name": "x"}],
        "items": [{"name": "x", "w": 2}, {"name": "y", "$patch": "delete"}, {"name": "z"}]}});
    strategic_merge(&schema(), &mut strategic, &patch);
    assert_eq!(strategic, json!({"spec": {"items": [{"name": "x", "v": 1, "w": 2}, {"name": "z"}]}}));
}

fn arbitrary_spec() -> impl Strategy<Value = Value> {
    let item = (prop::sample::select(vec!["x", "y", "z"]), 0..3_u8);
    let items = prop::collection::btree_map(item.0, item.1, 0..3).prop_map(|items| {
        items.into_iter().map(|(name, v)| json!({"name": name, "v": v})).collect::<Vec<_>>()
    });
    let fields = prop::collection::btree_map("[ab]", 0..3_u8, 0..3);
    (items, fields, prop::option::of(0..3_u8)).prop_map(|(items, fields, whole)| {
        // Empty lists and objects have no owner, so there are none.
        let mut spec = json!({"always": 1});
        if !fields.is_empty() {
            spec["fields"] = json!(fields);
        }
        if !items.is_empty() {
            spec["items"] = json!(items);
        }
        if let Some(whole) = whole {
            spec["whole"] = json!({"v": whole});
        }
        spec
    })
}

/// Whether `object` has everything that `part` has.
fn holds(object: &Value, part: &Value) -> bool {
    match (object, part) {
        (Value::Object(object), Value::Object(part)) => {
            part.iter().all(|(name, value)| match object.get(name) {
                Some(found) => holds(found, value),
                None => {
                    value.as_object().is_some_and(serde_json::Map::is_empty)
                        || value.as_array().is_some_and(Vec::is_empty)
                }
            })
        }
        (Value::Array(items), Value::Array(part)) => {
            part.iter().all(|wanted| items.iter().any(|item| holds(item, wanted)))
        }
        (object, part) => object == part,
    }
}

proptest! {
    #[test]
    fn forced_applies_converge(specs in prop::collection::vec((arbitrary_spec(), 0..3_usize), 1..8)) {
        let managers = ["one", "two", "three"];
        let mut live = nothing();
        for (spec, manager) in &specs {
            let Applied::Object(next) = apply_as(&live, spec.clone(), managers[*manager], true) else {
                panic!("a forced apply is refused")
            };
            prop_assert!(holds(&next["spec"], spec), "what is applied is there: {next}");
            let Applied::Object(again) = apply_as(&next, spec.clone(), managers[*manager], false) else {
                panic!("what was just applied conflicts")
            };
            prop_assert_eq!(&again, &next);
            live = next;
        }
        // When all let go, nothing is left.
        for manager in managers {
            let zero = json!({"metadata": {}, "spec": {}});
            let none = json!({"metadata": {"name": "a"}});
            let Applied::Object(next) = apply(&live, &none, ask(&schema(), &zero, manager), false) else {
                panic!("letting go is refused")
            };
            live = next;
        }
        prop_assert_eq!(&live["metadata"].get("managedFields"), &None);
        prop_assert!(live["spec"].as_object().is_none_or(serde_json::Map::is_empty), "{}", live);
    }
}
