//! Requests of controllers about the application "a", and about finalizers, all in the namespace "demo".

use krake_client::Client;
use krake_proto::Resource;
use krake_proto::krake::kubernetes::v1::{Application, BindApplicationRequest, Copy, ReportCopyRequest};
use krake_proto::krake::meta::v1::RemoveFinalizerRequest;
use tonic::Status;

/// A binding of no generation to nothing.
pub(crate) fn binding() -> BindApplicationRequest {
    BindApplicationRequest { namespace: "demo".into(), name: "a".into(), ..Default::default() }
}

fn report(uid: &str, copy: Copy, expected_version: i64) -> ReportCopyRequest {
    ReportCopyRequest {
        namespace: "demo".into(),
        name: "a".into(),
        uid: uid.into(),
        copy: Some(copy),
        expected_version,
        forget: false,
    }
}

/// Reports a copy of the application with this uid. `expected_version` is that of the copy before; 0 for a new one.
pub(crate) async fn report_copy(
    client: &Client,
    uid: &str,
    copy: Copy,
    expected_version: i64,
) -> Result<Application, Status> {
    let request = report(uid, copy, expected_version);
    Ok(client.applications().report_copy(request).await?.into_inner())
}

/// Reports that a copy of the application with this uid is gone.
pub(crate) async fn forget_copy(
    client: &Client,
    uid: &str,
    copy: Copy,
    expected_version: i64,
) -> Result<Application, Status> {
    let request = ReportCopyRequest { forget: true, ..report(uid, copy, expected_version) };
    Ok(client.applications().report_copy(request).await?.into_inner())
}

/// Removes a finalizer from the object of this name if it has this uid; empty = whatever has the name.
pub(crate) fn remove_finalizer<K: Resource>(
    name: &str,
    uid: &str,
    finalizer: &str,
) -> RemoveFinalizerRequest {
    RemoveFinalizerRequest {
        api: K::KIND.api.into(),
        kind: K::KIND.kind.into(),
        namespace: "demo".into(),
        name: name.into(),
        uid: uid.into(),
        finalizer: finalizer.into(),
        ..Default::default()
    }
}
