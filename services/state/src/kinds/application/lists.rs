//! Kubernetes lists in a manifest, as `kubectl get -o yaml` prints them: each item becomes an entry of its own, since no
//! cluster takes a list as an object.

use krake_proto::json::document;
use krake_proto::krake::kubernetes::v1::Manifest;
use krake_proto::krake::meta::v1::Document;
use prost_reflect::{DynamicMessage, ReflectMessage, Value};
use serde_json::Value as Json;

use crate::admission::document_value;

/// Replaces the lists in a spec's manifest by their items. What cannot be read stays, to be refused with everything else.
pub(super) fn unfold(spec: &mut DynamicMessage) {
    let Some(Value::List(entries)) = spec.get_field_by_name_mut("manifest") else { return };
    if !entries.iter().any(|entry| items(entry).is_some()) {
        return;
    }
    let unfolded = std::mem::take(entries).into_iter().flat_map(|entry| match (items(&entry), &entry) {
        (Some(items), Value::Message(message)) => {
            let entry = |item: Json| {
                let manifest = Manifest { document: Some(document(&item)), ..Default::default() };
                let mut entry = DynamicMessage::new(message.descriptor());
                // Of the very message that it is made from.
                entry.transcode_from(&manifest).is_ok().then_some(Value::Message(entry))
            };
            items.into_iter().filter_map(entry).collect()
        }
        _ => vec![entry],
    });
    *entries = unfolded.collect();
}

/// The items of an entry that is a list; lists among them are unfolded too.
fn items(entry: &Value) -> Option<Vec<Json>> {
    let held = entry.as_message()?.get_field_by_name("document")?;
    let held = held.as_message()?;
    // Nearly every entry is a text without this word, and need not be read here.
    if held.has_field_by_name("json") && !held.get_field_by_name("json")?.as_str()?.contains("List\"") {
        return None;
    }
    let held: Document = held.transcode_to().ok()?;
    flattened(document_value(Some(&held))?).ok()
}

/// The items of a list, and of lists in it; the value itself if it is none.
pub(super) fn flattened(mut value: Json) -> Result<Vec<Json>, Json> {
    let item_kind = value.get("kind").and_then(Json::as_str).and_then(|kind| kind.strip_suffix("List"));
    let (Some(item_kind), true) =
        (item_kind.map(str::to_owned), value.get("items").is_some_and(Json::is_array))
    else {
        return Err(value);
    };
    let mut take = |field| value.get_mut(field).map(Json::take).unwrap_or_default();
    let (items, api_version) = (take("items"), take("apiVersion"));
    let Json::Array(items) = items else { return Ok(Vec::new()) };
    let typed = |mut item: Json| {
        // The API server leaves out what the list already says, for example in a ConfigMapList.
        if let (Json::Object(fields), false) = (&mut item, item_kind.is_empty()) {
            fields.entry("kind").or_insert_with(|| item_kind.as_str().into());
            fields.entry("apiVersion").or_insert_with(|| api_version.clone());
        }
        item
    };
    Ok(items.into_iter().flat_map(|item| flattened(typed(item)).unwrap_or_else(|item| vec![item])).collect())
}

#[cfg(test)]
mod tests {
    use krake_proto::Resource;
    use krake_proto::krake::kubernetes::v1::{Application, ApplicationSpec};
    use krake_proto::krake::meta::v1::document::Content;
    use prost::Message;
    use serde_json::json;

    use super::*;

    fn after(documents: Vec<Document>) -> ApplicationSpec {
        let entry = |document| Manifest { document: Some(document), ..Default::default() };
        let spec =
            ApplicationSpec { manifest: documents.into_iter().map(entry).collect(), ..Default::default() };
        let descriptor = krake_proto::POOL.get_message_by_name(Application::KIND.message).unwrap();
        let Some(prost_reflect::Kind::Message(descriptor)) =
            descriptor.get_field_by_name("spec").map(|field| field.kind())
        else {
            panic!("applications have a spec")
        };
        let mut message = DynamicMessage::decode(descriptor, spec.encode_to_vec().as_slice()).unwrap();
        unfold(&mut message);
        message.transcode_to().unwrap()
    }

    fn unfolded(documents: Vec<Document>) -> Vec<Json> {
        let spec = after(documents);
        spec.manifest.iter().map(|entry| document_value(entry.document.as_ref()).unwrap()).collect()
    }

    fn named(name: &str) -> Json {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
    }

    #[test]
    fn lists_and_lists_in_lists_become_their_items_in_order() {
        let inner = json!({"apiVersion": "v1", "kind": "List", "items": [named("b"), named("c")]});
        let alike = json!({"kind": "AllowList", "items": {"a": 1}});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [inner, {"kind": "NoList"}, alike]});
        let all = [named("a"), named("b"), named("c"), json!({"kind": "NoList"}), alike, named("e")];
        assert_eq!(unfolded(vec![document(&named("a")), document(&list), document(&named("e"))]), all);
    }

    #[test]
    fn the_items_of_a_typed_list_get_what_the_list_says() {
        let items = json!([{"metadata": {"name": "a"}}, named("b")]);
        let list = json!({"apiVersion": "v1", "kind": "ConfigMapList", "items": items});
        assert_eq!(unfolded(vec![document(&list)]), [named("a"), named("b")]);
    }

    #[test]
    fn what_only_looks_like_a_list_stays_as_it_is() {
        for other in [
            json!({"apiVersion": "x.example/v1", "kind": "AllowList", "metadata": {"name": "a"}, "spec": {"items": []}}),
            json!({"apiVersion": "v1", "kind": "List", "items": {}}),
            json!({"items": [1]}),
            json!([1]),
        ] {
            assert_eq!(unfolded(vec![document(&other)]), [other]);
        }
        let broken = Document { content: Some(Content::Json("{".into())) };
        let spec = after(vec![broken.clone()]);
        assert_eq!(spec.manifest[0].document, Some(broken), "refused later, with its place");
    }
}
