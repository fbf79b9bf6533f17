//! One stored object: compact JSON, parsed only when it is changed.

use serde_json::Value;

use crate::api::kinds::Kind;

/// Namespace (empty for cluster-wide objects) and name.
pub(crate) type Name = (String, String);

/// An object in one state.
#[derive(Debug)]
pub(crate) struct Stored {
    namespace: Box<str>,
    labels: Box<[(Box<str>, Box<str>)]>,
    /// Without `apiVersion` and `kind`, which depend on how it is asked for.
    json: Box<str>,
}

impl Stored {
    pub(crate) fn of(mut object: Value) -> Self {
        if let Some(object) = object.as_object_mut() {
            object.remove("apiVersion");
            object.remove("kind");
        }
        let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
        let labels =
            labels.map(|(name, value)| (name.as_str().into(), value.as_str().unwrap_or_default().into()));
        Self {
            namespace: object["metadata"]["namespace"].as_str().unwrap_or_default().into(),
            labels: labels.collect(),
            json: object.to_string().into_boxed_str(),
        }
    }

    /// The same object with another version.
    pub(crate) fn at(&self, version: u64) -> Self {
        let mut object = self.untyped();
        object["metadata"]["resourceVersion"] = version.to_string().into();
        Self::of(object)
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| **label == *name).map(|(_, value)| &**value)
    }

    /// Bytes that it takes, about.
    pub(crate) fn size(&self) -> usize {
        self.json.len() + size_of::<Self>()
    }

    /// Whether a text is anywhere in it: quicker than to look where.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        self.json.contains(text)
    }

    /// The object without its type.
    pub(crate) fn untyped(&self) -> Value {
        serde_json::from_str(&self.json).unwrap_or_default()
    }

    /// The object as one of `kind`.
    pub(crate) fn value(&self, kind: &Kind) -> Value {
        let mut object = self.untyped();
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind.kind.as_str().into();
        object
    }

    /// The text of the object as one of `kind`.
    pub(crate) fn text(&self, kind: &Kind) -> String {
        // An object has metadata, so there is something after the brace.
        format!(r#"{{"kind":"{}","apiVersion":"{}",{}"#, kind.kind, kind.api_version(), &self.json[1..])
    }

    /// The text as it stands in a list: only custom kinds show their types.
    pub(crate) fn item(&self, kind: &Kind) -> String {
        if kind.custom { self.text(kind) } else { self.json.to_string() }
    }
}
