//! Custom resources against the schema of their definition: types and required fields.

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
            causes.push((path.to_owned(), "FieldValueTypeInvalid", what));
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
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn types_and_required_fields_are_found() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "required": ["size"],
            "properties": {"size": {"type": "integer"}, "list": {"type": "array", "items": {"type": "string"}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}});
        let fields = |object: Value| -> Vec<String> {
            check(&schema, &object).into_iter().map(|(field, ..)| field).collect()
        };
        assert!(fields(json!({"spec": {"size": 1, "list": ["a"]}})).is_empty());
        assert_eq!(fields(json!({"spec": {"size": "x", "list": [1]}})), ["spec.list[0]", "spec.size"]);
        assert_eq!(fields(json!({"spec": {}})), ["spec.size"]);
    }
}
