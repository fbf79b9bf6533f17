//! Sweeping: removing an object that bears this installation's marks and belongs to no copy.

use kube::api::{DeleteParams, Preconditions};

use crate::cluster::connection::Connection;
use crate::error::ClusterError;
use crate::object::containers::{self, Owner};
use crate::object::contents::look_into;
use crate::object::orphan::Marked;
use crate::object::ownership::Live;
use crate::object::release::release;
use crate::object::remove::OtherUser;

/// How often an object whose status changes meanwhile is looked at again.
const ATTEMPTS: usize = 4;

/// What a sweep came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    /// It is gone or will be, or was released.
    Gone,
    /// Somebody changed it, or it still holds what is to go before it: it has to be judged again.
    Deferred,
}

/// Removes one object that belongs to nobody, if it still bears the marks that were seen; one that existed before, or that
/// holds what is somebody else's, is released. `other_user`: finds applications that use a namespace or definition.
pub async fn sweep(
    connection: &Connection,
    orphan: &Marked,
    installation: &str,
    other_user: &OtherUser<'_>,
) -> Result<Swept, ClusterError> {
    let mut seen = orphan.clone();
    for _ in 0..ATTEMPTS {
        match sweep_once(connection, &seen, installation, other_user).await {
            Err(ClusterError::Conflict(_)) => {}
            swept => return swept,
        }
        let objects = connection.objects(&orphan.kind, orphan.key.namespace.as_deref());
        let Some(live) = connection.find(&objects, &orphan.key.name).await? else { return Ok(Swept::Gone) };
        let Some(now) = Marked::of(&orphan.kind, live.metadata) else { return Ok(Swept::Deferred) };
        seen.resource_version.clone_from(&now.resource_version);
        if now != seen {
            return Ok(Swept::Deferred);
        }
    }
    Ok(Swept::Deferred)
}

async fn sweep_once(
    connection: &Connection,
    orphan: &Marked,
    installation: &str,
    other_user: &OtherUser<'_>,
) -> Result<Swept, ClusterError> {
    let Marked { kind, key, uid, resource_version, .. } = orphan;
    let is_held =
        containers::is_container(key).then(|| is_held(connection, orphan, installation, other_user));
    // What Krake made and leaves to others goes with the last of them that is Krake's.
    let (releases, made_by) = match is_held {
        _ if orphan.adopted => (true, None),
        None => (false, None),
        Some(is_held) => match is_held.await? {
            Held::Others => (true, Some(installation)),
            Held::Own => return Ok(Swept::Deferred),
            Held::Nothing => (false, None),
        },
    };
    let outcome = if releases {
        let (uid, resource_version) = (uid.clone(), resource_version.clone());
        let seen = Live { uid, resource_version, adopted: orphan.adopted, terminating: false };
        release(connection, kind, key, &seen, made_by).await
    } else {
        let guard =
            Preconditions { uid: Some(uid.clone()), resource_version: Some(resource_version.clone()) };
        let deletion = DeleteParams::background().preconditions(guard);
        let objects = connection.objects(kind, key.namespace.as_deref());
        connection.call(objects.delete(&key.name, &deletion)).await.map(|_| ())
    };
    match outcome {
        Ok(()) | Err(ClusterError::NotFound(_)) => Ok(Swept::Gone),
        // Servers answer a wrong uid in a patch with "immutable field".
        Err(ClusterError::Rejected(_)) if releases => Ok(Swept::Deferred),
        Err(error) => Err(error),
    }
}

/// What keeps an orphan from being deleted that others may be in.
enum Held {
    Others,
    /// Objects with the same marks, some of which may belong to a copy.
    Own,
    Nothing,
}

async fn is_held(
    connection: &Connection,
    orphan: &Marked,
    installation: &str,
    other_user: &OtherUser<'_>,
) -> Result<Held, ClusterError> {
    let objects = connection.objects(&orphan.kind, None);
    let Some(live) = connection.find(&objects, &orphan.key.name).await? else { return Ok(Held::Nothing) };
    let contents = look_into(connection, &orphan.key, &live).await?;
    let holds_others_than = |application: &str| {
        let owner = Owner { installation, application, cluster: None, going: &[], staying: &[], claims: &[] };
        containers::held(&contents, owner).is_some()
    };
    let application = orphan.application.as_ref().map_or("", |uid| uid.as_str());
    if holds_others_than(application) {
        return Ok(Held::Others);
    }
    if holds_others_than("") {
        return Ok(Held::Own);
    }
    let user = other_user(&containers::fits(&orphan.key, &live.data));
    Ok(if user.is_some() { Held::Others } else { Held::Nothing })
}

#[cfg(test)]
mod tests;
