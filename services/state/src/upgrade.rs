//! Rewrites of what older versions stored, each once, before anything is served. The rewrites themselves belong to their
//! kinds (`kinds/<kind>.rs`).

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};

use crate::cache::{Cache, Stored};
use crate::derive;
use crate::kinds::{self, KindRules, Rewritten, Upgrade};
use crate::object::key;
use crate::object::wire::Malformed;
use crate::store::{Guard, Key, Store, Txn};

/// Objects that are rewritten at the same time: the store joins such commits, so a large installation starts sooner.
const CONCURRENCY: usize = 32;

/// Runs every rewrite that this store has not seen. Replicas may run them at the same time, and a process that ends in
/// the middle is followed by one that starts over: each object is rewritten only if it is as it was looked at.
///
/// # Errors
/// When the store refuses.
pub(crate) async fn run(store: &dyn Store, cache: &Cache) -> anyhow::Result<()> {
    for rules in kinds::all() {
        for upgrade in rules.upgrades {
            let done = key::upgrade(upgrade.name);
            if store.get(&done).await?.is_none() {
                rewrite(store, cache, rules, upgrade)
                    .await
                    .with_context(|| format!("cannot bring stored objects up to date: {}", upgrade.name))?;
                let record = Txn::new().guard(Guard::Absent(done.clone())).put(done, "");
                // A conflict means that another replica was faster.
                let _ = store.commit(record).await?;
            }
        }
    }
    Ok(())
}

async fn rewrite(
    store: &dyn Store,
    cache: &Cache,
    rules: &KindRules,
    upgrade: &Upgrade,
) -> anyhow::Result<()> {
    let objects = cache.below(key::all(rules.kind));
    let count = stream::iter(objects)
        .map(|(key, stored)| rewrite_one(store, cache, upgrade, key, stored))
        .buffer_unordered(CONCURRENCY)
        .try_fold(0_usize, |count, rewritten| async move { Ok(count + usize::from(rewritten)) })
        .await?;
    if count > 0 {
        tracing::warn!(count, upgrade = upgrade.name, "stored objects were brought up to date");
    }
    Ok(())
}

/// Rewrites one object. Returns whether there was anything to do.
async fn rewrite_one(
    store: &dyn Store,
    cache: &Cache,
    upgrade: &Upgrade,
    key: Key,
    stored: std::sync::Arc<Stored>,
) -> anyhow::Result<bool> {
    let mut pending = Some(stored);
    while let Some(stored) = pending.take() {
        let rewritten = match rewritten(cache, upgrade, &stored) {
            Ok(Some(rewritten)) => rewritten,
            Ok(None) => return Ok(false),
            // A broken object must not keep all others from being served.
            Err(error) => {
                tracing::error!(object = %key, %error, upgrade = upgrade.name, "left a broken object as it is");
                return Ok(false);
            }
        };
        let txn = Txn::new()
            .guard(Guard::At(key.clone(), stored.revision))
            .put(key.clone(), cache.keyring().seal(&key, stored.kind.message, &rewritten.sections.encode()));
        match store.commit(txn).await? {
            Ok(_) => {
                if let Some(change) = rewritten.report {
                    tracing::warn!(object = %key, %change, "brought a stored object up to date");
                }
                return Ok(true);
            }
            // Another replica, or a user of one, wrote it meanwhile: look at it again.
            Err(conflict) => {
                let current =
                    conflict.current.and_then(|entry| crate::cache::readable(cache.keyring(), &entry));
                pending = current.map(|(_, stored)| stored);
            }
        }
    }
    Ok(false)
}

/// What an upgrade makes of an object, with the derived fields of its status computed anew.
fn rewritten(cache: &Cache, upgrade: &Upgrade, stored: &Stored) -> Result<Option<Rewritten>, Malformed> {
    let find = |kind, namespace: &str, name: &str| cache.get(&key::resource(kind, namespace, name));
    let Some(mut rewritten) = (upgrade.rewrite)(stored, &find)? else { return Ok(None) };
    rewritten.sections.status = derive::status(stored.kind, &rewritten.sections)?;
    Ok(Some(rewritten))
}
