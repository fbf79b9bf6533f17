//! Rewrites of what older versions stored, each once, before anything is served. The rewrites themselves belong to their
//! kinds (`kinds/<kind>.rs`).

use anyhow::Context;

use crate::cache::Cache;
use crate::kinds::{self, KindRules, Upgrade};
use crate::object::{key, value};
use crate::store::{Guard, Store, Txn};

/// Runs every rewrite that this store has not seen. Replicas may run them at the same time, and a process that ends in
/// the middle is followed by one that starts over: each object is rewritten only if it is as it was looked at.
///
/// # Errors
/// When the store refuses, or an object cannot be understood.
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
    let mut count = 0_usize;
    let mut objects = cache.below(key::all(rules.kind));
    let mut again = Vec::new();
    while let Some((key, stored)) = again.pop().or_else(|| objects.next()) {
        let find = |kind, namespace: &str, name: &str| cache.get(&key::resource(kind, namespace, name));
        let Some(rewritten) = (upgrade.rewrite)(&stored, &find).with_context(|| key.to_string())? else {
            continue;
        };
        let txn = Txn::new()
            .guard(Guard::At(key.clone(), stored.revision))
            .put(key.clone(), value::encode(stored.kind.message, &rewritten.sections.encode()));
        match store.commit(txn).await? {
            Ok(_) => {
                count += 1;
                tracing::warn!(object = %key, change = %rewritten.report, "brought a stored object up to date");
            }
            // Another replica, or a user of one, wrote it meanwhile: look at it again.
            Err(conflict) => {
                if let Some(entry) = conflict.current {
                    again.extend(crate::cache::readable(&entry));
                }
            }
        }
    }
    if count > 0 {
        tracing::warn!(count, upgrade = upgrade.name, "stored objects were brought up to date");
    }
    Ok(())
}
