//! Get and List: from the cache, once it shows everything that was written before the question.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use krake_proto::envelope::{GetRequest, ListRequest, ListResponse};
use krake_proto::krake::meta::v1::{Consistency, View};
use krake_proto::{KINDS, Kind};

use super::page::PageToken;
use super::{Call, Error, Registry, checked_key, descriptor, what};
use crate::cache::{Stored, readable};
use crate::object::{key, projection};
use crate::store::{Key, Page, Revision, Txn};

/// The most resources of a page, and the usual number.
const PAGE: usize = 500;
/// Pages are also cut when they hold this many bytes.
const PAGE_BYTES: usize = 2 * 1024 * 1024;
/// How long the cache may take to show the present revision before it is helped along.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long a read waits for the cache at most.
const LIMIT: Duration = Duration::from_secs(10);

impl Registry {
    /// Serves `Get<Kind>`.
    pub(crate) async fn get(&self, kind: &'static Kind, request: GetRequest) -> Result<Bytes, Error> {
        let key = checked_key(kind, &request.namespace, &request.name)?;
        self.refresh(request.consistency).await?;
        let stored = self.cache.get(&key);
        let stored =
            stored.ok_or_else(|| Error::NotFound { what: what(kind, &request.namespace, &request.name) })?;
        Ok(stored.encode())
    }

    /// Serves `List<Kind>s`.
    pub(crate) async fn list(
        &self,
        call: &Call,
        kind: &'static Kind,
        request: ListRequest,
    ) -> Result<ListResponse, Error> {
        super::watch::check_selector(&request.label_selector, "")?;
        let prefix = prefix(kind, &request.namespace)?;
        let limit = match usize::try_from(request.page_size) {
            Err(_) => return Err(Error::invalid("page_size", "must not be negative")),
            Ok(0) => PAGE,
            Ok(size) => size.min(PAGE),
        };
        let view = View::try_from(request.view).unwrap_or_default();
        let token = PageToken::read(&request, &call.user)?;
        let (found, revision, mut rest) = match &token {
            None => {
                self.refresh(request.consistency).await?;
                let (found, revision) = self.cache.list(&prefix, None);
                (found, revision, None)
            }
            Some(token) => self.page(&prefix, token, limit).await?,
        };
        let descriptor = descriptor(kind);
        let mut response = ListResponse { resource_version: revision.0, ..Default::default() };
        let mut bytes = 0;
        let mut last = None;
        for (key, stored) in found {
            // A list of all namespaces never holds global resources.
            if request.namespace == "-" && stored.metadata.namespace.is_empty() {
                continue;
            }
            if response.items.len() == limit || bytes >= PAGE_BYTES {
                rest = last;
                break;
            }
            let item = projection::project(stored.encode(), &descriptor, view)?;
            bytes += item.len();
            response.items.push(item);
            last = Some(key);
        }
        if let Some(last) = rest {
            response.next_page_token = PageToken::new(&request, &call.user, revision, &last).write();
        }
        Ok(response)
    }

    /// Objects of some kinds, or of all, with the revision that they show.
    pub(crate) async fn list_objects(
        &self,
        kinds: &[&'static Kind],
    ) -> Result<(Vec<Arc<Stored>>, Revision), Error> {
        self.refresh(Consistency::Linearizable.into()).await?;
        let (found, revision) = self.cache.list(&key::ROOT, None);
        let wanted = |stored: &Stored| kinds.is_empty() || kinds.contains(&stored.kind);
        Ok((found.into_iter().map(|(_, stored)| stored).filter(|stored| wanted(stored)).collect(), revision))
    }

    /// A later page, at the revision of the first one, and its last key if more follows.
    async fn page(
        &self,
        prefix: &Key,
        token: &PageToken,
        limit: usize,
    ) -> Result<(Vec<(Key, Arc<Stored>)>, Revision, Option<Key>), Error> {
        let page = Page { at: Some(token.revision), after: Some(token.after.clone()), limit };
        let listing = self.store.list(prefix, page).await?;
        let last = listing.entries.last().filter(|_| listing.more).map(|entry| entry.key.clone());
        Ok((listing.entries.iter().filter_map(readable).collect(), token.revision, last))
    }

    /// Waits until the cache shows every write that was answered before this call.
    pub(super) async fn refresh(&self, consistency: i32) -> Result<(), Error> {
        if consistency == i32::from(Consistency::Cached) {
            return Ok(());
        }
        let now = self.store.revision().await?;
        if self.cache.reach(now, PATIENCE).await {
            return Ok(());
        }
        // Somebody else wrote to the same etcd, or the cache is slow: a write of our own is sure to come by.
        let tick = self.store.commit(Txn::new().put(key::TICK, Bytes::new())).await?;
        let tick = tick.map_err(|_| Error::Internal("a write without guards met a conflict".to_owned()))?;
        if self.cache.reach(tick, LIMIT).await {
            return Ok(());
        }
        Err(crate::store::StoreError::Unavailable { reason: "the cache does not keep up".to_owned() }.into())
    }
}

/// The keys that a namespace of a request stands for.
pub(super) fn prefix(kind: &Kind, namespace: &str) -> Result<Key, Error> {
    match namespace {
        "-" => Ok(key::all(kind)),
        "" if kind.can_be_global() => Ok(key::namespace(kind, "")),
        "" => Err(Error::invalid("namespace", "is empty; \"-\" stands for all namespaces")),
        namespace => match krake_proto::name::resource_name(namespace) {
            Ok(()) => Ok(key::namespace(kind, namespace)),
            Err(error) => Err(Error::invalid("namespace", error.to_string())),
        },
    }
}

/// The kinds of references in a request.
pub(crate) fn kinds(
    references: &[krake_proto::krake::meta::v1::KindRef],
) -> Result<Vec<&'static Kind>, Error> {
    let mut found = Vec::new();
    for (index, reference) in references.iter().enumerate() {
        let is_meant = |kind: &&Kind| kind.api == reference.api && kind.kind == reference.kind;
        let Some(kind) = KINDS.iter().copied().find(is_meant) else {
            let text = format!("there is no kind {:?} in API group {:?}", reference.kind, reference.api);
            return Err(Error::invalid(format!("kinds[{index}]"), text));
        };
        // Each once: every object is compared with all of them.
        if !found.contains(&kind) {
            found.push(kind);
        }
    }
    Ok(found)
}
