//! Which set of documents a spec means on a cluster, remembered: to write the documents down in their canonical form and to
//! hash them is most of a look at a copy, and nearly all looks would find the same.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::object::prepare::Target;
use crate::object::rendering::DocumentSet;
use crate::object::{ApplicationUid, ClusterUid};

/// All that a set of documents follows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// Generation of the spec.
    generation: i64,
    /// The namespace of objects that name none.
    default_namespace: String,
    /// Whether each object has a namespace.
    namespaced: Box<[bool]>,
}

impl Source {
    /// Of a spec of this generation, with the objects that its documents mean on the cluster.
    pub(super) fn new<'a>(
        generation: i64,
        default_namespace: &str,
        targets: impl Iterator<Item = &'a Target>,
    ) -> Self {
        let namespaced = targets.map(|target| target.prepared.key.namespace.is_some()).collect();
        Self { generation, default_namespace: default_namespace.to_owned(), namespaced }
    }
}

/// The last set of each copy, and what it follows from.
#[derive(Debug, Default)]
pub(super) struct Renderings(Mutex<HashMap<(ApplicationUid, ClusterUid), (Source, DocumentSet)>>);

impl Renderings {
    /// The set that follows from `source`; `render` makes it unless it is known.
    pub(super) fn set(
        &self,
        application: &ApplicationUid,
        cluster: &ClusterUid,
        source: Source,
        render: impl FnOnce() -> DocumentSet,
    ) -> DocumentSet {
        let copy = (application.clone(), cluster.clone());
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&copy).cloned();
        match known {
            Some((of, set)) if of == source => set,
            _ => {
                let set = render();
                self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(copy, (source, set));
                set
            }
        }
    }

    /// Forgets a copy.
    pub(super) fn forget(&self, application: &ApplicationUid, cluster: &ClusterUid) {
        let copy = (application.clone(), cluster.clone());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&copy);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::rendering::Rendering;

    fn source(generation: i64, default_namespace: &str, namespaced: &[bool]) -> Source {
        Source { generation, default_namespace: default_namespace.to_owned(), namespaced: namespaced.into() }
    }

    #[test]
    fn a_set_is_made_once_for_all_that_it_follows_from() {
        let (renderings, mut made) = (Renderings::default(), 0);
        let mut look = |cluster: &str, source: Source| {
            renderings.set(&"app".into(), &cluster.into(), source, || {
                made += 1;
                Rendering::of(&[json!({"made": made})]).set()
            });
            made
        };
        let looks = [
            look("a", source(1, "d", &[true])),
            look("a", source(1, "d", &[true])),
            look("b", source(1, "d", &[true])),
            look("a", source(1, "d", &[true])),
            look("a", source(2, "d", &[true])),
            look("a", source(2, "e", &[true])),
            look("a", source(2, "e", &[false])),
            look("a", source(2, "e", &[false])),
        ];
        assert_eq!(looks, [1, 1, 2, 2, 3, 4, 5, 5]);
        renderings.forget(&"app".into(), &"a".into());
        assert_eq!((look("a", source(2, "e", &[false])), look("b", source(1, "d", &[true]))), (6, 6));
    }
}
