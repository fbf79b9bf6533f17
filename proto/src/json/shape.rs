//! What the descriptors say about the JSON form of each message, looked up once.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost_reflect::{
    DynamicMessage, ExtensionDescriptor, FieldDescriptor, MessageDescriptor, OneofDescriptor, Value,
};

use crate::{KINDS, Kind, POOL};

/// The form of one message.
pub(super) struct Shape {
    pub(super) form: Form,
    /// In the order of the declaration.
    pub(super) fields: Vec<Field>,
    /// Set for resource kinds: shown as `api` and `kind`.
    pub(super) kind: Option<&'static Kind>,
    /// The oneof that is shown as `type` and the field of that name.
    pub(super) union: Option<OneofDescriptor>,
    /// Index in `fields` of the one that stands for the whole message.
    pub(super) shown_as: Option<usize>,
}

/// Messages with a form of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Fields,
    Timestamp,
    Duration,
    Document,
}

/// One field and its options.
pub(super) struct Field {
    pub(super) descriptor: FieldDescriptor,
    pub(super) sensitive: bool,
    pub(super) null_if_empty: bool,
}

impl Shape {
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.descriptor.name() == name)
    }

    /// Whether the field is a variant of the tagged union.
    pub(super) fn is_variant(&self, field: &Field) -> bool {
        self.union.is_some() && field.descriptor.containing_oneof() == self.union
    }
}

/// The form of a message of [`POOL`].
pub(super) fn shape(descriptor: &MessageDescriptor) -> &'static Shape {
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
        }
    }

    fn shape(&self, message: &MessageDescriptor) -> Shape {
        let options = message.options();
        let fields: Vec<Field> = message.fields().map(|field| self.field(field)).collect();
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
            descriptor,
        }
    }
}

fn is_set(options: &DynamicMessage, extension: &ExtensionDescriptor) -> bool {
    *options.get_extension(extension) == Value::Bool(true)
}
