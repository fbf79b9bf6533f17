//! Writing: create, replace, and the three kinds of patches.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::failure::Failure;
use crate::api::kinds::{self, Kind};
use crate::api::{allocate, conform, decode, definition, typed, validate};
use crate::ownership::{self, Applied, Ask, Malformed};
use crate::request::{PatchType, Request};
use crate::store::read::name_of;
use crate::store::stored::{Name, Stored};
use crate::store::{Answer, Store};

/// Metadata that only the server writes.
const SERVER_METADATA: [&str; 5] =
    ["creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "selfLink"];

fn ask<'a>(kind: &'a Kind, request: &'a Request, api_version: &'a str) -> Ask<'a> {
    Ask {
        schema: &kind.schema,
        zero: &kind.zero,
        manager: request.manager(),
        subresource: request.target.subresource.as_deref().unwrap_or_default(),
        own_status: kind.status,
        api_version,
        now: &request.now,
    }
}

impl Store {
    pub(super) fn create(&mut self, kind: &Arc<Kind>, request: &Request) -> Result<Answer, Failure> {
        if kind.namespaced && request.target.namespace.is_none() || request.target.name.is_some() {
            return Err(Failure::method_not_allowed());
        }
        let (mut object, warnings) = decode::written(kind, &request.body, request.query.field_validation)?;
        if !text(&object, "resourceVersion").is_empty() {
            return Err(Failure::internal("resourceVersion should not be set on objects to be created"));
        }
        let name = self.place(kind, request, &mut object)?;
        complete(kind, &mut object, &request.now);
        shape(kind, &mut object);
        let api_version = kind.api_version();
        let object = ownership::update(&kind.zero, object, ask(kind, request, &api_version));
        Ok(self.add(kind, &name, object, request)?.warning(warnings))
    }

    /// Where a new object goes; sets its namespace and name.
    fn place(&self, kind: &Kind, request: &Request, object: &mut Value) -> Result<Name, Failure> {
        let namespace = request.target.namespace.clone().unwrap_or_default();
        if !matches!(text(object, "namespace"), "") && text(object, "namespace") != namespace {
            let message =
                "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Failure::bad_request(message));
        }
        let mut name = text(object, "name").to_owned();
        if name.is_empty() {
            let beginning = text(object, "generateName");
            if beginning.is_empty() {
                return Err(validate::nameless(kind));
            }
            let random = uuid::Uuid::new_v4().simple().to_string();
            name = format!("{beginning}{}", &random[..5]);
        }
        if kind.namespaced {
            self.admit_to(kind, &namespace, &name)?;
            object["metadata"]["namespace"] = json!(namespace);
        }
        object["metadata"]["name"] = json!(name);
        Ok((namespace, name))
    }

    /// New objects need a namespace that stays.
    fn admit_to(&self, kind: &Kind, namespace: &str, name: &str) -> Result<(), Failure> {
        let namespaces = kinds::built_in().iter().find(|known| known.is("", "Namespace"));
        let Some(namespaces) = namespaces else { return Ok(()) };
        let found = self.get(namespaces, &(String::new(), namespace.to_owned()));
        let object = found.ok_or_else(|| Failure::not_found(namespaces, namespace))?.untyped();
        match object["metadata"]["deletionTimestamp"].is_string() {
            true => Err(Failure::terminating_namespace(kind, name, namespace)),
            false => Ok(()),
        }
    }

    /// Stores a new object whose fields have their owners.
    fn add(
        &mut self,
        kind: &Arc<Kind>,
        name: &Name,
        mut object: Value,
        request: &Request,
    ) -> Result<Answer, Failure> {
        if kind.status {
            object["status"] = kind.zero["status"].clone();
        }
        if let (true, Some(object)) = (kind.custom && kind.status, object.as_object_mut()) {
            object.remove("status");
        }
        allocate::allocate(kind, &mut object, self.version);
        validate::check(kind, &object, None)?;
        if self.get(kind, name).is_some() {
            return Err(Failure::already_exists(kind, &name.1));
        }
        let warnings = validate::warnings(kind, &object);
        if request.query.dry_run {
            return Ok(Answer::new(201, object_text(kind, object)).warning(warnings));
        }
        let stored = self.put(kind, object);
        Ok(Answer::new(201, stored.text(kind)).warning(warnings))
    }

    pub(super) fn replace(&mut self, kind: &Arc<Kind>, request: &Request) -> Result<Answer, Failure> {
        let name = name_of(request);
        let (new, warnings) = decode::written(kind, &request.body, request.query.field_validation)?;
        if text(&new, "name") != name.1 {
            let (given, wanted) = (text(&new, "name"), &name.1);
            let message =
                format!("the name of the object ({given}) does not match the name on the URL ({wanted})");
            return Err(Failure::bad_request(message));
        }
        let live = self.get(kind, &name).ok_or_else(|| Failure::not_found(kind, &name.1))?.value(kind);
        if kind.custom && text(&new, "resourceVersion").is_empty() {
            return Err(validate::unversioned(kind, &name.1));
        }
        let (uid, wanted) = (text(&live, "uid"), text(&new, "uid"));
        if !wanted.is_empty() && wanted != uid {
            let why = format!(
                "StorageError: invalid object, Code: 4, AdditionalErrorMsg: Precondition failed: UID in \
                 precondition: {wanted}, UID in object meta: {uid}"
            );
            return Err(Failure::conflict(kind, &name.1, &why));
        }
        Ok(self.change(kind, &name, &live, new, request, true)?.warning(warnings))
    }

    pub(super) fn patch(
        &mut self,
        kind: &Arc<Kind>,
        request: &Request,
        patch_type: PatchType,
    ) -> Result<Answer, Failure> {
        let name = name_of(request);
        if name.1.is_empty() {
            return Err(Failure::method_not_allowed());
        }
        if patch_type == PatchType::Apply {
            return self.apply(kind, &name, request);
        }
        if patch_type == PatchType::Strategic && kind.custom {
            return Err(Failure::unsupported_media_type());
        }
        let patch: Value = serde_json::from_slice(&request.body)
            .map_err(|error| Failure::bad_request(format!("error decoding patch: {error}")))?;
        let live = self.get(kind, &name).ok_or_else(|| Failure::not_found(kind, &name.1))?.value(kind);
        let mut new = live.clone();
        if let Some(metadata) = new["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
        // Of a merge patch servers show what it makes, of a strategic one the patch.
        let shown = match patch_type {
            PatchType::Strategic => {
                ownership::strategic_merge(&kind.schema, &mut new, &patch);
                conform::go_value(&patch)
            }
            _ => {
                ownership::merge_patch(&mut new, &patch);
                new.to_string()
            }
        };
        let validation = request.query.field_validation;
        let (new, warnings) = decode::patched(kind, &request.body, &new, &shown, validation)?;
        if !new["metadata"].is_object() {
            return Err(Failure::bad_request("metadata must be an object"));
        }
        Ok(self.change(kind, &name, &live, new, request, true)?.warning(warnings))
    }

    fn apply(&mut self, kind: &Arc<Kind>, name: &Name, request: &Request) -> Result<Answer, Failure> {
        if request.query.field_manager.is_none() {
            return Err(Failure::no_field_manager());
        }
        if serde_json::from_slice::<Value>(&request.body).is_err() {
            return Err(Failure::not_simulated("patches in YAML; send JSON"));
        }
        let (applied, warnings) = decode::applied(kind, &request.body, request.query.field_validation)?;
        if !applied["metadata"]["managedFields"].is_null() {
            return Err(Failure::bad_request("metadata.managedFields must be nil"));
        }
        if !matches!(text(&applied, "name"), "") && text(&applied, "name") != name.1 {
            return Err(Failure::bad_request("the name of the object does not match the name on the URL"));
        }
        if let Some(why) = conform::apply_error(kind, &applied) {
            return Err(Failure::untyped_patch(kind, &applied, &why));
        }
        if let Some(why) = conform::conversion_error(kind, &applied) {
            return Err(Failure::unconverted_patch(kind, &applied, &why));
        }
        let live = self.get(kind, name).map(|live| live.value(kind));
        let api_version = kind.api_version();
        let ask = ask(kind, request, &api_version);
        let base = live.clone().unwrap_or_else(|| json!({"metadata": {}}));
        let mut object = match ownership::apply(&base, &applied, ask, request.query.force) {
            Applied::Object(object) => object,
            Applied::Conflicts(conflicts) => return Err(Failure::field_conflicts(&conflicts)),
            Applied::Malformed(Malformed(why)) => return Err(Failure::untyped_patch(kind, &applied, &why)),
        };
        if let Some(live) = live {
            if text(&applied, "resourceVersion").is_empty()
                && let Some(metadata) = object["metadata"].as_object_mut()
            {
                metadata.remove("resourceVersion");
            }
            return Ok(self.change(kind, name, &live, object, request, false)?.warning(warnings));
        }
        let uid = text(&applied, "uid");
        if !uid.is_empty() {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(Failure::conflict(kind, &name.1, &why));
        }
        object["metadata"]["name"] = json!(name.1);
        let name = self.place(kind, request, &mut object)?;
        complete(kind, &mut object, &request.now);
        shape(kind, &mut object);
        Ok(self.add(kind, &name, object, request)?.warning(warnings))
    }

    /// Makes `new` of `live`: its own metadata put right, its fields given to their owners where `owners` says so.
    fn change(
        &mut self,
        kind: &Arc<Kind>,
        name: &Name,
        live: &Value,
        mut new: Value,
        request: &Request,
        owners: bool,
    ) -> Result<Answer, Failure> {
        let version = text(&new, "resourceVersion");
        if !version.is_empty() && version != text(live, "resourceVersion") {
            return Err(Failure::modified(kind, &name.1));
        }
        let uid = text(&new, "uid");
        if !uid.is_empty() && uid != text(live, "uid") {
            return Err(validate::immutable(kind, &name.1, "metadata.uid", uid));
        }
        let given = text(&new, "name");
        if given != name.1 {
            return Err(validate::immutable(kind, &name.1, "metadata.name", given));
        }
        for field in SERVER_METADATA.iter().chain(&["uid", "resourceVersion", "namespace"]) {
            match live["metadata"].get(field) {
                Some(value) => new["metadata"][field] = value.clone(),
                None => drop(new["metadata"].as_object_mut().and_then(|metadata| metadata.remove(*field))),
            }
        }
        if request.target.subresource.is_some() {
            let (status, books) = (new["status"].take(), new["metadata"]["managedFields"].take());
            new = live.clone();
            new["status"] = status;
            new["metadata"]["managedFields"] = books;
        } else if kind.status {
            match live.get("status") {
                Some(status) => new["status"] = status.clone(),
                None => drop(new.as_object_mut().and_then(|new| new.remove("status"))),
            }
        }
        shape(kind, &mut new);
        if owners {
            let api_version = kind.api_version();
            new = ownership::update(live, new, ask(kind, request, &api_version));
        }
        allocate::keep(kind, live, &mut new);
        allocate::allocate(kind, &mut new, self.version);
        validate::check(kind, &new, Some(live))?;
        if kind.generation && differs_in_spec(live, &new) {
            new["metadata"]["generation"] = json!(live["metadata"]["generation"].as_u64().unwrap_or(0) + 1);
        }
        if same(live, &new) {
            return Ok(Answer::new(200, object_text(kind, live.clone())));
        }
        let warnings = validate::warnings(kind, &new);
        if request.query.dry_run {
            return Ok(Answer::new(200, object_text(kind, new)).warning(warnings));
        }
        let released = new["metadata"]["deletionTimestamp"].is_string()
            && new["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
            && !kind.is("", "Namespace");
        let stored = self.put(kind, new);
        if released {
            self.erase(kind, name, false);
        }
        Ok(Answer::new(200, stored.text(kind)).warning(warnings))
    }
}

/// Brings an object into the form in which servers keep it, as far as its writer owns what comes of it.
fn shape(kind: &Kind, object: &mut Value) {
    if kind.custom {
        definition::drop_unknown(&kind.fields, object);
    }
    let books = object["metadata"].as_object_mut().and_then(|metadata| metadata.remove("managedFields"));
    typed::leave_out_empty(kind, object);
    if let Some(books) = books {
        object["metadata"]["managedFields"] = books;
    }
    allocate::defaults(kind, object);
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// Gives a new object the metadata that only the server writes.
fn complete(kind: &Kind, object: &mut Value, now: &str) {
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    SERVER_METADATA.iter().for_each(|field| drop(metadata.remove(*field)));
    metadata.remove("resourceVersion");
    metadata.insert("uid".to_owned(), json!(uuid::Uuid::new_v4().to_string()));
    metadata.insert("creationTimestamp".to_owned(), json!(now));
    if kind.generation {
        metadata.insert("generation".to_owned(), json!(1));
    }
}

fn object_text(kind: &Kind, object: Value) -> String {
    Stored::of(object).text(kind)
}

/// Whether anything but metadata and status differs.
fn differs_in_spec(live: &Value, new: &Value) -> bool {
    let spec = |object: &Value| {
        let mut object = object.clone();
        if let Some(fields) = object.as_object_mut() {
            fields.remove("metadata");
            fields.remove("status");
        }
        object
    };
    spec(live) != spec(new)
}

/// Whether a write changes nothing; times of the last write of a field do not count.
fn same(live: &Value, new: &Value) -> bool {
    let timeless = |object: &Value| {
        let mut object = object.clone();
        let entries = object["metadata"]["managedFields"].as_array_mut().into_iter().flatten();
        entries.for_each(|entry| entry["time"] = Value::Null);
        if object["metadata"]["managedFields"].is_null()
            && let Some(metadata) = object["metadata"].as_object_mut()
        {
            metadata.remove("managedFields");
        }
        object
    };
    timeless(live) == timeless(new)
}
