//! What all kinds have in common: create, get, list, delete.

use krake_client::{DeleteOptions, ListOptions};
use krake_proto::krake::meta::v1::View;

use super::Session;
use crate::args::{Delete, DeleteWait, Format, Get, GlobalDelete, GlobalGet, GlobalList, List};
use crate::failure::Failure;
use crate::output::{self, Columns};
use crate::progress::{Goal, Progress};
use crate::terminal::notice;
use crate::wait;

/// Stands for all namespaces in requests.
const ALL_NAMESPACES: &str = "-";

pub(super) async fn create<K: Columns>(
    session: &Session,
    object: &K,
    format: Format,
) -> Result<String, Failure> {
    output::object(&session.api::<K>().create(object).await?, format)
}

pub(super) async fn get<K: Columns>(session: &Session, args: Get) -> Result<String, Failure> {
    let object = session.api::<K>().get(&session.namespace(&args.namespace), &args.name).await?;
    output::object(&object, args.output)
}

pub(super) async fn get_global<K: Columns>(session: &Session, args: GlobalGet) -> Result<String, Failure> {
    output::object(&session.api::<K>().get("", &args.name).await?, args.output)
}

pub(super) async fn list<K: Columns>(session: &Session, args: List) -> Result<String, Failure> {
    let namespace = if args.all { ALL_NAMESPACES.to_owned() } else { session.namespace(&args.namespace) };
    let listing = session.api::<K>().list(&namespace, &options(args.output)).await?;
    output::list(&listing.items, false, args.output)
}

pub(super) async fn list_global<K: Columns>(session: &Session, args: GlobalList) -> Result<String, Failure> {
    let listing = session.api::<K>().list("", &options(args.output)).await?;
    output::list(&listing.items, true, args.output)
}

/// Tables show no documents, so none are asked for.
fn options(format: Format) -> ListOptions {
    let view = if format == Format::Table { View::Basic } else { View::Full };
    ListOptions { view, ..ListOptions::default() }
}

pub(super) async fn delete<K: Columns + Progress>(
    session: &Session,
    args: Delete<DeleteWait>,
) -> Result<String, Failure> {
    delete_in::<K>(session, session.namespace(&args.namespace), args.how).await
}

pub(super) async fn delete_global<K: Columns + Progress>(
    session: &Session,
    args: GlobalDelete<DeleteWait>,
) -> Result<String, Failure> {
    delete_in::<K>(session, String::new(), args).await
}

async fn delete_in<K: Columns + Progress>(
    session: &Session,
    namespace: String,
    args: GlobalDelete<DeleteWait>,
) -> Result<String, Failure> {
    let api = session.api::<K>();
    let options = DeleteOptions { force: args.force, ..DeleteOptions::default() };
    let object = api.delete(&namespace, &args.name, &options).await?;
    let kind = K::KIND.shown(&namespace);
    let slash = if namespace.is_empty() { "" } else { "/" };
    let name = format!("{kind} {namespace}{slash}{}", args.name);
    // Without finalizers nothing holds it.
    let held = object.metadata().is_some_and(|metadata| !metadata.finalizers.is_empty());
    if args.force {
        for line in object.left_behind() {
            notice(&format!("left behind: {line}"));
        }
    }
    if args.force || !held {
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
