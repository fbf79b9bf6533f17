//! Rewrites of what older versions stored, each once, before anything is served. The rewrites themselves belong to their
//! kinds (`kinds/<kind>.rs`).
//!
//! An object that cannot be rewritten is logged and left as it is: it must not keep all others from being served. Its
//! upgrade is then not recorded as done, so the next start tries again.

use std::sync::Arc;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};

use crate::cache::{Cache, Stored};
use crate::derive;
use crate::kinds::{self, KindRules, Rewritten, Upgrade};
use crate::object::key;
use crate::object::wire::Malformed;
use crate::registry::{self, Error};
use crate::store::{Entry, Guard, Key, Page, Store, StoreError, Txn};

/// Objects that are rewritten at the same time: the store joins such commits, so a large installation starts sooner.
const REWRITE_CONCURRENCY: usize = 32;
/// Objects that are read from the store at a time: some megabytes at most in most installations.
const OBJECTS_PER_PAGE: usize = 500;

/// Runs every rewrite that this store has not seen. Replicas may run them at the same time, and a process that ends in
/// the middle is followed by one that starts over: each object is rewritten only if it is still as it was read.
///
/// # Errors
/// When the store is unavailable; not because of a single object.
pub(crate) async fn run(store: &dyn Store, cache: &Cache) -> anyhow::Result<()> {
    for rules in kinds::all() {
        for upgrade in rules.upgrades {
            let done = key::upgrade(upgrade.name);
            if store.get(&done).await?.is_some() {
                continue;
            }
            let skipped = rewrite(store, cache, rules, upgrade)
                .await
                .with_context(|| format!("cannot bring stored objects up to date: {}", upgrade.name))?;
            if skipped == 0 {
                let record = Txn::new().guard(Guard::Absent(done.clone())).put(done, "");
                // A conflict means that another replica was faster.
                let _ = store.commit(record).await?;
            }
        }
    }
    Ok(())
}

/// What became of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// There was nothing to do.
    Unchanged,
    /// It was rewritten.
    Rewritten,
    /// It could not be rewritten, now and perhaps never, and stays as it is.
    Skipped,
}

/// Runs one upgrade. Returns the number of objects that it had to skip.
async fn rewrite(
    store: &dyn Store,
    cache: &Cache,
    rules: &KindRules,
    upgrade: &Upgrade,
) -> anyhow::Result<usize> {
    let (mut rewritten, mut skipped) = (0, 0);
    let mut page = Some(Page::first(OBJECTS_PER_PAGE));
    // From the store, since the cache leaves out what cannot be read.
    while let Some(next) = page {
        let listing = store.list(&key::all(rules.kind), next).await?;
        page = listing.next_page(OBJECTS_PER_PAGE);
        let outcomes: Vec<Progress> = stream::iter(listing.entries)
            .map(|entry| rewrite_one(store, cache, upgrade, entry))
            .buffer_unordered(REWRITE_CONCURRENCY)
            .try_collect()
            .await?;
        rewritten += outcomes.iter().filter(|outcome| **outcome == Progress::Rewritten).count();
        skipped += outcomes.iter().filter(|outcome| **outcome == Progress::Skipped).count();
    }
    if rewritten > 0 {
        tracing::warn!(count = rewritten, upgrade = upgrade.name, "stored objects were brought up to date");
    }
    if skipped > 0 {
        let text = "stored objects could not be brought up to date; the next start tries again";
        tracing::error!(count = skipped, upgrade = upgrade.name, "{text}");
    }
    Ok(skipped)
}

/// Rewrites one object.
async fn rewrite_one(
    store: &dyn Store,
    cache: &Cache,
    upgrade: &Upgrade,
    entry: Entry,
) -> anyhow::Result<Progress> {
    let object = entry.key.clone();
    let skipped = |reason: &dyn std::fmt::Display| {
        tracing::error!(%object, %reason, upgrade = upgrade.name, "an object was left as an older version stored it");
        Ok(Progress::Skipped)
    };
    let mut pending = Some(entry);
    while let Some(entry) = pending.take() {
        let stored = match Stored::read(cache.keyring(), &entry) {
            Ok(Some(stored)) => Arc::new(stored),
            Ok(None) => return Ok(Progress::Unchanged),
            Err(error) => return skipped(&error),
        };
        let rewritten = match rewritten(cache, upgrade, &stored) {
            Ok(Some(rewritten)) => rewritten,
            Ok(None) => return Ok(Progress::Unchanged),
            Err(error) => return skipped(&error),
        };
        let replacing = match replace(cache, &entry.key, &stored, &rewritten) {
            Ok(replacing) => replacing,
            Err(error) => return skipped(&error),
        };
        match store.commit(replacing).await {
            Ok(Ok(_)) => {
                if let Some(change) = rewritten.report {
                    tracing::warn!(object = %entry.key, %change, "brought a stored object up to date");
                }
                return Ok(Progress::Rewritten);
            }
            // Another replica, or a user of one, wrote it meanwhile: look at it again.
            Ok(Err(conflict)) => pending = conflict.current,
            Err(error @ (StoreError::TooLarge { .. } | StoreError::Invalid { .. })) => {
                return skipped(&error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Progress::Unchanged)
}

/// Replaces an object that is still as it was read.
fn replace(cache: &Cache, key: &Key, stored: &Stored, rewritten: &Rewritten) -> Result<Txn, Error> {
    let value = registry::sealed(cache.keyring(), stored.kind, key, &rewritten.sections)?;
    Ok(Txn::new().guard(Guard::At(key.clone(), stored.revision)).put(key.clone(), value))
}

/// What an upgrade makes of an object, with the derived fields of its status computed anew.
fn rewritten(cache: &Cache, upgrade: &Upgrade, stored: &Stored) -> Result<Option<Rewritten>, Malformed> {
    let find = |kind, namespace: &str, name: &str| cache.get(&key::resource(kind, namespace, name));
    let Some(mut rewritten) = (upgrade.rewrite)(stored, &find)? else { return Ok(None) };
    rewritten.sections.status = derive::status(stored.kind, &rewritten.sections)?;
    Ok(Some(rewritten))
}
