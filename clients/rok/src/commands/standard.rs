//! What kinds have in common: get, list, delete; create and update where options describe all. A global object is one without namespace.

use krake_client::{DeleteOptions, ListOptions};
use krake_proto::krake::meta::v1::{Metadata, View};

use super::modify::{modify, nothing};
use super::{Session, watch};
use crate::args::{DeleteWait, Format, GlobalDelete, GlobalGet, GlobalList, GlobalTarget};
use crate::failure::Failure;
use crate::kinds::Managed;
use crate::output::{self, Columns};
use crate::progress::{Goal, Progress};
use crate::terminal::notice;
use crate::wait;

pub(super) async fn create<K: Managed>(
    session: &Session,
    namespace: String,
    target: GlobalTarget,
    options: K::Create,
) -> Result<String, Failure> {
    let metadata = Metadata { namespace, name: target.name, ..Metadata::default() };
    let object = session.api::<K>().create(&K::create(metadata, options)?).await?;
    output::object(&object, target.output)
}

pub(super) async fn update<K: Managed>(
    session: &Session,
    namespace: String,
    target: GlobalTarget,
    change: K::Change,
) -> Result<String, Failure> {
    if change == K::Change::default() {
        return Err(nothing());
    }
    let write = |object: &mut K| object.change(&change);
    let object = modify(&session.api(), &namespace, &target.name, write).await?;
    output::object(&object, target.output)
}

pub(super) async fn get<K: Columns>(
    session: &Session,
    namespace: String,
    args: GlobalGet,
) -> Result<String, Failure> {
    let api = session.api::<K>();
    let object = api.get(&namespace, &args.target.name).await?;
    if args.watch {
        watch::object(&api, object, args.target.output).await?;
        return Ok(String::new());
    }
    output::object(&object, args.target.output)
}

pub(super) async fn list<K: Columns>(
    session: &Session,
    namespace: String,
    args: GlobalList,
) -> Result<String, Failure> {
    let api = session.api::<K>();
    // Tables show no documents, so none are asked for.
    let view = if args.output == Format::Table { View::Basic } else { View::Full };
    let options = ListOptions { view, ..ListOptions::default() };
    if args.watch {
        watch::list(&api, &namespace, &options, args.output).await?;
        return Ok(String::new());
    }
    let listing = api.list(&namespace, &options).await?;
    output::list(&listing.items, namespace.is_empty(), args.output)
}

pub(super) async fn delete<K: Columns + Progress>(
    session: &Session,
    namespace: String,
    args: GlobalDelete<DeleteWait>,
) -> Result<String, Failure> {
    let api = session.api::<K>();
    let options = DeleteOptions { force: args.force, cascade: args.cascade, ..DeleteOptions::default() };
    let object = api.delete(&namespace, &args.name, &options).await?;
    let kind = K::KIND.shown(&namespace);
    let slash = if namespace.is_empty() { "" } else { "/" };
    let name = format!("{kind} {namespace}{slash}{}", args.name);
    let erased = is_erased(object.metadata());
    if erased {
        object.left_behind().iter().for_each(|line| notice(line));
        notice(&format!("{name} is deleted"));
        return Ok(String::new());
    }
    notice(&format!("{name} is being deleted"));
    if let Some(state) = args.wait
        && wait::until(&api, object, Goal::from(state), args.timeout.timeout).await?.is_none()
    {
        notice(&format!("{name} is deleted"));
    }
    Ok(String::new())
}

/// Whether a deletion erased the object at once: nothing held it, or the deletion is forced. A forced cascade erases
/// what belongs to the object first.
fn is_erased(metadata: Option<&Metadata>) -> bool {
    metadata.is_none_or(|metadata| {
        let deletion = metadata.deletion.clone().unwrap_or_default();
        metadata.finalizers.is_empty() || (deletion.force && !deletion.cascade)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use krake_proto::krake::meta::v1::Deletion;

    #[test]
    fn a_forced_cascade_erases_nothing_at_once() {
        for (finalizers, cascade, force, expected) in [
            (&["f"][..], false, false, false),
            (&[], false, false, true),
            (&["f"], false, true, true),
            (&["f"], true, true, false),
        ] {
            let metadata = Metadata {
                finalizers: finalizers.iter().map(|name| (*name).to_owned()).collect(),
                deletion: Some(Deletion { cascade, force, ..Deletion::default() }),
                ..Metadata::default()
            };
            assert_eq!(is_erased(Some(&metadata)), expected, "{metadata:?}");
        }
    }
}
