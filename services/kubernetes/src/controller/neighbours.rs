//! What other applications have, or are about to have, on a cluster.

use krake_client::Mirror;

use super::index::Index;
use super::project::Application;
use crate::object::{ApplicationUid, ClusterUid, ObjectKey};
use crate::plan::{CopyRecord, Phase};

/// All applications of Krake, by their records.
#[derive(Clone, Copy)]
pub(super) struct Neighbours<'a> {
    pub(super) mirror: &'a Mirror<Application>,
    pub(super) index: &'a Index,
}

impl<'a> Neighbours<'a> {
    /// Whether the application with this uid may exist: it is not known to be erased.
    pub(super) fn may_exist(self, application: &ApplicationUid) -> bool {
        !self.index.is_erased_application(application)
    }

    /// Tells whether the copy of another application than `except` on the cluster records the object with a uid as its own.
    pub(super) fn records<'b>(
        self,
        cluster: &'b ClusterUid,
        except: &'b ApplicationUid,
    ) -> impl Fn(&str) -> bool + Sync + use<'a, 'b> {
        move |uid| {
            let placed = self.index.concerned(cluster);
            let others =
                placed.iter().filter_map(|key| self.mirror.get(key)).filter(|one| one.uid != *except);
            let has =
                |copy: &CopyRecord| copy.inventory.iter().any(|entry| entry.uid.as_deref() == Some(uid));
            others.into_iter().any(|other| other.copy(cluster).is_some_and(has))
        }
    }

    /// Finds another application than `except` with a copy on the cluster that needs an object that fits; names it for people.
    pub(super) fn others<'b>(
        self,
        cluster: &'b ClusterUid,
        except: Option<&'b ApplicationUid>,
    ) -> impl Fn(&dyn Fn(&ObjectKey) -> bool) -> Option<String> + Sync + use<'a, 'b> {
        move |fits| {
            let placed = self.index.concerned(cluster);
            let mut others = placed.into_iter().filter_map(|key| self.mirror.get(&key));
            others.find_map(|other| {
                let is_other = except != Some(&other.uid);
                let needs = other.copy(cluster).is_some_and(|copy| needs(copy, fits));
                (is_other && needs).then(|| format!("application {}", other.key))
            })
        }
    }
}

/// Whether a copy has, or is about to have, an object that fits. One that is being removed makes nothing new, and what it
/// still has is seen on the cluster: two that go at the same time do not keep anything for each other.
fn needs(copy: &CopyRecord, fits: &dyn Fn(&ObjectKey) -> bool) -> bool {
    copy.phase != Phase::Removing && copy.inventory.iter().any(|entry| fits(&entry.key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::InventoryEntry;
    use crate::object::containers::fits;
    use jiff::Timestamp;
    use serde_json::{Value, json};

    fn key(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> ObjectKey {
        ObjectKey {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: namespace.map(Into::into),
            name: name.into(),
        }
    }

    fn copy(phase: Phase, objects: &[ObjectKey]) -> CopyRecord {
        let inventory = objects.iter().map(|key| InventoryEntry { key: key.clone(), uid: None });
        let intended = CopyRecord::intended(&"c".into(), Timestamp::UNIX_EPOCH);
        CopyRecord { phase, inventory: inventory.collect(), ..intended }
    }

    #[test]
    fn a_copy_needs_the_namespaces_that_it_names_and_those_of_its_objects() {
        let shop = key("v1", "Namespace", None, "shop");
        let in_shop = fits(&shop, &Value::Null);
        for phase in [Phase::Intended, Phase::Applying, Phase::Running, Phase::Failed] {
            assert!(needs(&copy(phase, std::slice::from_ref(&shop)), &in_shop), "{phase:?}");
            assert!(needs(&copy(phase, &[key("v1", "Secret", Some("shop"), "s")]), &in_shop), "{phase:?}");
        }
        assert!(!needs(&copy(Phase::Removing, std::slice::from_ref(&shop)), &in_shop), "it goes as well");
        assert!(!needs(&copy(Phase::Running, &[key("v1", "Secret", Some("other"), "shop")]), &in_shop));
        assert!(!needs(&copy(Phase::Running, &[]), &in_shop));
    }

    #[test]
    fn a_copy_needs_the_definitions_that_it_names_and_those_of_its_objects() {
        let definition = key("apiextensions.k8s.io/v1", "CustomResourceDefinition", None, "tubs.example.org");
        let live = json!({"spec": {"group": "example.org", "names": {"kind": "Tub"}}});
        let of_tubs = fits(&definition, &live);
        // No object is there yet: an operator watches the kind.
        assert!(needs(&copy(Phase::Running, std::slice::from_ref(&definition)), &of_tubs));
        assert!(needs(&copy(Phase::Intended, &[key("example.org/v2", "Tub", Some("a"), "t")]), &of_tubs));
        assert!(!needs(&copy(Phase::Running, &[key("other.org/v1", "Tub", None, "t")]), &of_tubs));
        assert!(!needs(&copy(Phase::Running, &[key("example.org/v1", "Pot", None, "t")]), &of_tubs));
    }
}
