//! RetryApplication: what failed is tried again at once, as if it were a new spec.

use bytes::Bytes;
use krake_proto::Resource;
use krake_proto::krake::kubernetes::v1::{Application, ApplicationStatus, RetryApplicationRequest};
use krake_proto::numbers::kubernetes::v1::application_status as field;
use prost::Message;

use crate::cache::Stored;
use crate::derive;
use crate::object::metadata::Edit;
use crate::object::sections::Sections;
use crate::object::wire;
use crate::registry::{Call, Effect, Error, Registry, Write, check_growth, what};

/// What begins anew, besides the number of requests.
const CLEARED: [u32; 4] =
    [field::RETRIES, field::SCHEDULED_RETRY, field::FAILED_ATTEMPTS, field::RETRY_REQUESTS];

impl Registry {
    /// Serves `RetryApplication`.
    pub(super) async fn retry(&self, call: &Call, encoded: Bytes) -> Result<Bytes, Error> {
        let request = RetryApplicationRequest::decode(encoded)?;
        let (namespace, name) = (&request.namespace, &request.name);
        let decide = |stored: &Stored| decide_retry(call, stored, &request);
        Ok(self.transact(call, Application::KIND, namespace, name, 0, decide).await?.encode())
    }
}

fn decide_retry(call: &Call, stored: &Stored, request: &RetryApplicationRequest) -> Result<Write, Error> {
    let application = what(stored.kind, &stored.metadata.namespace, &stored.metadata.name);
    if !request.uid.is_empty() && request.uid != stored.metadata.uid {
        return Err(Error::Conflict {
            message: format!("uid: {application} is {:?} now", stored.metadata.uid),
            resource_version: stored.revision.0,
        });
    }
    if stored.metadata.deleted.is_some() {
        return Err(Error::BeingDeleted(application));
    }
    let old = stored.sections.status.clone().unwrap_or_default();
    let requests = ApplicationStatus::decode(old.clone())?.retry_requests;
    let retry = ApplicationStatus { retry_requests: requests.saturating_add(1), ..Default::default() };
    let new = wire::overwrite(&old, &CLEARED, &retry.encode_to_vec())?;
    let metadata = Edit::new(&stored.sections.metadata).trace_parent(&call.trace_parent)?.finish();
    let mut sections = Sections { metadata, status: Some(new.into()), ..stored.sections.clone() };
    sections.status = derive::status(stored.kind, &sections)?;
    check_growth(stored, &sections)?;
    Ok(Effect::Put(sections).into())
}
