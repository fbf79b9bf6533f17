//! Objects on clusters: names of clusters, applications and objects, and the marks that say whose an object is; below,
//! how they are prepared, applied, judged and removed.

pub mod apply;
pub mod autoscaler;
pub mod claims;
pub(crate) mod containers;
mod contents;
pub mod definition;
pub mod drift;
pub mod expectation;
mod field_ownership;
pub mod health;
pub mod observation;
pub mod order;
pub mod orphan;
pub mod ownership;
mod pass;
pub mod pods;
pub mod prepare;
pub(crate) mod redaction;
pub mod rehearsal;
mod release;
pub mod remove;
pub mod rendering;
mod scaled;
pub mod services;
pub mod shared;
pub mod sweep;
pub(crate) mod used;
pub mod validation;
pub mod waves;
mod write;

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};

pub use krake_client::{ApplicationUid, ClusterUid};
use serde_json::Value;

/// Field manager of everything that Krake applies.
pub const FIELD_MANAGER: &str = "krake";
/// Label: uuid of the Krake installation that an object belongs to.
pub const INSTALLATION_LABEL: &str = "krake.cloud/installation";
/// Label: uid of the application that an object belongs to.
pub const APPLICATION_LABEL: &str = "krake.cloud/application";
/// Annotation: epoch of the store that knew of the object when it was last applied.
pub const EPOCH_ANNOTATION: &str = "krake.cloud/epoch";
/// Annotation: uid of the cluster in Krake that the object was applied for. The same Kubernetes cluster may be registered
/// twice, or anew: without it the copy of one registration would look like a leftover to the other.
pub const CLUSTER_ANNOTATION: &str = "krake.cloud/cluster";
/// Label of a Namespace or definition that Krake made, and that was left since others use it: uuid of the installation, whose
/// last application that uses it removes it.
pub const MADE_LABEL: &str = "krake.cloud/made-by";
/// Annotation, `true` on objects that existed before: released, not deleted, at the end.
pub const ADOPTED_ANNOTATION: &str = "krake.cloud/adopted";

/// Annotation of users, `true` on a Job that a move runs on the new cluster though it ran to its end on the former one: it
/// makes something that the application needs there.
pub const EVERY_CLUSTER_ANNOTATION: &str = "krake.cloud/run-on-every-cluster";

/// Who applies: what ends up in the marks of every object of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// uuid of this Krake installation.
    pub installation: String,
    /// The application.
    pub application: ApplicationUid,
    /// The cluster, as it is registered.
    pub cluster: ClusterUid,
    /// Epoch of the store.
    pub epoch: String,
}

/// What names one object on one cluster. Displayed as `Deployment demo/echo`.
///
/// Two keys are equal if they name the same object: group, kind, namespace and name. The version does not count, since a
/// cluster serves each object in every version of its group.
#[derive(Clone, Debug)]
pub struct ObjectKey {
    /// Group and version by which the object was, or is to be, applied: `v1`, `apps/v1`, …
    pub api_version: String,
    /// `Deployment`, …
    pub kind: String,
    /// Absent for cluster-scoped objects.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// The API group; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.rsplit_once('/').map_or("", |(group, _)| group)
    }

    fn identity(&self) -> (&str, &str, Option<&str>, &str) {
        (self.group(), &self.kind, self.namespace.as_deref(), &self.name)
    }
}

impl PartialEq for ObjectKey {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for ObjectKey {}

impl Hash for ObjectKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl PartialOrd for ObjectKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ObjectKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// Objects to look up in: an application may have tens of thousands, and each is looked for.
pub fn keys<'a>(entries: impl IntoIterator<Item = &'a InventoryEntry>) -> HashSet<&'a ObjectKey> {
    entries.into_iter().map(|entry| &entry.key).collect()
}

/// An object of a copy, as recorded in Krake: everything that was or may have been applied and is not known to be gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InventoryEntry {
    /// The object.
    pub key: ObjectKey,
    /// Its uid on the cluster, once known.
    pub uid: Option<String>,
}

/// The text at a path of field names, if there is one.
pub(crate) fn text<'a>(object: &'a Value, path: &[&str]) -> Option<&'a str> {
    field(object, path)?.as_str()
}

/// The value at a path of field names, if there is one.
pub(crate) fn field<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, name| value.get(name))
}

/// The whole number at a path of field names, if there is one.
pub(crate) fn number(object: &Value, path: &[&str]) -> Option<i64> {
    field(object, path)?.as_i64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_the_same_in_every_version_of_its_group() {
        let key = |api_version: &str| ObjectKey {
            api_version: api_version.into(),
            kind: "Deployment".into(),
            namespace: Some("demo".into()),
            name: "echo".into(),
        };
        assert_eq!(key("apps/v1"), key("apps/v1beta1"));
        assert_eq!(std::collections::HashSet::from([key("apps/v1"), key("apps/v1beta1")]).len(), 1);
        assert_ne!(key("apps/v1"), key("extensions/v1beta1"));
        assert_ne!(key("v1"), key("apps/v1"));
        assert_eq!((key("v1").group(), key("apps/v1").group()), ("", "apps"));
    }
}
