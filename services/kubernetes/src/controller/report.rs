//! Reports to the Krake API about copies, each a compare-and-set on the copy's version.

use anyhow::Context;
use krake_client::Client;
use krake_proto::krake::kubernetes::v1::{self as api, ReportCopyRequest};

use super::project::{self, Application};
use super::record;
use crate::plan::CopyRecord;

/// What a report came to.
#[derive(Debug)]
pub(super) enum Reported {
    /// Recorded; the copy as it is now, `None` if it was forgotten, and the version of the application.
    Done(Option<Box<CopyRecord>>, i64),
    /// The world has moved on: what the plan was made on does not hold any more.
    Outdated,
}

/// Records a copy.
pub(super) async fn copy(
    client: &Client,
    application: &Application,
    copy: &CopyRecord,
) -> anyhow::Result<Reported> {
    send(client, application, copy, false).await
}

/// Forgets a copy of which nothing is left.
pub(super) async fn forget(
    client: &Client,
    application: &Application,
    copy: &CopyRecord,
) -> anyhow::Result<Reported> {
    send(client, application, copy, true).await
}

async fn send(
    client: &Client,
    application: &Application,
    copy: &CopyRecord,
    forget: bool,
) -> anyhow::Result<Reported> {
    let Some(cluster) = application.cluster(&copy.cluster) else { return Ok(Reported::Outdated) };
    let request = ReportCopyRequest {
        namespace: application.key.namespace.clone(),
        name: application.key.name.clone(),
        uid: application.uid.as_str().to_owned(),
        copy: Some(record::to_api(cluster, copy)),
        expected_version: copy.version,
        forget,
    };
    match client.applications().report_copy(request).await {
        Ok(response) => {
            let after: api::Application = response.into_inner();
            let version = after.metadata.as_ref().map_or(0, |metadata| metadata.resource_version);
            let copies = after.status.into_iter().flat_map(|status| status.copies);
            let mut records = copies.filter_map(|copy| project::copy(&copy)).map(|copy| copy.record);
            Ok(Reported::Done(records.find(|record| record.cluster == copy.cluster).map(Box::new), version))
        }
        Err(status) => {
            let error = krake_client::Error::from(status);
            if error.is_outdated() {
                tracing::debug!(application = %application.key, %error, "the plan is outdated");
                return Ok(Reported::Outdated);
            }
            Err(error).context("cannot report the copy")
        }
    }
}
