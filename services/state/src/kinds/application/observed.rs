//! What was applied to the cluster of an application, what is observed of it, and what was last seen: `ReportObservation`,
//! and the fields that `Get` shows.

use bytes::Bytes;
use krake_proto::Resource;
use krake_proto::krake::kubernetes::v1::{
    Application, ApplicationStatus, Copy, Observation, ObservedObject, ReportObservationRequest,
    ReportObservationResponse,
};
use krake_proto::krake::meta::v1::{Document, document::Content};
use krake_proto::numbers::kubernetes::v1::application_status::{
    LAST_APPLIED_MANIFEST, LAST_OBSERVED_MANIFEST, MANGLED_OBSERVER_SCHEMA,
};
use krake_proto::observer::{self, MAX_OBSERVATION};
use prost::Message;
use serde_json::Value;

use super::works;
use crate::admission::{MAX_DOCUMENT_DEPTH, Outline};
use crate::cache::Stored;
use crate::documents;
use crate::kinds::{Shown, ShownSet};
use crate::object::wire::{self, Malformed};
use crate::registry::{Call, Error, Registry, Seen, checked_key, what};

/// What `Get` shows beside the stored status.
pub(super) const SHOWN: ShownSet = ShownSet { find, encode };

/// The set that was applied to the first cluster that the application is bound to.
fn find(status: &[u8]) -> Result<Option<Shown>, Malformed> {
    let status = ApplicationStatus::decode(status)?;
    let bound = status.bindings.first().and_then(|binding| binding.cluster.as_ref());
    let Some(bound) = bound else { return Ok(None) };
    let copy = status.copies.iter().find(|copy| cluster_uid(copy) == Some(&*bound.uid));
    let set = copy.and_then(|copy| works::set(copy.applied_work.as_ref()?).ok());
    Ok(set.map(|set| Shown { set, cluster_uid: bound.uid.clone() }))
}

fn cluster_uid(copy: &Copy) -> Option<&str> {
    copy.cluster.as_ref().map(|cluster| cluster.uid.as_str())
}

/// The documents of a set with their schemas, and what was seen of them. What was seen of another set is not shown: the next
/// look replaces it at once.
fn encode(shown: &Shown, text: &[u8], seen: Option<&[u8]>) -> serde_json::Result<Vec<u8>> {
    let seen = seen.and_then(|seen| Observation::decode(seen).ok());
    let seen = seen.filter(|seen| *seen.sha256 == shown.set.sha256);
    let is_observed = observer::is_observed(text);
    let mut encoded = Vec::with_capacity(text.len());
    let mut push = |field, text: String| {
        let document = Document { content: Some(Content::Json(text)) };
        encoded.extend(wire::delimited(field, &document.encode_to_vec()));
    };
    let mut index = 0;
    documents::each(text, |document: Value| {
        push(LAST_APPLIED_MANIFEST, document.to_string());
        if is_observed {
            push(MANGLED_OBSERVER_SCHEMA, observer::schema(&document).to_string());
            let fields = seen.as_ref().and_then(|seen| fields(&seen.objects, index, &document));
            fields.into_iter().for_each(|fields| push(LAST_OBSERVED_MANIFEST, fields));
        }
        index += 1;
    })?;
    Ok(encoded)
}

/// What is shown of the object at a place of the set; `None` if it was not seen.
fn fields(objects: &[ObservedObject], index: u32, document: &Value) -> Option<String> {
    match objects.binary_search_by_key(&index, |object| object.index) {
        Ok(place) => objects[place].fields.clone(),
        Err(_) => Some(observer::as_applied(document).to_string()),
    }
}

/// Refuses what cannot be shown.
fn check(observation: &Observation) -> Result<(), Error> {
    let invalid = |field: &str, text: String| Err(Error::invalid(format!("observation.{field}"), text));
    if observation.cluster_uid.is_empty() {
        return invalid("cluster_uid", "is missing".to_owned());
    }
    if observation.sha256.len() != 32 {
        return invalid("sha256", format!("has {} bytes instead of 32", observation.sha256.len()));
    }
    let mut least = 0;
    for (place, object) in observation.objects.iter().enumerate() {
        if object.index < least {
            return invalid(&format!("objects[{place}].index"), "does not rise".to_owned());
        }
        least = object.index.saturating_add(1);
        let Some(fields) = &object.fields else { continue };
        match Outline::read(fields) {
            Ok(outline) if outline.depth <= MAX_DOCUMENT_DEPTH && fields.starts_with('{') => {}
            Ok(_) => {
                let text = format!("is no JSON object, or nested deeper than {MAX_DOCUMENT_DEPTH}");
                return invalid(&format!("objects[{place}].fields"), text);
            }
            Err(error) => {
                return invalid(&format!("objects[{place}].fields"), format!("is not valid JSON: {error}"));
            }
        }
    }
    let size = observation.encoded_len();
    if size > MAX_OBSERVATION {
        let text = format!("is {size} bytes; at most {MAX_OBSERVATION} are allowed");
        return Err(Error::invalid("observation", text));
    }
    Ok(())
}

impl Registry {
    /// Serves `ReportObservation`. What newer adapters add is not kept: nothing shows it.
    pub(super) async fn report_observation(&self, call: &Call, request: Bytes) -> Result<Bytes, Error> {
        let request = ReportObservationRequest::decode(request)?;
        if request.uid.is_empty() {
            return Err(Error::invalid("uid", "is missing"));
        }
        let observation = request.observation.unwrap_or_default();
        check(&observation)?;
        let holder = checked_key(Application::KIND, &request.namespace, &request.name)?;
        let seen = Seen { cluster_uid: &observation.cluster_uid, message: observation.encode_to_vec() };
        let check = |stored: Option<&Stored>| {
            works::present(stored, &request.namespace, &request.name, &request.uid)?;
            has_copy(stored, &observation.cluster_uid)
        };
        self.put_observation(call, &holder, &request.uid, seen, check).await?;
        Ok(ReportObservationResponse {}.encode_to_vec().into())
    }
}

/// Refuses what is seen on a cluster without a copy: nothing would erase it.
fn has_copy(stored: Option<&Stored>, cluster: &str) -> Result<(), Error> {
    let Some(stored) = stored else { return Ok(()) };
    let status = ApplicationStatus::decode(stored.sections.status.clone().unwrap_or_default())?;
    if status.copies.iter().any(|copy| cluster_uid(copy) == Some(cluster)) {
        return Ok(());
    }
    let application = what(stored.kind, &stored.metadata.namespace, &stored.metadata.name);
    let message = format!("observation.cluster_uid: {application} has no copy on this cluster");
    Err(Error::Conflict { message, resource_version: stored.revision.0 })
}

#[cfg(test)]
mod tests;
