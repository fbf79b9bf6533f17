//! The JSON form of each message as its descriptor and options define it, looked up once.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use prost::encoding::WireType;
use prost_reflect::{
    DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind as FieldKind, MessageDescriptor,
    OneofDescriptor, Value,
};

use super::scalar;
use crate::google::api::FieldBehavior;
use crate::{KINDS, Kind, POOL};

/// The form of one message.
pub(crate) struct Shape {
    pub(crate) form: Form,
    /// In the order of the declaration; deprecated ones are not part of the JSON form.
    pub(crate) fields: Vec<Field>,
    /// Set for resource kinds: shown as `api` and `kind`.
    pub(crate) kind: Option<&'static Kind>,
    /// The oneof that is shown as `type` and the field of that name.
    pub(crate) union: Option<OneofDescriptor>,
    /// Index in `fields` of the one that stands for the whole message.
    pub(crate) shown_as: Option<usize>,
    /// Index in `fields` by field number.
    by_number: HashMap<u32, usize>,
}

/// Messages with a form of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Fields,
    Timestamp,
    Duration,
    Document,
}

/// One field and its options.
pub(crate) struct Field {
    pub(crate) descriptor: FieldDescriptor,
    pub(crate) sensitive: bool,
    pub(crate) null_if_empty: bool,
    /// Only in answers: the state service fills it, or another method writes it.
    pub(crate) output_only: bool,
    /// JSON that stands for the absent field.
    pub(crate) if_absent: Option<Absent>,
    /// JSON that REST puts into objects that it creates without the field.
    pub(crate) rest_default: Option<serde_json::Value>,
    /// Kept, as the fields below: the descriptor builds them at each call.
    pub(crate) kind: FieldKind,
    pub(crate) is_list: bool,
    pub(crate) is_map: bool,
    pub(crate) has_presence: bool,
    /// Full name of the oneof that the field is a member of; none for `optional` fields.
    pub(crate) oneof: Option<String>,
    /// Name of each value of an enum, without the prefix.
    pub(crate) names: HashMap<i32, String>,
    /// See [`Field::message`].
    message: OnceLock<Option<&'static Shape>>,
}

impl Field {
    /// The form of the field's messages; none if it has another type. Kept, since finding it by name costs more than
    /// the rest of a field.
    pub(crate) fn message(&self) -> Option<&'static Shape> {
        *self.message.get_or_init(|| match &self.kind {
            FieldKind::Message(descriptor) => Some(shape(descriptor)),
            _ => None,
        })
    }

    /// Wire type of a value, and of each element of a list that is not packed.
    pub(crate) fn wire_type(&self) -> WireType {
        match self.kind {
            FieldKind::String | FieldKind::Bytes | FieldKind::Message(_) => WireType::LengthDelimited,
            FieldKind::Double | FieldKind::Fixed64 | FieldKind::Sfixed64 => WireType::SixtyFourBit,
            FieldKind::Float | FieldKind::Fixed32 | FieldKind::Sfixed32 => WireType::ThirtyTwoBit,
            _ => WireType::Varint,
        }
    }

    /// Whether the field is a list whose elements may be written without a key each.
    pub(crate) fn is_packable(&self) -> bool {
        self.is_list && self.wire_type() != WireType::LengthDelimited
    }
}

/// JSON that stands for an absent field.
pub(crate) struct Absent {
    /// JSON without white space.
    pub(crate) text: String,
    pub(crate) value: serde_json::Value,
}

impl Absent {
    fn read(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| {
            let value: serde_json::Value = serde_json::from_str(text).expect("if_absent is JSON");
            Absent { text: value.to_string(), value }
        })
    }
}

impl Shape {
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.descriptor.name() == name)
    }

    /// The index of the field with a number.
    pub(crate) fn index(&self, number: u32) -> Option<usize> {
        self.by_number.get(&number).copied()
    }

    /// Whether the field is a variant of the tagged union.
    pub(crate) fn is_variant(&self, field: &Field) -> bool {
        self.union.is_some() && field.descriptor.containing_oneof() == self.union
    }
}

/// The form of a message of [`POOL`].
pub(crate) fn shape(descriptor: &MessageDescriptor) -> &'static Shape {
    SHAPES.get(descriptor.full_name()).expect("the message is part of the API")
}

static SHAPES: LazyLock<HashMap<String, Shape>> = LazyLock::new(|| {
    let options = Extensions::find();
    POOL.all_messages().map(|message| (message.full_name().to_owned(), options.shape(&message))).collect()
});

struct Extensions {
    tagged_union: ExtensionDescriptor,
    shown_as: ExtensionDescriptor,
    sensitive: ExtensionDescriptor,
    null_if_empty: ExtensionDescriptor,
    if_absent: ExtensionDescriptor,
    rest_default: ExtensionDescriptor,
    behavior: ExtensionDescriptor,
}

impl Extensions {
    fn find() -> Self {
        let find = |name: &str| {
            let name = format!("krake.meta.v1.{name}");
            POOL.get_extension_by_name(&name).expect("options.proto declares the extension")
        };
        Extensions {
            tagged_union: find("tagged_union"),
            shown_as: find("shown_as"),
            sensitive: find("sensitive"),
            null_if_empty: find("null_if_empty"),
            if_absent: find("if_absent"),
            rest_default: find("rest_default"),
            behavior: POOL
                .get_extension_by_name("google.api.field_behavior")
                .expect("field_behavior.proto declares the extension"),
        }
    }

    fn shape(&self, message: &MessageDescriptor) -> Shape {
        let options = message.options();
        let fields: Vec<Field> =
            message.fields().filter(|field| !is_deprecated(field)).map(|field| self.field(field)).collect();
        let shown_as = options.get_extension(&self.shown_as);
        let shown_as = shown_as
            .as_str()
            .and_then(|name| fields.iter().position(|field| field.descriptor.name() == name));
        let union = is_set(&options, &self.tagged_union).then(|| message.oneofs().next()).flatten();
        Shape {
            form: match message.full_name() {
                "google.protobuf.Timestamp" => Form::Timestamp,
                "google.protobuf.Duration" => Form::Duration,
                "krake.meta.v1.Document" => Form::Document,
                _ => Form::Fields,
            },
            kind: KINDS.iter().copied().find(|kind| kind.message == message.full_name()),
            by_number: fields
                .iter()
                .enumerate()
                .map(|(index, field)| (field.descriptor.number(), index))
                .collect(),
            fields,
            union,
            shown_as,
        }
    }

    fn field(&self, descriptor: FieldDescriptor) -> Field {
        let options = descriptor.options();
        Field {
            sensitive: is_set(&options, &self.sensitive),
            null_if_empty: is_set(&options, &self.null_if_empty),
            output_only: self.is_output_only(&options),
            if_absent: options.get_extension(&self.if_absent).as_str().and_then(Absent::read),
            rest_default: options
                .get_extension(&self.rest_default)
                .as_str()
                .filter(|text| !text.is_empty())
                .map(|text| serde_json::from_str(text).expect("rest_default is JSON")),
            kind: descriptor.kind(),
            is_list: descriptor.is_list(),
            is_map: descriptor.is_map(),
            has_presence: descriptor.supports_presence(),
            oneof: descriptor
                .containing_oneof()
                .filter(|oneof| !oneof.is_synthetic())
                .map(|oneof| oneof.full_name().to_owned()),
            names: match descriptor.kind() {
                FieldKind::Enum(names) => names
                    .values()
                    .map(|value| (value.number(), scalar::enum_name(&names, value.name())))
                    .collect(),
                _ => HashMap::new(),
            },
            message: OnceLock::new(),
            descriptor,
        }
    }
}

impl Extensions {
    fn is_output_only(&self, options: &DynamicMessage) -> bool {
        let output_only = Value::EnumNumber(FieldBehavior::OutputOnly.into());
        options.get_extension(&self.behavior).as_list().is_some_and(|values| values.contains(&output_only))
    }
}

fn is_deprecated(field: &FieldDescriptor) -> bool {
    field.field_descriptor_proto().options.as_ref().is_some_and(|options| options.deprecated())
}

fn is_set(options: &DynamicMessage, extension: &ExtensionDescriptor) -> bool {
    *options.get_extension(extension) == Value::Bool(true)
}
