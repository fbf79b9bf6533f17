//! Dependents that cannot be read: the garbage collector does not see them, so the state service holds their owners.

use super::delete::MAX_NAMED_OBJECTS;
use super::{Error, Registry};
use crate::cache::Stored;
use crate::object::key::Parts;

impl Registry {
    /// Refuses to let the garbage collector release `owner` while an object that may belong to it cannot be read.
    ///
    /// # Errors
    /// [`Error::FinalizersInUse`], with the keys of the first few such objects.
    pub(super) fn check_dependents(&self, owner: &Stored) -> Result<(), Error> {
        let cascade = owner.metadata.deletion.as_ref().is_some_and(|deletion| deletion.cascade);
        let may_belong = |parts: &Parts<'_>| may_belong(parts, &owner.metadata.namespace, cascade);
        let (named, count) = self.cache.unreadable_where(MAX_NAMED_OBJECTS, may_belong);
        if count == 0 {
            return Ok(());
        }
        let keys = named.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let more = match count - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Err(Error::FinalizersInUse(format!(
            "this version cannot read {keys}{more}, which may belong to the object: start the version that wrote it, or \
             restore a back-up if it is damaged"
        )))
    }
}

/// Whether an object of this key may belong to an owner in this namespace; `""` is that of global owners. An object names
/// owners of its own namespace and global ones. Bindings name others too, and release them, except in a cascade.
fn may_belong(object: &Parts<'_>, namespace: &str, cascade: bool) -> bool {
    cascade || namespace.is_empty() || object.namespace == namespace
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::same_namespace("demo", "demo", false, true)]
    #[case::another_namespace("other", "demo", false, false)]
    #[case::another_namespace_in_a_cascade("other", "demo", true, true)]
    #[case::global_owner("demo", "", false, true)]
    #[case::global_object("", "demo", false, false)]
    #[case::both_global("", "", false, true)]
    fn an_object_may_belong_to_owners_that_it_may_name(
        #[case] object: &str,
        #[case] owner: &str,
        #[case] cascade: bool,
        #[case] expected: bool,
    ) {
        let kind = krake_proto::KINDS[0];
        let parts = Parts { kind, namespace: object, name: "a" };
        assert_eq!(may_belong(&parts, owner, cascade), expected);
    }
}
