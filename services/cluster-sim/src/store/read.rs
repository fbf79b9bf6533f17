//! Reading: one object, or a collection page by page.

use std::ops::Bound;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::failure::Failure;
use crate::api::kinds::Kind;
use crate::api::selector::{FieldSelector, LabelSelector};
use crate::request::{Request, Verb};
use crate::store::stored::{Name, Stored};
use crate::store::{Answer, Store};

/// What of a collection is asked for, and in which form.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    pub(crate) kind: Arc<Kind>,
    namespace: Option<String>,
    name: Option<String>,
    labels: LabelSelector,
    fields: FieldSelector,
    metadata_only: bool,
}

impl Form {
    pub(crate) fn of(kind: &Arc<Kind>, request: &Request) -> Result<Self, Failure> {
        let query = &request.query;
        Ok(Self {
            kind: Arc::clone(kind),
            namespace: request.target.namespace.clone(),
            name: request.target.name.clone(),
            labels: LabelSelector::parse(&query.label_selector).map_err(Failure::bad_request)?,
            fields: FieldSelector::parse(&query.field_selector, &kind.plural)
                .map_err(Failure::bad_request)?,
            metadata_only: request.metadata_only,
        })
    }

    /// Whether the object is asked for.
    pub(crate) fn selects(&self, object: &Stored) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| namespace == object.namespace())
            && self.labels.selects(|label| object.label(label))
            && (self.fields.is_empty() || self.fields.selects(&object.untyped()))
            && self.name.as_deref().is_none_or(|name| object.untyped()["metadata"]["name"] == name)
    }

    /// The text of an object that stands for itself.
    pub(crate) fn object(&self, object: &Stored) -> String {
        if self.metadata_only { metadata_of(object) } else { object.text(&self.kind) }
    }

    fn selective(&self) -> bool {
        !self.labels.is_empty() || !self.fields.is_empty()
    }
}

fn metadata_of(object: &Stored) -> String {
    let metadata = object.untyped()["metadata"].take();
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}).to_string()
}

impl Store {
    pub(super) fn dispatch(&mut self, kind: &Arc<Kind>, request: &Request) -> Result<Answer, Failure> {
        match request.target.subresource.as_deref() {
            None => {}
            Some("status") if kind.status && !matches!(request.verb, Verb::Delete | Verb::Create) => {}
            Some("status") => return Err(Failure::not_served()),
            Some(other) => {
                return Err(Failure::not_simulated(format!("subresource {other} of {}", kind.resource())));
            }
        }
        match request.verb {
            Verb::Get => self.get_one(kind, request),
            Verb::List => self.list(kind, request),
            Verb::Create => self.create(kind, request),
            Verb::Replace => self.replace(kind, request),
            Verb::Patch(patch) => self.patch(kind, request, patch),
            Verb::Delete => self.delete(kind, request),
            Verb::DeleteCollection => Err(Failure::not_simulated("deletion of a whole collection")),
            // Answered as a stream, not here.
            Verb::Watch => Err(Failure::method_not_allowed()),
        }
    }

    fn get_one(&self, kind: &Arc<Kind>, request: &Request) -> Result<Answer, Failure> {
        let name = name_of(request);
        let object = self.get(kind, &name).ok_or_else(|| Failure::not_found(kind, &name.1))?;
        Ok(Answer::new(200, Form::of(kind, request)?.object(object)))
    }

    /// The objects that are asked for, in their order.
    pub(crate) fn select<'a>(
        &'a self,
        form: &'a Form,
        after: Bound<&Name>,
    ) -> impl Iterator<Item = (&'a Name, &'a Arc<Stored>)> {
        let objects = self.objects.get(&form.kind.resource());
        let range = objects.map(|objects| objects.range::<Name, _>((after, Bound::Unbounded)));
        range.into_iter().flatten().filter(|(_, object)| form.selects(object))
    }

    fn list(&self, kind: &Arc<Kind>, request: &Request) -> Result<Answer, Failure> {
        let form = Form::of(kind, request)?;
        let token = &request.query.continue_;
        let after = if token.is_empty() { None } else { Some(read_token(token)?) };
        let limit = if request.query.limit == 0 { usize::MAX } else { request.query.limit };
        let start = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut found = self.select(&form, start);
        let page: Vec<_> = found.by_ref().take(limit).collect();
        let left = found.count();
        let mut metadata = json!({"resourceVersion": self.version.to_string()});
        if let (Some((last, _)), true) = (page.last(), left > 0) {
            metadata["continue"] = json!(token_after(last));
            if !form.selective() {
                metadata["remainingItemCount"] = json!(left);
            }
        }
        let item = |object: &Stored| if form.metadata_only { metadata_of(object) } else { object.item(kind) };
        let items: Vec<String> = page.iter().map(|(_, object)| item(object)).collect();
        let (list, version) = match form.metadata_only {
            true => ("PartialObjectMetadata".to_owned(), "meta.k8s.io/v1".to_owned()),
            false => (kind.kind.clone(), kind.api_version()),
        };
        let items = items.join(",");
        let body = format!(
            r#"{{"kind":"{list}List","apiVersion":"{version}","metadata":{metadata},"items":[{items}]}}"#
        );
        Ok(Answer::new(200, body))
    }
}

/// Namespace and name that a request is about; the name is empty for collections.
pub(super) fn name_of(request: &Request) -> Name {
    let target = &request.target;
    (target.namespace.clone().unwrap_or_default(), target.name.clone().unwrap_or_default())
}

/// Pages go on behind a name: later pages show what is there by then.
fn token_after(name: &Name) -> String {
    use base64::Engine as _;
    let token = json!({"v": "sim", "after": [name.0, name.1]});
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token.to_string())
}

fn read_token(token: &str) -> Result<Name, Failure> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
    let token: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    match (&token["after"][0], &token["after"][1]) {
        (Value::String(namespace), Value::String(name)) => Ok((namespace.clone(), name.clone())),
        _ => Err(Failure::bad_request("invalid continue token: continue key is not valid")),
    }
}
