//! The types of the built-in kinds: fields, and how lists are shared.
//!
//! `types.txt` has a line for each: `kind GROUP/VERSION/KIND TYPE`, or the type itself, `TYPE VERSION FIELD:TYPE …`. A
//! type is a scalar, `any`, another type by its name, `[]TYPE` for a list, or `{}TYPE` for a map. `!` behind a map or a
//! type's own name says that it has one owner as a whole. A list has one too, unless there is `@set` behind it, or `@`
//! and the keys of its items, each with its default behind `=`. `types.py` beside this crate's manifest makes the file.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use crate::ownership::{Key, List, Schema};

/// The type of a field.
#[derive(Debug)]
pub(crate) enum Type {
    /// A string, a number of some kind, …: by its name in Go, or `quantity`, `int-or-string`, `bytes`, `any`.
    Scalar(&'static str),
    /// A list, and how its items are shared.
    List(Box<Type>, List),
    /// A map from strings; whether it has one owner.
    Map(Box<Type>, bool),
    /// An object, by the name of its type.
    Object(&'static str),
}

/// The type of an object.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) name: &'static str,
    /// The version that its package is named by.
    pub(crate) version: &'static str,
    /// Whether it has one owner.
    atomic: bool,
    pub(crate) fields: BTreeMap<&'static str, Type>,
}

#[derive(Default)]
struct Types {
    kinds: BTreeMap<&'static str, &'static str>,
    objects: BTreeMap<&'static str, Object>,
}

static TYPES: LazyLock<Types> = LazyLock::new(|| {
    let mut types = Types::default();
    for line in include_str!("types.txt").lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let (name, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if name == "kind" {
            types.kinds.insert(second, words.next().unwrap_or_default());
            continue;
        }
        let atomic = name.ends_with('!');
        let name = name.trim_end_matches('!');
        let fields = words.filter_map(|field| field.split_once(':')).map(|(name, kind)| (name, parse(kind)));
        types.objects.insert(name, Object { name, version: second, atomic, fields: fields.collect() });
    }
    types
});

fn parse(text: &'static str) -> Type {
    if let Some(item) = text.strip_prefix("[]") {
        let (item, shared) = item.split_once('@').unwrap_or((item, "atomic"));
        return Type::List(Box::new(parse(item)), List::parse(shared));
    }
    if let Some(value) = text.strip_prefix("{}") {
        return Type::Map(Box::new(parse(value.trim_end_matches('!'))), value.ends_with('!'));
    }
    let object = text.starts_with(|first: char| first.is_ascii_uppercase());
    if object { Type::Object(text) } else { Type::Scalar(text) }
}

/// The type of a built-in kind.
pub(crate) fn of_kind(group: &str, version: &str, kind: &str) -> Option<&'static Object> {
    object(TYPES.kinds.get(format!("{group}/{version}/{kind}").as_str())?)
}

/// The type of `metadata`.
pub(crate) fn metadata() -> Option<&'static Object> {
    object("ObjectMeta")
}

/// The type of this name.
pub(crate) fn object(name: &str) -> Option<&'static Object> {
    TYPES.objects.get(name)
}

/// How the fields of an object are shared.
pub(crate) fn schema(object: &'static Object) -> Schema {
    shared(object, &mut Vec::new())
}

/// `above` are the types that it is in: what a type has of itself has one owner in any case.
fn shared(object: &'static Object, above: &mut Vec<&'static str>) -> Schema {
    if object.atomic || above.contains(&object.name) {
        return Schema::list(List::Atomic, Schema::default());
    }
    above.push(object.name);
    let fields = object.fields.iter().map(|(name, kind)| ((*name).to_owned(), of_type(kind, above)));
    let schema = Schema::object(fields.collect());
    above.pop();
    schema
}

fn of_type(kind: &'static Type, above: &mut Vec<&'static str>) -> Schema {
    match kind {
        Type::Scalar("any") => Schema::free(),
        Type::Scalar(_) => Schema::default(),
        Type::Object(name) => object(name).map_or_else(Schema::free, |object| shared(object, above)),
        Type::Map(_, true) | Type::List(_, List::Atomic) => Schema::list(List::Atomic, Schema::default()),
        Type::Map(value, false) => Schema::map(of_type(value, above)),
        Type::List(item, list) => Schema::list(list.clone(), of_type(item, above)),
    }
}

/// What a value may be: by the types of a built-in kind, or the OpenAPI schema of a custom one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape<'a> {
    Type(&'static Type),
    Object(&'static Object),
    /// An object of a custom kind.
    Custom(&'a Value),
    /// Of the OpenAPI schema of a definition.
    Schema(&'a Value),
    Anything,
}

impl<'a> Shape<'a> {
    /// The shape of a field; `None` if there is no such field.
    pub(crate) fn field(self, name: &str) -> Option<Self> {
        match self {
            Self::Object(object) => object.fields.get(name).map(Self::Type),
            Self::Type(Type::Object(object_name)) => match object(object_name) {
                Some(object) => Self::Object(object).field(name),
                None => Some(Self::Anything),
            },
            Self::Type(Type::Map(value, _)) => Some(Self::Type(value)),
            Self::Custom(_) if matches!(name, "apiVersion" | "kind") => Some(Self::Anything),
            Self::Custom(_) if name == "metadata" => Some(metadata().map_or(Self::Anything, Self::Object)),
            Self::Custom(schema) | Self::Schema(schema) => {
                let rest = schema.get("additionalProperties");
                let free = schema["x-kubernetes-preserve-unknown-fields"] == true
                    || rest.is_some_and(|rest| *rest == true);
                match schema["properties"].get(name).or(rest.filter(|rest| rest.is_object())) {
                    Some(field) => Some(Self::Schema(field)),
                    None => free.then_some(Self::Anything),
                }
            }
            Self::Type(_) | Self::Anything => Some(Self::Anything),
        }
    }

    /// The shape of the items of a list.
    pub(crate) fn item(self) -> Self {
        match self {
            Self::Type(Type::List(item, _)) => Self::Type(item),
            Self::Schema(schema) if schema["items"].is_object() => Self::Schema(&schema["items"]),
            _ => Self::Anything,
        }
    }

    /// How the items of a list are named in paths; `None` if by their place.
    pub(crate) fn keys(self) -> Option<Vec<Key>> {
        match self {
            Self::Type(Type::List(_, List::Keyed(keys))) => Some(keys.clone()),
            Self::Schema(schema) if schema["x-kubernetes-list-type"] == "map" => {
                Some(Key::of_definition(schema))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_is_named_is_there() {
        fn named(kind: &Type) -> Option<&'static str> {
            match kind {
                Type::Scalar(_) => None,
                Type::List(below, _) | Type::Map(below, _) => named(below),
                Type::Object(name) => Some(name),
            }
        }
        assert!(TYPES.kinds.len() > 30 && TYPES.objects.len() > 300);
        let fields = TYPES.objects.values().flat_map(|object| object.fields.values()).filter_map(named);
        for name in fields.chain(TYPES.kinds.values().copied()) {
            assert!(object(name).is_some(), "{name}");
        }
    }

    #[test]
    fn shapes_lead_to_fields_and_say_what_is_unknown() {
        let deployment = Shape::Object(of_kind("apps", "v1", "Deployment").unwrap());
        let containers = ["spec", "template", "spec", "containers"]
            .iter()
            .try_fold(deployment, |shape, field| shape.field(field))
            .unwrap();
        assert_eq!(containers.keys().unwrap()[0].name, "name");
        assert!(containers.item().field("image").is_some() && containers.item().field("imagee").is_none());
        let labels = deployment.field("metadata").unwrap().field("labels").unwrap();
        assert!(labels.field("anything").is_some());
    }
}
