//! Takes Krake's marks off an object that it leaves to others.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::connection::Connection;
use crate::cluster::discovery::ResolvedKind;
use crate::error::ClusterError;
use crate::object::ownership::Live;
use crate::object::{
    ADOPTED_ANNOTATION, APPLICATION_LABEL, CLUSTER_ANNOTATION, EPOCH_ANNOTATION, FIELD_MANAGER,
    INSTALLATION_LABEL, MADE_LABEL, ObjectKey,
};

/// Takes our marks off an object that existed before, or that others use, and leaves the rest as it is. `made_by`: the
/// installation that made it, and whose last user of it removes it.
pub(super) async fn release(
    connection: &Connection,
    kind: &ResolvedKind,
    key: &ObjectKey,
    seen: &Live,
    made_by: Option<&str>,
) -> Result<(), ClusterError> {
    let objects = connection.objects(kind, key.namespace.as_deref());
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(patch(seen, made_by));
    connection.call(objects.patch(&key.name, &params, &patch)).await?;
    Ok(())
}

/// What takes the marks off exactly the object that was seen. That Krake made it stays written there.
fn patch(seen: &Live, made_by: Option<&str>) -> Value {
    let mut labels = json!({INSTALLATION_LABEL: null, APPLICATION_LABEL: null});
    if let Some(made_by) = made_by {
        labels[MADE_LABEL] = made_by.into();
    }
    json!({"metadata": {
        "uid": seen.uid,
        "resourceVersion": seen.resource_version,
        "labels": labels,
        "annotations": {ADOPTED_ANNOTATION: null, EPOCH_ANNOTATION: null, CLUSTER_ANNOTATION: null},
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_go_and_who_made_it_is_never_erased() {
        let seen = Live { uid: "u".into(), resource_version: "7".into(), adopted: true, terminating: false };
        let adopted = patch(&seen, None);
        let labels = json!({INSTALLATION_LABEL: null, APPLICATION_LABEL: null});
        assert_eq!(adopted["metadata"]["labels"], labels);
        assert_eq!(
            (&adopted["metadata"]["uid"], &adopted["metadata"]["resourceVersion"]),
            (&json!("u"), &json!("7"))
        );
        assert_eq!(patch(&seen, Some("inst"))["metadata"]["labels"][MADE_LABEL], "inst");
    }
}
