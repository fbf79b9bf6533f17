//! Updates that add to what is there: read, change, write what was read or nothing.

use std::collections::BTreeMap;

use krake_client::{Api, Mask};
use krake_proto::Resource;

use crate::failure::Failure;

/// Maximum number of retries after write conflicts.
const ATTEMPTS: u32 = 10;

/// Changes an object. `change` says which fields it has written; these are sent and nothing else.
///
/// # Errors
/// [`Failure::Usage`] if nothing changes by the user's will, and whatever a call may fail with.
pub(super) async fn modify<K: Resource>(
    api: &Api<K>,
    namespace: &str,
    name: &str,
    change: impl Fn(&mut K) -> Result<Vec<&'static str>, Failure>,
) -> Result<K, Failure> {
    let mut attempt = 1;
    loop {
        let mut object = api.get(namespace, name).await?;
        let fields = something(change(&mut object)?)?;
        match api.update(&object, Mask::fields(fields)).await {
            Err(error) if error.is_conflict() && attempt < ATTEMPTS => attempt += 1,
            done => return Ok(done?),
        }
    }
}

/// The fields, of which there must be one.
pub(super) fn something(fields: Vec<&'static str>) -> Result<Vec<&'static str>, Failure> {
    if fields.is_empty() { Err(nothing()) } else { Ok(fields) }
}

/// The failure of an update without any change.
pub(super) fn nothing() -> Failure {
    Failure::Usage("nothing to update: say what is to change".to_owned())
}

/// Paths of the fields that a change writes.
#[derive(Default)]
pub(crate) struct Fields(Vec<&'static str>);

impl Fields {
    /// Sets a field, if something is given.
    pub(crate) fn set<T, G: Into<T>>(&mut self, path: &'static str, field: &mut T, given: Option<G>) {
        if let Some(given) = given {
            *field = given.into();
            self.0.push(path);
        }
    }

    /// Adds to a list what it does not hold yet. `clear` empties it first.
    pub(crate) fn add<T: PartialEq + Clone>(
        &mut self,
        path: &'static str,
        list: &mut Vec<T>,
        given: &[T],
        clear: bool,
    ) {
        if clear {
            list.clear();
        }
        for item in given {
            if !list.contains(item) {
                list.push(item.clone());
            }
        }
        self.note(path, clear || !given.is_empty());
    }

    /// Sets entries of a map. `clear` empties it first.
    pub(crate) fn put<V>(
        &mut self,
        path: &'static str,
        map: &mut BTreeMap<String, V>,
        given: impl IntoIterator<Item = (String, V)>,
        clear: bool,
    ) {
        if clear {
            map.clear();
        }
        let mut given = given.into_iter().peekable();
        self.note(path, clear || given.peek().is_some());
        map.extend(given);
    }

    /// Remembers a field, if it was written.
    pub(crate) fn note(&mut self, path: &'static str, written: bool) {
        if written {
            self.0.push(path);
        }
    }

    /// The paths.
    pub(crate) fn paths(self) -> Vec<&'static str> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_grow_unless_they_are_cleared() {
        let mut fields = Fields::default();
        let mut list = vec!["a"];
        fields.add("nothing", &mut list, &[], false);
        fields.add("more", &mut list, &["b", "a", "b"], false);
        assert_eq!(list, ["a", "b"]);
        fields.add("other", &mut list, &["c"], true);
        assert_eq!(list, ["c"]);
        fields.add("none", &mut list, &[], true);
        assert!(list.is_empty());
        assert_eq!(fields.paths(), ["more", "other", "none"]);
    }

    #[test]
    fn entries_of_maps_are_set_one_by_one() {
        let mut fields = Fields::default();
        let mut map = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
        fields.put("nothing", &mut map, [], false);
        fields.put("some", &mut map, [("b".to_owned(), 3)], false);
        assert_eq!(map, BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 3)]));
        fields.put("all", &mut map, [("c".to_owned(), 4)], true);
        assert_eq!(map, BTreeMap::from([("c".to_owned(), 4)]));
        assert_eq!(fields.paths(), ["some", "all"]);
    }

    #[test]
    fn an_update_of_nothing_is_wrong_usage() {
        let mut fields = Fields::default();
        fields.set("absent", &mut 1, None::<i32>);
        assert_eq!(something(fields.paths()).unwrap_err().exit_code(), 2);
    }
}
