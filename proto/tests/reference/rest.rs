//! The reference of the REST API, from the OpenAPI document.

use std::fmt::Write;

use serde_json::Value;

use super::grpc::cell;

const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

const HEAD: &str = "\
# REST reference

Generated from the same source as the OpenAPI document ([`openapi.json`](openapi.json), and `/openapi.json` of every gateway);
do not edit. `$GATEWAY` stands for the address of a gateway, for example `http://127.0.0.1:8080`.
";

/// The whole page.
pub(super) fn text() -> String {
    let document = krake_proto::openapi::document();
    let mut page = HEAD.to_owned();
    let _ = write!(page, "\n{}\n", text_of(&document["info"]["description"]));
    page.push_str("\n## Routes\n\n| Path | Methods |\n|---|---|\n");
    for (path, item) in members(&document["paths"]) {
        let links: Vec<String> = operations(item)
            .map(|(method, operation)| {
                format!("[{}](#{})", method.to_uppercase(), text_of(&operation["operationId"]).to_lowercase())
            })
            .collect();
        let _ = writeln!(page, "| `{path}` | {} |", links.join(" "));
    }
    for tag in document["tags"].as_array().unwrap() {
        let _ = write!(page, "\n## {}\n\n{}\n", text_of(&tag["name"]), text_of(&tag["description"]));
        for (path, item) in members(&document["paths"]) {
            for (method, described) in operations(item).filter(|(_, one)| one["tags"][0] == tag["name"]) {
                operation(&mut page, &document, path, method, described);
            }
        }
    }
    parameters(&mut page, &document);
    problems(&mut page, &document);
    page.push_str("\n## Schemas\n");
    for (name, described) in members(&document["components"]["schemas"]) {
        schema(&mut page, name, described);
    }
    page
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    // In the order of the names, whatever order the library keeps.
    let mut members: Vec<_> = value.as_object().unwrap().iter().collect();
    members.sort_by_key(|(name, _)| *name);
    members.into_iter()
}

fn operations(item: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    METHODS.into_iter().filter_map(|method| Some((method, item.get(method)?)))
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The last part of a reference.
fn target(reference: &Value) -> Option<&str> {
    reference.get("$ref")?.as_str()?.rsplit('/').next()
}

fn operation(page: &mut String, document: &Value, path: &str, method: &str, operation: &Value) {
    let id = text_of(&operation["operationId"]);
    let _ = write!(page, "\n### {id}\n\n`{} {path}`\n\n", method.to_uppercase());
    let about = operation.get("description").unwrap_or(&operation["summary"]);
    let _ = writeln!(page, "{}", text_of(about));
    let named: Vec<String> = operation["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(target)
        .map(|name| {
            let parameter = &document["components"]["parameters"][name];
            format!("`{}` ({})", text_of(&parameter["name"]), text_of(&parameter["in"]))
        })
        .collect();
    if !named.is_empty() {
        let _ = writeln!(page, "\nParameters: {}.", named.join(", "));
    }
    let content = &operation["requestBody"]["content"]["application/json"];
    if let Some(body) = target(&content["schema"]) {
        let _ = writeln!(page, "\nBody: [{body}](#{}).", body.to_lowercase());
    }
    let answers: Vec<String> = members(&operation["responses"])
        .filter(|(status, _)| *status != "default")
        .map(|(status, answer)| match &answer["content"]["application/json"]["schema"] {
            schema if target(schema).is_some() => {
                let name = target(schema).unwrap_or_default();
                format!("{status} [{name}](#{})", name.to_lowercase())
            }
            _ => status.clone(),
        })
        .collect();
    let _ = writeln!(page, "\nAnswers: {}.", answers.join(", "));
    if let Some(example) = content["examples"]["usual"].get("value") {
        let body = serde_json::to_string_pretty(&sorted(example)).unwrap();
        let _ = write!(
            page,
            "\n```sh\ncurl -X {} \"$GATEWAY{}\" -d '{body}'\n```\n",
            method.to_uppercase(),
            path.replace("{namespace}", "demo").replace("{name}", "echo")
        );
    }
}

/// `serde_json` may be built to keep another order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(_) => members(value).map(|(name, value)| (name.clone(), sorted(value))).collect(),
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

fn parameters(page: &mut String, document: &Value) {
    page.push_str("\n## Parameters\n\n| Name | In | Type | |\n|---|---|---|---|\n");
    for (_, parameter) in members(&document["components"]["parameters"]) {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            text_of(&parameter["name"]),
            text_of(&parameter["in"]),
            kind(&parameter["schema"]),
            cell(text_of(&parameter["description"]))
        );
    }
}

fn problems(page: &mut String, document: &Value) {
    page.push_str("\n## Problems\n\nErrors are `application/problem+json`, see [Problem](#problem).\n");
    page.push_str("\n| Status | |\n|---|---|\n");
    for (status, answer) in members(&document["components"]["responses"]) {
        let status = if status == "Problem" { "any other" } else { status };
        let _ = writeln!(page, "| {status} | {} |", cell(text_of(&answer["description"])));
    }
}

fn schema(page: &mut String, name: &str, schema: &Value) {
    let _ = write!(page, "\n### {name}\n\n{}\n", text_of(&schema["description"]));
    let Some(properties) = schema.get("properties") else {
        if schema.get("enum").is_none() {
            let _ = write!(page, "\nType: {}.\n", kind(schema));
        }
        return;
    };
    page.push_str("\n| Field | Type | |\n|---|---|---|\n");
    for (field, described) in members(properties) {
        let is_required =
            schema["required"].as_array().is_some_and(|names| names.contains(&field.as_str().into()));
        let marks: Vec<&str> = [
            ("required", is_required && described.get("readOnly").is_none()),
            ("read-only", described.get("readOnly").is_some()),
            ("immutable", described.get("x-krake-immutable").is_some()),
            ("secret", described.get("x-krake-sensitive").is_some()),
        ]
        .into_iter()
        .filter_map(|(mark, applies)| applies.then_some(mark))
        .collect();
        let marks = if marks.is_empty() { String::new() } else { format!("*({})* ", marks.join(", ")) };
        let default = described.get("default").map(|value| format!(" Never null: `{value}` when absent."));
        let default = default.unwrap_or_default();
        let about = cell(&format!("{marks}{}{default}", text_of(&described["description"])));
        let _ = writeln!(page, "| `{field}` | {} | {about} |", kind(described));
    }
}

/// A schema in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = target(schema) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some(value) = schema.get("const") {
        return format!("`{value}`");
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().map(text_of).collect(),
        _ => return "any".to_owned(),
    };
    let one = |name: &str| match name {
        "array" => format!("list of {}", kind(&schema["items"])),
        "object" if schema.get("additionalProperties").is_some() => {
            format!("map of string to {}", kind(&schema["additionalProperties"]))
        }
        other => match schema["format"].as_str().filter(|_| other != "null") {
            Some(format) => format!("{other} ({format})"),
            None => other.to_owned(),
        },
    };
    types.into_iter().map(one).collect::<Vec<_>>().join(" or ")
}
