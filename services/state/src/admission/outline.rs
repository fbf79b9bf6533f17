//! What admission must know of a document, found in one pass over its JSON without building its values.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

/// A JSON value as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Shape {
    /// null.
    #[default]
    Null,
    /// An object without fields.
    EmptyObject,
    /// An object with fields.
    Object,
    /// Anything else.
    Other,
}

/// A field that should hold a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Text {
    /// There is no such field.
    #[default]
    Missing,
    /// null.
    Null,
    /// A text.
    Is(String),
    /// Anything else.
    Other,
}

impl Text {
    /// The text; empty if there is none.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Text::Is(text) => text,
            Text::Missing | Text::Null | Text::Other => "",
        }
    }
}

/// A document in outline. Of fields that occur several times the last one counts, as in every JSON parser.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outline {
    /// What it is.
    pub shape: Shape,
    /// How many arrays and objects are nested in each other.
    pub depth: usize,
    /// `apiVersion`.
    pub api_version: Text,
    /// `kind`.
    pub kind: Text,
    /// `metadata.name`.
    pub name: Text,
    /// `metadata.namespace`.
    pub namespace: Text,
    /// Whether `spec.volumeClaimTemplates` is a list with items.
    pub has_claim_templates: bool,
}

impl Outline {
    /// Of a JSON text; the error tells line and column.
    pub(crate) fn read(json: &str) -> serde_json::Result<Self> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let outline = Self::of(&mut deserializer)?;
        deserializer.end()?;
        Ok(outline)
    }

    /// Of a value.
    pub(crate) fn of<'de, D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let mut outline = Outline::default();
        let depth = Reader { place: Place::Root, outline: &mut outline }.deserialize(value)?;
        Ok(Outline { depth, ..outline })
    }

    fn text(&mut self, field: Field) -> &mut Text {
        match field {
            Field::ApiVersion => &mut self.api_version,
            Field::Kind => &mut self.kind,
            Field::Name => &mut self.name,
            Field::Namespace => &mut self.namespace,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Field {
    ApiVersion,
    Kind,
    Name,
    Namespace,
}

/// Where in a document a value is.
#[derive(Debug, Clone, Copy)]
enum Place {
    Root,
    Metadata,
    Text(Field),
    Spec,
    ClaimTemplates,
    Elsewhere,
}

impl Place {
    fn child(self, name: &str) -> Place {
        match (self, name) {
            (Place::Root, "apiVersion") => Place::Text(Field::ApiVersion),
            (Place::Root, "kind") => Place::Text(Field::Kind),
            (Place::Root, "metadata") => Place::Metadata,
            (Place::Root, "spec") => Place::Spec,
            (Place::Spec, "volumeClaimTemplates") => Place::ClaimTemplates,
            (Place::Metadata, "name") => Place::Text(Field::Name),
            (Place::Metadata, "namespace") => Place::Text(Field::Namespace),
            _ => Place::Elsewhere,
        }
    }
}

/// Reads the value at a place into the outline, and tells its depth.
struct Reader<'a> {
    place: Place,
    outline: &'a mut Outline,
}

impl Reader<'_> {
    /// Notes a value that is not an object.
    fn note(self, shape: Shape, text: impl FnOnce() -> Text) -> usize {
        match self.place {
            Place::Root => self.outline.shape = shape,
            Place::Text(field) => *self.outline.text(field) = text(),
            Place::ClaimTemplates => self.outline.has_claim_templates = false,
            Place::Metadata | Place::Spec | Place::Elsewhere => {}
        }
        0
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = usize;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<usize, E> {
        Ok(self.note(Shape::Null, || Text::Null))
    }

    fn visit_bool<E>(self, _: bool) -> Result<usize, E> {
        Ok(self.note(Shape::Other, || Text::Other))
    }

    fn visit_i64<E>(self, _: i64) -> Result<usize, E> {
        Ok(self.note(Shape::Other, || Text::Other))
    }

    fn visit_u64<E>(self, _: u64) -> Result<usize, E> {
        Ok(self.note(Shape::Other, || Text::Other))
    }

    fn visit_f64<E>(self, _: f64) -> Result<usize, E> {
        Ok(self.note(Shape::Other, || Text::Other))
    }

    fn visit_str<E>(self, text: &str) -> Result<usize, E> {
        Ok(self.note(Shape::Other, || Text::Is(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<usize, A::Error> {
        let Reader { place, outline } = self;
        Reader { place, outline: &mut *outline }.note(Shape::Other, || Text::Other);
        let mut deepest = 0;
        while let Some(depth) =
            items.next_element_seed(Reader { place: Place::Elsewhere, outline: &mut *outline })?
        {
            deepest = deepest.max(depth);
            if matches!(place, Place::ClaimTemplates) {
                outline.has_claim_templates = true;
            }
        }
        Ok(deepest + 1)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<usize, A::Error> {
        let Reader { place, outline } = self;
        Reader { place, outline: &mut *outline }.note(Shape::EmptyObject, || Text::Other);
        let mut deepest = 0;
        while let Some(child) = fields.next_key_seed(Name(place))? {
            match (place, child) {
                (Place::Root, Place::Metadata) => {
                    (outline.name, outline.namespace) = (Text::Missing, Text::Missing);
                    outline.shape = Shape::Object;
                }
                (Place::Root, Place::Spec) => {
                    outline.has_claim_templates = false;
                    outline.shape = Shape::Object;
                }
                (Place::Root, _) => outline.shape = Shape::Object,
                _ => {}
            }
            let depth = fields.next_value_seed(Reader { place: child, outline: &mut *outline })?;
            deepest = deepest.max(depth);
        }
        Ok(deepest + 1)
    }
}

/// The name of a field of the object at a place, as the place of its value.
struct Name(Place);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Place;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Place, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Place;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Place, E> {
        Ok(self.0.child(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn is(text: &str) -> Text {
        Text::Is(text.to_owned())
    }

    /// The same by way of the values.
    fn by_values(value: &Value) -> Outline {
        fn depth(value: &Value) -> usize {
            match value {
                Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
                Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
                _ => 0,
            }
        }
        let text = |pointer: &str| match value.pointer(pointer).filter(|_| value.is_object()) {
            None => Text::Missing,
            Some(Value::Null) => Text::Null,
            Some(Value::String(text)) => is(text),
            Some(_) => Text::Other,
        };
        let claims = value.get("spec").and_then(|spec| spec.get("volumeClaimTemplates"));
        let in_metadata = |pointer: &str| match value.get("metadata") {
            Some(Value::Object(_)) => text(pointer),
            _ => Text::Missing,
        };
        Outline {
            shape: match value {
                Value::Null => Shape::Null,
                Value::Object(fields) if fields.is_empty() => Shape::EmptyObject,
                Value::Object(_) => Shape::Object,
                _ => Shape::Other,
            },
            depth: depth(value),
            api_version: text("/apiVersion"),
            kind: text("/kind"),
            name: in_metadata("/metadata/name"),
            namespace: in_metadata("/metadata/namespace"),
            has_claim_templates: claims.and_then(Value::as_array).is_some_and(|claims| !claims.is_empty()),
        }
    }

    #[test]
    fn the_last_of_several_fields_counts() {
        let outline = Outline::read(
            r#"{"kind": "A", "kind": "B", "metadata": {"name": "a", "namespace": "n"}, "metadata": {"name": 1}}"#,
        );
        let expected = Outline {
            shape: Shape::Object,
            depth: 2,
            kind: is("B"),
            name: Text::Other,
            ..Default::default()
        };
        assert_eq!(outline.unwrap(), expected);
        let emptied = Outline::read(r#"{"metadata": {"name": "a"}, "metadata": []}"#).unwrap();
        assert_eq!(emptied.name, Text::Missing);
        let claims = |spec: &str| Outline::read(spec).unwrap().has_claim_templates;
        assert!(claims(
            r#"{"spec": {}, "spec": {"volumeClaimTemplates": [], "volumeClaimTemplates": [{}]}}"#
        ));
        assert!(!claims(r#"{"spec": {"volumeClaimTemplates": [{}], "volumeClaimTemplates": null}}"#));
        assert!(!claims(r#"{"spec": {"volumeClaimTemplates": [{}]}, "spec": []}"#));
    }

    fn anything() -> impl Strategy<Value = Value> {
        let name = prop_oneof![
            Just("apiVersion".to_owned()),
            Just("kind".to_owned()),
            Just("metadata".to_owned()),
            Just("name".to_owned()),
            Just("namespace".to_owned()),
            Just("spec".to_owned()),
            Just("volumeClaimTemplates".to_owned()),
            "\\PC{0,3}",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,5}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(name.clone(), inner, 0..5)
                    .prop_map(|fields| fields.into_iter().collect::<Value>()),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_is_what_the_values_show(value in anything()) {
            prop_assert_eq!(Outline::read(&value.to_string()).unwrap(), by_values(&value));
            prop_assert_eq!(Outline::of(&value).unwrap(), by_values(&value));
        }

        #[test]
        fn a_text_is_refused_exactly_if_it_has_no_value(
            text in prop_oneof![
                "[\\[\\]{}:,\"a0-9.eE\\\\u+ \n-]{0,24}",
                "\\PC{0,12}",
                anything().prop_map(|value| value.to_string()),
                anything().prop_map(|value| format!("{value},")),
            ]
        ) {
            let parsed = serde_json::from_str::<Value>(&text).map(|value| by_values(&value));
            let outline = Outline::read(&text);
            match (outline, parsed) {
                (Ok(outline), Ok(expected)) => prop_assert_eq!(outline, expected),
                (Err(error), Err(expected)) => prop_assert_eq!(error.to_string(), expected.to_string()),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }

    #[test]
    fn odd_numbers_and_nesting_without_end_are_refused_as_by_the_parser_of_values() {
        for text in
            ["1e999".to_owned(), "\"\\ud800\"".to_owned(), "[".repeat(1_000), json!(1).to_string() + "x"]
        {
            let expected = serde_json::from_str::<Value>(&text).unwrap_err().to_string();
            assert_eq!(Outline::read(&text).unwrap_err().to_string(), expected);
        }
    }
}
