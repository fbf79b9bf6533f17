//! Get and List: from the cache, once it shows everything that was written before the question.

mod collected;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use krake_proto::envelope::{GetRequest, ListRequest, ListResponse};
use krake_proto::krake::meta::v1::{Consistency, ListObjectsRequest};
use krake_proto::{KINDS, Kind};
use tokio::time::Instant;

use super::page::{self, PageToken};
use super::{Call, Error, Filter, Registry, checked_key, descriptor, what};
use crate::cache::{Behind, Stored, readable};
use crate::object::key;
use crate::store::{Key, Page, Revision, StoreError, Txn};
use collected::Collected;

/// Maximum and default number of resources in a page: what Kubernetes' clients ask for.
const MAX_OBJECTS_PER_PAGE: usize = 500;
/// Maximum reads of the store for one later page, so that a selector that matches little keeps no call busy: it then
/// looks at 5,000 objects, and the next page goes on from there.
const STORE_READS_PER_PAGE: usize = 10;
/// Attempts to fill a first page while the cache drops the changes that are made meanwhile, which takes 128 MiB of them.
const FIRST_PAGE_ATTEMPTS: usize = 3;
/// Maximum wait of a read for a report of progress. It is there within a millisecond; without it, a write follows.
const PROGRESS_LIMIT: Duration = Duration::from_millis(50);
/// Maximum wait of a read for the cache: a cache that is as far behind does not keep up, and the caller should know.
const CACHE_LIMIT: Duration = Duration::from_secs(10);

impl Registry {
    /// Serves `Get<Kind>`.
    pub(crate) async fn get(
        &self,
        _call: &Call,
        kind: &'static Kind,
        request: GetRequest,
    ) -> Result<Bytes, Error> {
        let key = checked_key(kind, &request.namespace, &request.name)?;
        let consistency = super::consistency(request.consistency)?;
        self.refresh_for(consistency).await?;
        if let Some(stored) = self.cache.get(&key) {
            return self.whole(&stored).await;
        }
        // The cache leaves out what it cannot read, which must not look erased.
        if consistency != Consistency::Cached
            && let Some(stored) = self.fetch(&key).await?
        {
            return self.whole(&stored).await;
        }
        Err(Error::NotFound { what: what(kind, &request.namespace, &request.name) })
    }

    /// Serves `List<Kind>s`.
    pub(crate) async fn list(
        &self,
        call: &Call,
        kind: &'static Kind,
        request: ListRequest,
    ) -> Result<ListResponse, Error> {
        let filter = Filter::request(kind, &request.namespace, &request.label_selector)?;
        let view = super::view(request.view)?;
        let consistency = super::consistency(request.consistency)?;
        let descriptor = descriptor(kind);
        let item = |stored: &Arc<Stored>| {
            let item = self.cache.shown(stored).view(&descriptor, view);
            let bytes = item.as_ref().map_or(0, Bytes::len);
            Ok((item, bytes))
        };
        let made_for = page::filter(&request);
        let token = PageToken::read(&request.page_token, &made_for, &call.user)?;
        let mut page = Collected::new(filter, request.page_size, item)?;
        let (revision, rest) = self.fill(&mut page, consistency, token).await?;
        let next = rest.map(|last| PageToken::new(made_for, &call.user, revision, &last).write());
        Ok(ListResponse {
            items: page.into_items().into_iter().flatten().collect(),
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
        let (revision, rest) = self.fill(&mut page, Consistency::Linearizable, token).await?;
        let next = rest.map(|last| PageToken::new(made_for, &call.user, revision, &last).write());
        Ok((page.into_items(), revision, next.unwrap_or_default()))
    }

    /// Fills the page that `token` is for. Returns the revision that it shows, and where the next page begins, if more
    /// follows.
    async fn fill<T, I>(
        &self,
        page: &mut Collected<T, I>,
        consistency: Consistency,
        token: Option<PageToken>,
    ) -> Result<(Revision, Option<Key>), Error>
    where
        I: Fn(&Arc<Stored>) -> Result<(T, usize), Error>,
    {
        if let Some(token) = token {
            let rest = self.later_page(page, &token).await?;
            // Not from the cache: the store may have been replaced since.
            self.revisions.ask(|| self.store.revision()).await?;
            return Ok((token.revision, rest));
        }
        self.refresh_for(consistency).await?;
        for _ in 0..FIRST_PAGE_ATTEMPTS {
            match self.first_page(page).await? {
                Ok(filled) => return Ok(filled),
                Err(Behind { .. }) => page.clear(),
            }
        }
        let reason = "the objects change faster than they can be listed".to_owned();
        Err(StoreError::Unavailable { reason }.into())
    }

    /// Fills a first page from the cache, in pieces. Objects of the pieces before that change meanwhile are shown as they
    /// are at the end, so that the page shows one revision.
    async fn first_page<T, I>(
        &self,
        page: &mut Collected<T, I>,
    ) -> Result<Result<(Revision, Option<Key>), Behind>, Error>
    where
        I: Fn(&Arc<Stored>) -> Result<(T, usize), Error>,
    {
        let (mut passed, mut place) = (None::<Key>, None);
        loop {
            if let (Some(passed), Some(from)) = (&passed, place) {
                let (batches, now) = match self.cache.since(from, usize::MAX) {
                    Ok(found) => found,
                    Err(behind) => return Ok(Err(behind)),
                };
                place = Some(now);
                let changes = batches.iter().flat_map(|batch| &batch.changes);
                for change in changes.filter(|change| change.key <= *passed) {
                    page.change(change)?;
                }
                if let Some(last) = page.cut() {
                    return Ok(Ok((now, Some(last))));
                }
                // The changes may have filled it: the next page begins where this one stopped looking.
                if page.is_full() {
                    return Ok(Ok((now, Some(passed.clone()))));
                }
            }
            let piece = self.cache.piece(page.filter.spans(), passed.as_ref(), place, page.room());
            if let Some(piece) = piece {
                place = Some(piece.revision);
                let last = piece.found.last().map(|(key, _)| key.clone());
                let cut = page.take(piece.found)?;
                if cut.is_some() || piece.done {
                    return Ok(Ok((piece.revision, cut)));
                }
                passed = last.or(passed);
                if page.is_full() {
                    return Ok(Ok((piece.revision, passed)));
                }
            }
            tokio::task::yield_now().await;
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
        let limit = if page.filter.is_selective() { MAX_OBJECTS_PER_PAGE } else { page.limit };
        let ahead = page.filter.spans().iter().filter(|span| !span.is_before(&token.after));
        let mut prefixes = ahead.map(|span| span.prefix().clone()).collect::<Vec<_>>().into_iter();
        let (mut after, mut prefix) = (token.after.clone(), prefixes.next());
        for _ in 0..STORE_READS_PER_PAGE {
            let Some(below) = &prefix else { return Ok(None) };
            if page.is_full() {
                return Ok(Some(after));
            }
            let step = Page { at: Some(token.revision), after: Some(after.clone()), limit };
            let listing = self.store.list(below, step).await?;
            if let Some(last) = listing.entries.last() {
                after = last.key.clone();
            }
            let cut = page.take(
                listing.entries.iter().filter_map(|entry| readable(self.cache.keyring(), entry)).collect(),
            )?;
            if cut.is_some() {
                return Ok(cut);
            }
            if !listing.more {
                prefix = prefixes.next();
            }
        }
        // Few objects match. The caller continues from here, so that no call takes for ever.
        Ok(prefix.map(|_| after))
    }

    /// Waits until the cache shows what a read of this consistency must show.
    async fn refresh_for(&self, consistency: Consistency) -> Result<(), Error> {
        match consistency {
            Consistency::Cached => Ok(()),
            Consistency::Unspecified | Consistency::Linearizable => self.refresh().await,
        }
    }

    /// Waits until the cache shows every write that was answered before this call.
    pub(crate) async fn refresh(&self) -> Result<(), Error> {
        let now = self.revisions.ask(|| self.store.revision()).await?;
        if self.cache.revision() >= now {
            return Ok(());
        }
        let wait = self.patience.wait(Instant::now());
        if self.cache.reach(now, wait).await {
            return Ok(());
        }
        self.patience.missed(wait, Instant::now());
        // Another program wrote to the same etcd, or the cache is slow.
        let reports = self.store.request_progress().await?;
        self.patience.reports(reports);
        if reports && self.cache.reach(now, PROGRESS_LIMIT).await {
            return Ok(());
        }
        // A write of our own is sure to come by.
        let tick = self.ticks.ask(|| self.store.commit(Txn::new().put(key::TICK, Bytes::new()))).await?;
        let tick = tick.map_err(|_| Error::Internal("a write without guards met a conflict".to_owned()))?;
        if self.cache.reach(tick, CACHE_LIMIT).await {
            return Ok(());
        }
        let reason =
            "the watch cache is behind the store: it has not reached a write of ten seconds ago".to_owned();
        Err(StoreError::Unavailable { reason }.into())
    }
}

/// The keys that a namespace of a request stands for.
pub(super) fn prefix(kind: &Kind, namespace: &str) -> Result<Key, Error> {
    match namespace {
        "" if kind.can_be_global() => Ok(key::namespace(kind, "")),
        "" => Err(Error::invalid("namespace", "is empty; \"-\" stands for all namespaces")),
        given if !kind.can_be_namespaced() => {
            Err(Error::invalid("namespace", super::no_namespace(kind, given)))
        }
        "-" => Ok(key::all(kind)),
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

#[cfg(test)]
mod tests;
