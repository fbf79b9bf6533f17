//! Custom resources against the schema of their definition: types, required fields, and fields that it does not have.

use serde_json::Value;

type Causes = Vec<(String, &'static str, String)>;

/// What is wrong with an object: (field, reason, what). Formats, patterns and bounds are not looked at.
pub(crate) fn check(schema: &Value, object: &Value) -> Causes {
    let mut causes = Causes::new();
    walk(schema, object, "", &mut causes);
    causes
}

fn walk(schema: &Value, value: &Value, path: &str, causes: &mut Causes) {
    let wanted = schema["type"].as_str().unwrap_or_default();
    let excused =
        value.is_null() && schema["nullable"] == true || schema["x-kubernetes-int-or-string"] == true;
    if !fits(wanted, value) {
        if !excused {
            let found = type_name(value);
            let what =
                format!("Invalid value: \"{found}\": {path} in body must be of type {wanted}: \"{found}\"");
            causes.push((path.to_owned(), "FieldValueInvalid", what));
        }
        return;
    }
    match value {
        Value::Object(fields) => {
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !fields.contains_key(name) {
                    causes.push((below(path, name), "FieldValueRequired", "Required value".to_owned()));
                }
            }
            for (name, value) in fields {
                let described = [&schema["properties"][name], &schema["additionalProperties"]];
                if let Some(schema) = described.into_iter().find(|schema| schema.is_object()) {
                    walk(schema, value, &below(path, name), causes);
                }
            }
        }
        Value::Array(items) if schema["items"].is_object() => {
            for (index, item) in items.iter().enumerate() {
                walk(&schema["items"], item, &format!("{path}[{index}]"), causes);
            }
        }
        _ => {}
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn fits(wanted: &str, value: &Value) -> bool {
    match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The first field of an object that the schema does not have, as a path.
pub(crate) fn undeclared(schema: &Value, object: &Value) -> Option<String> {
    let top = |name: &str| matches!(name, "apiVersion" | "kind" | "metadata");
    let mut fields = object.as_object()?.iter().filter(|(name, _)| !top(name));
    fields.find_map(|(name, value)| undeclared_field(schema, name, value, &format!(".{name}")))
}

fn undeclared_field(schema: &Value, name: &str, value: &Value, path: &str) -> Option<String> {
    let declared = &schema["properties"][name];
    let rest = &schema["additionalProperties"];
    let free = schema["x-kubernetes-preserve-unknown-fields"] == true || *rest == true;
    match (declared.is_object(), rest.is_object()) {
        (true, _) => undeclared_below(declared, value, path),
        (false, true) => undeclared_below(rest, value, path),
        (false, false) => (!free).then(|| path.to_owned()),
    }
}

fn undeclared_below(schema: &Value, value: &Value, path: &str) -> Option<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .find_map(|(name, value)| undeclared_field(schema, name, value, &format!("{path}.{name}"))),
        Value::Array(items) => items.iter().find_map(|item| undeclared_below(&schema["items"], item, path)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn types_required_and_undeclared_fields_are_found() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "required": ["size"],
            "properties": {"size": {"type": "integer"}, "list": {"type": "array", "items": {"type": "string"}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}});
        let fields = |object: Value| -> Vec<String> {
            check(&schema, &object).into_iter().map(|(field, ..)| field).collect()
        };
        assert!(fields(json!({"spec": {"size": 1, "list": ["a"]}})).is_empty());
        assert_eq!(fields(json!({"spec": {"size": "x", "list": [1]}})), ["spec.list[0]", "spec.size"]);
        assert_eq!(fields(json!({"spec": {}})), ["spec.size"]);
        let undeclared = |object: Value| undeclared(&schema, &object);
        assert_eq!(
            undeclared(json!({"metadata": {"name": "a"}, "spec": {"size": 1, "free": {"x": 1}}})),
            None
        );
        assert_eq!(undeclared(json!({"spec": {"list": [], "other": 1}})).as_deref(), Some(".spec.other"));
    }
}
