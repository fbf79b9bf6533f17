//! Messages as JSON Schemas: the JSON form in OpenAPI's terms.

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value};
use serde_json::{Map, Value as Json, json};

use crate::POOL;
use crate::comments::comment;
use crate::json::flat;
use crate::json::scalar::enum_name;
use crate::json::shape::{Field, Form, Shape, shape};

/// Collects the schemas that the document's operations refer to.
#[derive(Default)]
pub(super) struct Schemas {
    /// By name, for `components.schemas`.
    pub(super) found: Map<String, Json>,
}

/// A reference to a schema of `components`.
pub(super) fn reference(name: &str) -> Json {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

impl Schemas {
    /// The schema of a resource, by the name of its kind as REST shows it.
    pub(super) fn resource(&mut self, message: &MessageDescriptor, shown: &str) -> Json {
        self.named(shown, |schemas| {
            let mut schema = schemas.object(message, &[]);
            let properties = &mut schema["properties"];
            properties["kind"] = json!({ "type": "string", "const": shown, "description": "Always this." });
            schema
        })
    }

    /// The schema of the body of a request: its fields without those that the path names.
    pub(super) fn request(&mut self, message: &MessageDescriptor, in_path: &[&str]) -> Json {
        self.named(message.name(), |schemas| schemas.object(message, in_path))
    }

    /// A schema of the given name, made on first use.
    pub(super) fn named(&mut self, name: &str, make: impl FnOnce(&mut Self) -> Json) -> Json {
        if !self.found.contains_key(name) {
            // Holds the place, for messages that contain themselves.
            self.found.insert(name.to_owned(), Json::Null);
            let schema = make(self);
            self.found.insert(name.to_owned(), schema);
        }
        reference(name)
    }

    fn message(&mut self, message: &MessageDescriptor) -> Json {
        let shape = shape(message);
        match shape.form {
            Form::Timestamp => json!({ "type": "string", "format": "date-time" }),
            Form::Duration => json!({ "type": "string", "pattern": r"^-?\d+(\.\d{1,9})?s$", "examples": ["30s"] }),
            Form::Document => self.named(message.name(), |_| {
                json!({ "description": "Any JSON value, at most 64 levels deep; integers of any size stay exact." })
            }),
            Form::Fields => match shape.shown_as.and_then(|index| shape.fields.get(index)) {
                Some(shown) => self.named(message.name(), |schemas| {
                    let mut schema = schemas.value(&shown.descriptor);
                    describe(&mut schema, comment(&message.parent_file(), message.path()));
                    schema
                }),
                None => self.named(message.name(), |schemas| schemas.object(message, &[])),
            },
        }
    }

    fn object(&mut self, message: &MessageDescriptor, without: &[&str]) -> Json {
        let shape = shape(message);
        let mut properties = Map::new();
        let mut required = Vec::new();
        if let Some(kind) = shape.kind {
            let fixed =
                |value: &str| json!({ "type": "string", "const": value, "description": "Always this." });
            properties.insert("api".into(), fixed(kind.api));
            properties.insert("kind".into(), fixed(kind.kind));
        }
        let spec = flat::spec(shape);
        for field in shape.fields.iter().filter(|field| !without.contains(&field.descriptor.name())) {
            if spec.is_some_and(|spec| std::ptr::eq(spec, field)) {
                self.flat(field, &mut properties, &mut required);
                continue;
            }
            let is_variant = shape.is_variant(field);
            let rules = Rules::of(field, shape);
            let schema = self.field(field, &rules, is_variant);
            let name = field.descriptor.name().to_owned();
            if rules.required && !is_variant {
                required.push(Json::from(name.clone()));
            }
            properties.insert(name, schema);
        }
        let mut schema = json!({ "type": "object" });
        describe(&mut schema, comment(&message.parent_file(), message.path()));
        if let Some(union) = &shape.union {
            let names: Vec<String> = union.fields().map(|field| field.name().to_owned()).collect();
            let one_of =
                |name: &String| json!({ "properties": { "type": { "const": name } }, "required": [name] });
            schema["oneOf"] = names.iter().map(one_of).collect();
            let about = "Which of the other fields is there.";
            properties
                .insert("type".into(), json!({ "type": "string", "enum": names, "description": about }));
            required.push("type".into());
        }
        schema["properties"] = Json::Object(properties);
        if !required.is_empty() {
            required.sort_by(|left, right| left.as_str().cmp(&right.as_str()));
            schema["required"] = Json::Array(required);
        }
        schema
    }

    /// The members of a flat kind's spec, among those of the kind.
    fn flat(&mut self, spec: &Field, properties: &mut Map<String, Json>, required: &mut Vec<Json>) {
        let Kind::Message(message) = &spec.kind else { return };
        let mut schema = self.object(message, &[]);
        if let Json::Object(members) = schema["properties"].take() {
            properties.extend(members);
        }
        if let Json::Array(names) = schema["required"].take() {
            required.extend(names);
        }
    }

    fn field(&mut self, field: &Field, rules: &Rules, is_variant: bool) -> Json {
        let descriptor = &field.descriptor;
        let mut schema = self.value(descriptor);
        let may_be_null = descriptor.supports_presence() || field.null_if_empty;
        match &field.if_absent {
            Some(absent) => schema["default"] = absent.value.clone(),
            None if may_be_null && !rules.never_null && !is_variant => schema = nullable(schema),
            None => {}
        }
        describe(&mut schema, comment(&descriptor.parent_message().parent_file(), descriptor.path()));
        if rules.read_only {
            schema["readOnly"] = true.into();
        }
        if rules.immutable {
            schema["x-krake-immutable"] = true.into();
        }
        if field.sensitive {
            schema["x-krake-sensitive"] = true.into();
        }
        schema
    }

    /// The schema of a field's value, be it one, a list or a map.
    fn value(&mut self, field: &FieldDescriptor) -> Json {
        if field.is_map() {
            let Kind::Message(entry) = field.kind() else { return json!({}) };
            let values = self.single(&entry.map_entry_value_field().kind());
            return json!({ "type": "object", "additionalProperties": values });
        }
        let single = self.single(&field.kind());
        if field.is_list() { json!({ "type": "array", "items": single }) } else { single }
    }

    fn single(&mut self, kind: &Kind) -> Json {
        match kind {
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({ "type": "integer", "format": "int32" }),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({ "type": "integer", "format": "int64" }),
            Kind::Uint32 | Kind::Fixed32 => json!({ "type": "integer", "format": "uint32", "minimum": 0 }),
            Kind::Uint64 | Kind::Fixed64 => json!({ "type": "integer", "format": "uint64", "minimum": 0 }),
            Kind::Float => json!({ "type": "number", "format": "float" }),
            Kind::Double => json!({ "type": "number", "format": "double" }),
            Kind::Enum(descriptor) => self.named(descriptor.name(), |_| enumeration(descriptor)),
            Kind::Message(message) => self.message(message),
        }
    }
}

/// Properties of a field by `google.api.field_behavior` and its place in a resource.
struct Rules {
    required: bool,
    never_null: bool,
    read_only: bool,
    immutable: bool,
}

impl Rules {
    fn of(field: &Field, shape: &Shape) -> Self {
        const REQUIRED: i32 = 2;
        const IMMUTABLE: i32 = 5;
        let behavior =
            POOL.get_extension_by_name("google.api.field_behavior").expect("the API imports the option");
        let options = field.descriptor.options();
        let values = options.get_extension(&behavior);
        let has =
            |number: i32| values.as_list().is_some_and(|values| values.contains(&Value::EnumNumber(number)));
        let of_resource = |name: &str| shape.kind.is_some() && field.descriptor.name() == name;
        let status = of_resource("status");
        let required = has(REQUIRED) || of_resource("metadata") || of_resource("spec");
        Rules {
            // Output-only fields are in every answer, and OpenAPI does not expect a client to send them.
            required: required || field.output_only || status,
            never_null: required || status,
            read_only: field.output_only || status,
            immutable: has(IMMUTABLE),
        }
    }
}

fn enumeration(descriptor: &EnumDescriptor) -> Json {
    let mut text = comment(&descriptor.parent_file(), descriptor.path()).to_owned();
    let mut values = Vec::new();
    text.push('\n');
    for value in descriptor.values() {
        let name = enum_name(descriptor, value.name());
        text.push_str(&format!("\n* `{name}`: {}", comment(&value.parent_file(), value.path())));
        values.push(Json::from(name));
    }
    let mut schema = json!({ "type": "string", "enum": values });
    describe(&mut schema, &text);
    schema
}

fn nullable(schema: Json) -> Json {
    match schema.get("type") {
        Some(Json::String(one)) => {
            let types = json!([one, "null"]);
            let mut schema = schema;
            schema["type"] = types;
            schema
        }
        _ => json!({ "anyOf": [schema, { "type": "null" }] }),
    }
}

/// Says what a schema is for; next to a reference too, as OpenAPI 3.1 allows.
fn describe(schema: &mut Json, text: &str) {
    if !text.is_empty() {
        schema["description"] = text.into();
    }
}
