//! Get and List: from the cache, once it shows everything that was written before the question.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use krake_proto::envelope::{GetRequest, ListRequest, ListResponse};
use krake_proto::krake::meta::v1::{Consistency, ListObjectsRequest, View};
use krake_proto::{KINDS, Kind};

use super::page::{self, PageToken};
use super::{Call, Error, Filter, Registry, checked_key, descriptor, what};
use crate::cache::{Stored, readable};
use crate::object::{key, projection};
use crate::store::{Key, Page, Revision, Txn};

/// The most resources of a page, and the usual number.
const PAGE: usize = 500;
/// Pages are also cut when they hold this many bytes.
const PAGE_BYTES: usize = 2 * 1024 * 1024;
/// How often the store is read for one later page at most.
const STEPS: usize = 10;
/// How long the cache may take to show the present revision before it is helped along.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long a read waits for the cache at most.
const LIMIT: Duration = Duration::from_secs(10);

impl Registry {
    /// Serves `Get<Kind>`.
    pub(crate) async fn get(
        &self,
        _call: &Call,
        kind: &'static Kind,
        request: GetRequest,
    ) -> Result<Bytes, Error> {
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
        let filter = Filter::request(kind, &request.namespace, &request.label_selector)?;
        let view = View::try_from(request.view).unwrap_or_default();
        let descriptor = descriptor(kind);
        let item = |stored: &Arc<Stored>| {
            let item = projection::project(stored.encode(), &descriptor, view)?;
            let bytes = item.len();
            Ok((item, bytes))
        };
        let made_for = page::filter(&request);
        let token = PageToken::read(&request.page_token, &made_for, &call.user)?;
        let mut page = Collected::new(filter, request.page_size, item)?;
        let (revision, rest) = self.fill(&mut page, request.consistency, token).await?;
        let next = rest.map(|last| PageToken::new(made_for, &call.user, revision, &last).write());
        Ok(ListResponse {
            items: page.items,
            resource_version: revision.0,
            next_page_token: next.unwrap_or_default(),
            ..Default::default()
        })
    }

    /// A page of the objects of some kinds, or of all, with the revision that it shows and the token of the next page.
    pub(crate) async fn list_objects(
        &self,
        call: &Call,
        request: &ListObjectsRequest,
    ) -> Result<(Vec<Arc<Stored>>, Revision, String), Error> {
        let filter = Filter::kinds(kinds(&request.kinds)?);
        let made_for = page::filter_objects(request);
        let token = PageToken::read(&request.page_token, &made_for, &call.user)?;
        let item = |stored: &Arc<Stored>| Ok((stored.clone(), stored.sections.metadata.len()));
        let mut page = Collected::new(filter, request.page_size, item)?;
        let (revision, rest) = self.fill(&mut page, Consistency::Linearizable.into(), token).await?;
        let next = rest.map(|last| PageToken::new(made_for, &call.user, revision, &last).write());
        Ok((page.items, revision, next.unwrap_or_default()))
    }

    /// Fills the page that `token` is for. Returns the revision that it shows, and where the next page begins, if more
    /// follows.
    async fn fill<T, I>(
        &self,
        page: &mut Collected<T, I>,
        consistency: i32,
        token: Option<PageToken>,
    ) -> Result<(Revision, Option<Key>), Error>
    where
        I: Fn(&Arc<Stored>) -> Result<(T, usize), Error>,
    {
        match token {
            None => {
                self.refresh(consistency).await?;
                let (found, revision) = self.cache.list(&page.filter.prefix, None);
                Ok((revision, page.take(found)?))
            }
            Some(token) => Ok((token.revision, self.later_page(page, &token).await?)),
        }
    }

    /// Fills a later page, at the revision of the first one. Returns where the next one begins, if more follows.
    async fn later_page<T, I>(
        &self,
        page: &mut Collected<T, I>,
        token: &PageToken,
    ) -> Result<Option<Key>, Error>
    where
        I: Fn(&Arc<Stored>) -> Result<(T, usize), Error>,
    {
        let limit = if page.filter.is_selective() { PAGE } else { page.limit };
        let mut after = token.after.clone();
        for _ in 0..STEPS {
            let step = Page { at: Some(token.revision), after: Some(after), limit };
            let listing = self.store.list(&page.filter.prefix, step).await?;
            let last = listing.entries.last().filter(|_| listing.more).map(|entry| entry.key.clone());
            let cut = page.take(listing.entries.iter().filter_map(readable).collect())?;
            match (cut, last) {
                (None, Some(last)) if !page.is_full() => after = last,
                (cut, last) => return Ok(cut.or(last)),
            }
        }
        // Few objects match. Whoever asks goes on from here, so that no call takes for ever.
        Ok(Some(after))
    }

    /// Waits until the cache shows every write that was answered before this call.
    pub(crate) async fn refresh(&self, consistency: i32) -> Result<(), Error> {
        if consistency == i32::from(Consistency::Cached) {
            return Ok(());
        }
        let now = self.revisions.ask(|| self.store.revision()).await?;
        if self.cache.reach(now, PATIENCE).await {
            return Ok(());
        }
        // Somebody else wrote to the same etcd, or the cache is slow: a write of our own is sure to come by.
        let tick = self.ticks.ask(|| self.store.commit(Txn::new().put(key::TICK, Bytes::new()))).await?;
        let tick = tick.map_err(|_| Error::Internal("a write without guards met a conflict".to_owned()))?;
        if self.cache.reach(tick, LIMIT).await {
            return Ok(());
        }
        Err(crate::store::StoreError::Unavailable { reason: "the cache does not keep up".to_owned() }.into())
    }
}

/// A page while it is filled.
struct Collected<T, I> {
    filter: Filter,
    limit: usize,
    /// An object as the page holds it, and how many bytes it is counted for.
    item: I,
    items: Vec<T>,
    bytes: usize,
}

impl<T, I: Fn(&Arc<Stored>) -> Result<(T, usize), Error>> Collected<T, I> {
    /// An empty page for at most `size` objects; 0 stands for the usual number.
    fn new(filter: Filter, size: i32, item: I) -> Result<Self, Error> {
        let limit = match usize::try_from(size) {
            Err(_) => return Err(Error::invalid("page_size", "must not be negative")),
            Ok(0) => PAGE,
            Ok(size) => size.min(PAGE),
        };
        Ok(Collected { filter, limit, item, items: vec![], bytes: 0 })
    }

    fn is_full(&self) -> bool {
        self.items.len() >= self.limit || self.bytes >= PAGE_BYTES
    }

    /// Takes what is to be shown of `found`. If the page is full before all of it was looked at, returns the last key
    /// that was.
    fn take(&mut self, found: Vec<(Key, Arc<Stored>)>) -> Result<Option<Key>, Error> {
        let mut last = None;
        for (key, stored) in found {
            if self.filter.shows(&key, &stored) {
                if self.is_full() {
                    return Ok(last);
                }
                let (item, bytes) = (self.item)(&stored)?;
                self.bytes += bytes;
                self.items.push(item);
            }
            last = Some(key);
        }
        Ok(None)
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
