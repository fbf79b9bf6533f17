//! Works: the sets of documents that copies name, how they are stored, and how they are read.

use bytes::Bytes;
use krake_proto::Resource;
use krake_proto::error::Violation;
use krake_proto::krake::kubernetes::v1::{
    Application, ApplicationStatus, Copy, GetApplicationDocumentsRequest, GetApplicationDocumentsResponse,
    PutDocumentsRequest, PutDocumentsResponse, Work,
};
use prost::Message;

use super::manifest::LARGE;
use crate::admission::{MAX_DOCUMENT_DEPTH, Outline};
use crate::cache::Stored;
use crate::documents::{Hash, MAX_SET_BYTES, Set};
use crate::object::key;
use crate::object::sections::Sections;
use crate::object::wire::Malformed;
use crate::registry::{Call, Error, Registry, checked_key, what};
use crate::store::Guard;

/// A set that a copy names, and the field that does.
pub(super) struct Named {
    set: Set,
    field: &'static str,
}

impl Named {
    /// The guard that the set is stored whole.
    pub(super) fn guard(&self, uid: &str) -> Guard {
        Guard::Exists(key::document_piece(uid, &self.set.sha256, self.set.pieces() - 1))
    }

    /// Whether a copy of the application names the set already.
    pub(super) fn is_in(&self, status: &ApplicationStatus) -> bool {
        status.copies.iter().flat_map(works).any(|(_, work)| set(work).is_ok_and(|set| set == self.set))
    }
}

/// The works of a copy with their fields.
fn works(copy: &Copy) -> impl Iterator<Item = (&'static str, &Work)> {
    let works = [("copy.applied_work", &copy.applied_work), ("copy.intended_work", &copy.intended_work)];
    works.into_iter().filter_map(|(field, work)| Some((field, work.as_ref()?)))
}

/// The hashes of the sets that an application names.
pub(super) fn hashes(sections: &Sections) -> Result<Vec<Hash>, Malformed> {
    let status = ApplicationStatus::decode(sections.status.as_deref().unwrap_or_default())?;
    let works = status.copies.iter().flat_map(works);
    let manifest = (LARGE.set)(sections.spec.as_deref().unwrap_or_default())?.map(|set| set.sha256);
    let named = works.filter_map(|(_, work)| work.sha256.as_ref().try_into().ok());
    Ok(named.chain(manifest).collect())
}

/// The sets that a reported copy names, each once.
///
/// # Errors
/// [`Error::Invalid`] for works that cannot be.
pub(super) fn named(copy: &Copy) -> Result<Vec<Named>, Error> {
    let (mut found, mut violations) = (Vec::<Named>::new(), Vec::new());
    for (field, work) in works(copy) {
        match set(work) {
            Ok(set) if found.iter().any(|named| named.set == set) => {}
            Ok(set) => found.push(Named { set, field }),
            Err((part, text)) => violations.push(Violation::new(format!("{field}.{part}"), text)),
        }
    }
    if violations.is_empty() { Ok(found) } else { Err(Error::Invalid(violations)) }
}

/// The set that a work names, or the field that is wrong and why.
pub(super) fn set(work: &Work) -> Result<Set, (&'static str, String)> {
    let length = work.sha256.len();
    let sha256 = work
        .sha256
        .as_ref()
        .try_into()
        .map_err(|_| ("sha256", format!("has {length} bytes instead of 32")))?;
    if work.hash_version == 0 {
        return Err(("hash_version", "is missing".to_owned()));
    }
    if work.generation < 0 {
        return Err(("generation", "must not be negative".to_owned()));
    }
    if work.size == 0 || work.size > MAX_SET_BYTES as u64 {
        return Err(("size", format!("is {}; 1 to {MAX_SET_BYTES} bytes are allowed", work.size)));
    }
    let set = Set { sha256, size: work.size };
    if work.pieces != set.pieces() {
        let text = format!("is {}; a set of {} bytes has {}", work.pieces, work.size, set.pieces());
        return Err(("pieces", text));
    }
    Ok(set)
}

impl Registry {
    /// Refuses a copy that names a set which is not stored whole. The sets that the application names already are: a
    /// commit that names another one guards it.
    pub(super) async fn check_stored(
        &self,
        uid: &str,
        named: &[Named],
        present: Option<&Stored>,
    ) -> Result<(), Error> {
        let status = present.and_then(|stored| stored.sections.status.clone()).unwrap_or_default();
        let status = ApplicationStatus::decode(status)?;
        for Named { set, field } in named.iter().filter(|named| !named.is_in(&status)) {
            if !self.has_documents(uid, set).await? {
                let message =
                    format!("{field}: its documents are not stored; store them by PutDocuments first");
                return Err(Error::Conflict { message, resource_version: 0 });
            }
        }
        Ok(())
    }

    /// Serves `PutDocuments`.
    pub(super) async fn put_application_documents(
        &self,
        call: &Call,
        request: Bytes,
    ) -> Result<Bytes, Error> {
        let request = PutDocumentsRequest::decode(request)?;
        if request.uid.is_empty() {
            return Err(Error::invalid("uid", "is missing"));
        }
        check_documents(&request.documents)?;
        let name = checked_key(Application::KIND, &request.namespace, &request.name)?;
        self.refresh().await?;
        present(
            self.cache().get_readable(&name)?.as_deref(),
            &request.namespace,
            &request.name,
            &request.uid,
        )?;
        let set = self.put_documents(call, Some(&name), &request.uid, &request.documents).await?;
        let answer = PutDocumentsResponse {
            sha256: Bytes::copy_from_slice(&set.sha256),
            pieces: set.pieces(),
            size: set.size,
        };
        Ok(answer.encode_to_vec().into())
    }

    /// Serves `GetApplicationDocuments`.
    pub(super) async fn get_application_documents(&self, request: Bytes) -> Result<Bytes, Error> {
        let request = GetApplicationDocumentsRequest::decode(request)?;
        let length = request.sha256.len();
        let sha256: Hash = request
            .sha256
            .as_ref()
            .try_into()
            .map_err(|_| Error::invalid("sha256", format!("has {length} bytes instead of 32")))?;
        let name = checked_key(Application::KIND, &request.namespace, &request.name)?;
        self.refresh().await?;
        let stored = self.cache().get_readable(&name)?;
        let uid = present(stored.as_deref(), &request.namespace, &request.name, &request.uid)?;
        let Some(documents) = self.read_documents(&uid, &sha256).await? else {
            let application = what(Application::KIND, &request.namespace, &request.name);
            return Err(Error::NotFound { what: format!("this set of documents of {application}") });
        };
        let answer = GetApplicationDocumentsResponse { documents };
        Ok(answer.encode_to_vec().into())
    }
}

/// The uid of an application that must be there, and be the one of `uid` unless that is empty.
pub(super) fn present(
    stored: Option<&Stored>,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Result<String, Error> {
    let application = what(Application::KIND, namespace, name);
    let Some(stored) = stored else { return Err(Error::NotFound { what: application }) };
    let present = &stored.metadata.uid;
    if !uid.is_empty() && uid != present {
        let message = format!("uid: {application} is {present:?} now");
        return Err(Error::Conflict { message, resource_version: stored.revision.0 });
    }
    Ok(present.clone())
}

/// Refuses what is no JSON array of bounded size and depth.
fn check_documents(documents: &[u8]) -> Result<(), Error> {
    let refused = |text: String| Err(Error::invalid("documents", text));
    if documents.len() > MAX_SET_BYTES {
        return refused(format!("are {} bytes; at most {MAX_SET_BYTES} are allowed", documents.len()));
    }
    let Ok(text) = std::str::from_utf8(documents) else { return refused("are not UTF-8".to_owned()) };
    if !text.starts_with('[') {
        return refused("are not a JSON array".to_owned());
    }
    // The array is one level more.
    match Outline::read(text) {
        Ok(outline) if outline.depth > MAX_DOCUMENT_DEPTH + 1 => {
            refused(format!("are nested deeper than {MAX_DOCUMENT_DEPTH}"))
        }
        Ok(_) => Ok(()),
        Err(error) => refused(format!("are not valid JSON: {error}")),
    }
}
