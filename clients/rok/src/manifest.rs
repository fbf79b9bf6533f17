//! What `-f` names: Kubernetes manifests, or a TOSCA template.

use serde_json::{Map, Value};

use crate::yaml;

/// Tells a TOSCA template from a manifest.
const TOSCA_VERSION: &str = "tosca_definitions_version";

/// What an application consists of.
#[derive(Debug, PartialEq)]
pub(crate) enum Definition {
    /// Kubernetes objects, in order.
    Manifest(Vec<Value>),
    /// A TOSCA template.
    Tosca(Value),
}

/// Reads a file's text. Errors tell the document, counted from 1, and the field.
pub(crate) fn read(text: &str) -> Result<Definition, Vec<String>> {
    let mut documents = yaml::documents(text).map_err(|error| vec![error.to_string()])?;
    if documents.is_empty() {
        return Err(vec!["there is no document in it".to_owned()]);
    }
    if documents[0].value.get(TOSCA_VERSION).is_some() {
        return Ok(Definition::Tosca(documents.swap_remove(0).value));
    }
    let mut wrong = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        for problem in problems(&document.value) {
            wrong.push(format!("document {}: {problem} (it begins at line {})", index + 1, document.line));
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    Ok(Definition::Manifest(documents.into_iter().map(|document| document.value).collect()))
}

fn problems(object: &Value) -> Vec<String> {
    let Value::Object(fields) = object else {
        return vec!["expected a Kubernetes object with apiVersion, kind and metadata.name".to_owned()];
    };
    if is_list(fields) {
        // The state service takes it as its items, and says what is wrong with them.
        return Vec::new();
    }
    let name = fields.get("metadata").and_then(|metadata| metadata.get("name"));
    let required =
        [("apiVersion", fields.get("apiVersion")), ("kind", fields.get("kind")), ("metadata.name", name)];
    required.into_iter().filter_map(|(field, value)| problem(field, value)).collect()
}

/// Whether an object is a list of objects, as `kubectl get -o yaml` prints it.
fn is_list(fields: &Map<String, Value>) -> bool {
    fields.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"))
        && fields.get("items").is_some_and(Value::is_array)
}

fn problem(field: &str, value: Option<&Value>) -> Option<String> {
    match value {
        None | Some(Value::Null) => Some(format!("{field} is missing")),
        Some(Value::String(text)) if text.is_empty() => Some(format!("{field} is empty")),
        Some(Value::String(_)) => None,
        Some(other) => Some(format!("{field} must be a string, found {other} (write it in quotes)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPLOYMENT: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: echo\n";

    #[test]
    fn every_document_is_an_object_in_order() {
        let text = format!("{DEPLOYMENT}---\napiVersion: v1\nkind: Service\nmetadata: {{name: echo}}\n");
        let Definition::Manifest(objects) = read(&text).unwrap() else { panic!() };
        let kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["Deployment", "Service"]);
    }

    #[test]
    fn a_list_has_no_name() {
        for kind in ["List", "ConfigMapList"] {
            let text = format!("apiVersion: v1\nkind: {kind}\nitems: [{{metadata: {{name: a}}}}]\n");
            assert!(matches!(read(&text), Ok(Definition::Manifest(objects)) if objects.len() == 1), "{kind}");
        }
        assert!(read("apiVersion: example.org/v1\nkind: AllowList\nspec: {items: []}\n").is_err());
    }

    #[test]
    fn a_tosca_template_is_recognised() {
        let read = read("tosca_definitions_version: tosca_simple_yaml_1_0\n").unwrap();
        assert!(matches!(read, Definition::Tosca(_)));
    }

    #[test]
    fn errors_name_document_and_field() {
        let text =
            format!("{DEPLOYMENT}---\napiVersion: v1\nmetadata: {{name: 7}}\n---\n- a\n---\nkind: ''\n");
        insta::assert_snapshot!(read(&text).unwrap_err().join("\n"), @r"
        document 2: kind is missing (it begins at line 6)
        document 2: metadata.name must be a string, found 7 (write it in quotes) (it begins at line 6)
        document 3: expected a Kubernetes object with apiVersion, kind and metadata.name (it begins at line 9)
        document 4: apiVersion is missing (it begins at line 11)
        document 4: kind is empty (it begins at line 11)
        document 4: metadata.name is missing (it begins at line 11)
        ");
        assert_eq!(read("# nothing\n").unwrap_err(), ["there is no document in it"]);
    }
}
