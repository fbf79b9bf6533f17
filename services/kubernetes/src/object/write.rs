//! The requests that write one object, each under the guard of what was seen of it.

use http::Request as HttpRequest;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams, ValidationDirective};
use kube::core::Request;
use serde_json::{Value, json};

use crate::cluster::connection::Connection;
use crate::cluster::warnings::Warnings;
use crate::error::ClusterError;
use crate::object::autoscaler::Scaling;
use crate::object::ownership::{Admitted, Live};
use crate::object::pass::Due;
use crate::object::prepare::Target;
use crate::object::validation::{FieldValidation, Writes, cannot_be_tried, undeclared};
use crate::object::{ADOPTED_ANNOTATION, FIELD_MANAGER, autoscaler, field_ownership, used};

/// How often an apply is repeated without the fields that the server does not know: it may name them one struct at a time.
const LEAVE_OUT_ROUNDS: usize = 8;

/// Writes one object.
pub(super) struct Writer<'a> {
    pub(super) connection: &'a Connection,
    pub(super) target: &'a Target,
    pub(super) writes: Writes,
    /// What the server warns of, and which fields are left out.
    pub(super) warnings: Warnings,
    /// Why the object could not be tried before it was written.
    pub(super) not_tried: Option<String>,
    /// Whether an autoscaler decides on its replicas.
    pub(super) scaling: Scaling,
    /// The number of replicas to begin with, if it was scaled before elsewhere.
    pub(super) start: Option<i64>,
    /// Whether the object is not the application's, and used.
    pub(super) used: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(connection: &'a Connection, due: &Due<'a>, writes: Writes) -> Self {
        let &Due { target, start, .. } = due;
        let scaling = due.scaling.clone();
        let (warnings, not_tried) = (Warnings::default(), None);
        Self { connection, target, writes, warnings, not_tried, scaling, start, used: false }
    }

    /// Writes the object as far as `admitted` allows. `live`: the object as it was seen, if it exists.
    pub(super) async fn write(
        &mut self,
        live: Option<&DynamicObject>,
        admitted: &Admitted,
    ) -> Result<DynamicObject, ClusterError> {
        self.used = matches!(admitted, Admitted::Use(_));
        match admitted {
            Admitted::Create => self.create().await,
            Admitted::Update(seen) => self.update(live, seen).await,
            Admitted::Adopt(seen) => self.adopt(live, seen).await,
            Admitted::Use(_) => self.use_it(live).await,
        }
    }

    /// Creates: fails if the object exists, whoever made it. What later applies would not accept is not created.
    async fn create(&mut self) -> Result<DynamicObject, ClusterError> {
        let mut body = self.target.prepared.body.clone();
        if let (true, Some(start)) = (self.scaling.leaves_replicas(), self.start) {
            autoscaler::begin_with(&mut body, start);
        }
        if self.writes.is_first() {
            match self.apply(&mut body, true).await {
                Ok(_) => {}
                Err(error) if cannot_be_tried(&error) => self.not_tried = Some(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        let objects = self.connection.objects(&self.target.kind, self.namespace());
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let request = Request::new(objects.resource_url())
            .create(&params, body.to_string().into_bytes())
            .map_err(kube::Error::BuildRequest)?;
        self.send(validated(request, self.writes)?).await
    }

    /// Applies to the object with the uid that was seen, after its books are in order.
    async fn update(
        &mut self,
        live: Option<&DynamicObject>,
        seen: &Live,
    ) -> Result<DynamicObject, ClusterError> {
        let books = live.and_then(|object| object.metadata.managed_fields.as_deref()).unwrap_or_default();
        if let Some(books) = field_ownership::as_applied(books) {
            let patch = json!({"metadata": {
                "uid": seen.uid, "resourceVersion": seen.resource_version, "managedFields": books}});
            let objects = self.connection.objects(&self.target.kind, self.namespace());
            let name = &self.target.prepared.key.name;
            self.connection.call(objects.patch(name, &PatchParams::default(), &Patch::Merge(&patch))).await?;
        }
        let mut body = self.target.prepared.body.clone();
        body["metadata"]["uid"] = seen.uid.clone().into();
        if seen.adopted {
            body["metadata"]["annotations"][ADOPTED_ANNOTATION] = "true".into();
            self.leave_settings(&mut body, live);
        }
        self.leave_replicas(&mut body, live);
        self.apply(&mut body, false).await
    }

    /// Applies to exactly the object that was seen, and marks it as one that existed before.
    async fn adopt(
        &mut self,
        live: Option<&DynamicObject>,
        seen: &Live,
    ) -> Result<DynamicObject, ClusterError> {
        let mut body = self.target.prepared.body.clone();
        body["metadata"]["uid"] = seen.uid.clone().into();
        body["metadata"]["resourceVersion"] = seen.resource_version.clone().into();
        body["metadata"]["annotations"][ADOPTED_ANNOTATION] = "true".into();
        self.leave_settings(&mut body, live);
        self.leave_replicas(&mut body, live);
        self.apply(&mut body, false).await
    }

    /// Adds the labels and annotations that the object lacks, and nothing else. Where that is refused, it is used without them.
    async fn use_it(&mut self, live: Option<&DynamicObject>) -> Result<DynamicObject, ClusterError> {
        let Some(live) = live else { return Err(ClusterError::Conflict("it is not there any more".into())) };
        let Some(patch) = used::additions(&self.target.prepared, live) else { return Ok(live.clone()) };
        let objects = self.connection.objects(&self.target.kind, self.namespace());
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let name = &self.target.prepared.key.name;
        match self.connection.call(objects.patch(name, &params, &Patch::Merge(&patch))).await {
            Err(ClusterError::NotFound(status)) => Err(ClusterError::Conflict(status)),
            Err(error @ (ClusterError::Forbidden(_) | ClusterError::Rejected(_))) => {
                self.warnings.add(format!("its labels and annotations could not be added: {error}"));
                Ok(live.clone())
            }
            answer => answer,
        }
    }

    fn leave_replicas(&self, body: &mut Value, live: Option<&DynamicObject>) {
        if let (true, Some(live)) = (self.scaling.leaves_replicas(), live) {
            autoscaler::leave_replicas(body, live);
        }
    }

    fn leave_settings(&self, body: &mut Value, live: Option<&DynamicObject>) {
        if let Some(live) = live {
            used::leave_settings(&self.target.prepared.key, body, live);
            used::keep_maker(body, live);
        }
    }

    /// Server-side apply. Where unknown fields are only warned of, they are left out of `body`: servers refuse to apply them.
    async fn apply(&self, body: &mut Value, dry_run: bool) -> Result<DynamicObject, ClusterError> {
        let mut rounds = 0;
        loop {
            let error = match self.apply_once(body, dry_run).await {
                Ok(object) => return Ok(object),
                Err(error) => error,
            };
            rounds += 1;
            if rounds > LEAVE_OUT_ROUNDS || !self.leave_out(body, &error) {
                return Err(error);
            }
        }
    }

    async fn apply_once(&self, body: &Value, dry_run: bool) -> Result<DynamicObject, ClusterError> {
        let objects = self.connection.objects(&self.target.kind, self.namespace());
        let validation = match self.writes {
            Writes::First(FieldValidation::Strict) => ValidationDirective::Strict,
            Writes::First(FieldValidation::Warn) | Writes::Repair(_) => ValidationDirective::Warn,
        };
        let params = PatchParams {
            dry_run,
            field_validation: Some(validation),
            ..PatchParams::apply(FIELD_MANAGER).force()
        };
        let request = Request::new(objects.resource_url())
            .patch(&self.target.prepared.key.name, &params, &Patch::Apply(body))
            .map_err(kube::Error::BuildRequest)?;
        self.send(request).await
    }

    /// Removes the fields that the server does not know, where they are only to be warned of; whether there were any.
    fn leave_out(&self, body: &mut Value, error: &ClusterError) -> bool {
        let status = error.status().filter(|_| self.writes.validation() == FieldValidation::Warn);
        let Some(status) = status else { return false };
        let mut any = false;
        for path in undeclared::paths(&status.message) {
            if undeclared::remove(body, path) {
                any = true;
                self.warnings.add(format!("unknown field \"{}\" is left out", path.trim_start_matches('.')));
            }
        }
        any
    }

    async fn send(&self, mut request: HttpRequest<Vec<u8>>) -> Result<DynamicObject, ClusterError> {
        request.extensions_mut().insert(self.warnings.clone());
        let client = self.connection.client();
        self.connection.call(client.request::<DynamicObject>(request)).await
    }

    fn namespace(&self) -> Option<&str> {
        self.target.prepared.key.namespace.as_deref()
    }
}

/// The request with the parameter `fieldValidation`, which kube knows of patches only.
fn validated(
    mut request: HttpRequest<Vec<u8>>,
    writes: Writes,
) -> Result<HttpRequest<Vec<u8>>, ClusterError> {
    let uri = request.uri();
    let joint = if uri.query().is_some_and(|query| !query.is_empty()) { "&" } else { "" };
    let with = format!("{uri}{joint}fieldValidation={}", writes.parameter());
    *request.uri_mut() = with
        .parse()
        .map_err(|error: http::uri::InvalidUri| ClusterError::Rejected(error.to_string().into()))?;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameter_joins_the_others() {
        let with = |uri: &str, writes| {
            let request = HttpRequest::post(uri).body(Vec::new()).unwrap();
            validated(request, writes).unwrap().uri().to_string()
        };
        let strict = Writes::First(FieldValidation::Strict);
        assert_eq!(
            with("/api/v1/pods?&fieldManager=k", strict),
            "/api/v1/pods?&fieldManager=k&fieldValidation=Strict"
        );
        assert_eq!(with("/api/v1/pods?", strict), "/api/v1/pods?fieldValidation=Strict");
        // What was accepted once is not refused later.
        let repair = Writes::Repair(FieldValidation::Strict);
        assert_eq!(with("/api/v1/pods?", repair), "/api/v1/pods?fieldValidation=Warn");
    }
}
