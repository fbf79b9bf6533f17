//! The process: connect the store, fill the cache, serve.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, bail};
use krake_runtime::admin::Admin;
use krake_runtime::reachable::Reachable;
use krake_runtime::serve::{self, Listener, ServeOptions, Services};
use krake_runtime::shutdown::Shutdown;
use tokio::task::JoinSet;

use crate::cache::Cache;
use crate::config::Config;
use crate::elections::Elections;
use crate::figures;
use crate::grpc::{self, Callers};
use crate::housekeeping::{self, Clock};
use crate::installation::Installation;
use crate::object::key;
use crate::opened::Opened;
use crate::registry::{Registry, sweep};
use crate::store::{Forward, Measured, Revision, Store, StoreError};
use crate::upgrade;

/// Pause before a call to a store that did not answer is repeated: short beside an election of etcd, which takes a few
/// seconds, and long enough not to load a store that is in trouble.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Why the process ends after a restore.
const RESTORED: &str = "the store was restored: start again, this process knows what was there before";

/// Maximum silence of the store before `/readyz` fails: longer than a change of etcd's leader takes.
const MAX_STORE_SILENCE: Duration = Duration::from_secs(30);

/// Runs the state service until shutdown is requested.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let listener = serve::bind(config.listen, config.serve.tls.is_some()).await?;
    if config.authentication.takes_anybody() {
        serve::warn_about_any_host(config.listen, &config.serve.hosts);
    }
    let admin_listener = serve::bind(config.admin, false).await?;
    let opened = Opened::open(config.store).await?;
    let store = opened.store();
    let callers = Callers { authorization: config.authorization, ..config.authentication.into() };
    let admin = Admin::of_service("krake-state");
    let options = ServeOptions { metrics: admin.metrics.clone(), ..config.serve };
    let filled = admin.readiness.condition("cache");
    let mut probe = JoinSet::new();
    let reachable = Reachable { name: "store", max_silence: MAX_STORE_SILENCE };
    probe.spawn(reachable.follow(
        {
            let store = store.clone();
            move || {
                let store = store.clone();
                async move { store.contact().await }
            }
        },
        admin.readiness.condition("store"),
    ));
    let mut tasks = JoinSet::new();
    let admin_shutdown = shutdown.child();
    tasks.spawn(admin.serve(admin_listener, admin_shutdown.clone()));
    let served = serve(listener, store, callers, options, move || filled.set(true), shutdown).await;
    // Also when the API ended by itself: a process that serves nothing must not look alive.
    admin_shutdown.request();
    while let Some(ended) = tasks.join_next().await {
        ended.context("the admin listener failed")?.context("the admin listener failed")?;
    }
    drop(probe);
    opened.close().await;
    served
}

/// Serves the API over `store` on `listener` until shutdown is requested. `ready` is called once reads and writes are
/// answered. Calls, store, cache and watches are shown in [`ServeOptions::metrics`].
pub async fn serve(
    listener: impl Listener,
    store: Arc<dyn Store>,
    callers: impl Into<Callers>,
    options: ServeOptions,
    ready: impl FnOnce() + Send,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let clock = Arc::new(SystemTime::now);
    serve_at(clock, listener, store, callers, options, ready, shutdown).await
}

/// The same, at a time of one's own: what objects bear and what their ages are counted by.
pub async fn serve_at(
    clock: Clock,
    listener: impl Listener,
    store: Arc<dyn Store>,
    callers: impl Into<Callers>,
    options: ServeOptions,
    ready: impl FnOnce() + Send,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let measured = Measured::new(store, &options.metrics);
    let forward = Arc::new(Forward::new(Arc::new(measured)));
    let store: Arc<dyn Store> = forward.clone();
    let Some(installation) = identity(store.as_ref(), &shutdown).await else { return Ok(()) };
    store.expect_history(key::EPOCH, installation.epoch.to_string().into());
    let cache = Arc::new(Cache::default());
    let mut feeding = JoinSet::new();
    feeding.spawn({
        let (cache, store) = (cache.clone(), store.clone());
        async move { cache.feed(store).await }
    });
    let filled = async {
        while !cache.reach(Revision(1), STORE_RETRY_DELAY).await {
            tracing::info!("waiting for the store");
        }
    };
    tokio::select! {
        () = filled => {}
        () = shutdown.requested() => return Ok(()),
    }
    if !upgraded(store.as_ref(), &cache, &shutdown).await {
        return Ok(());
    }
    feeding.spawn(housekeeping::run(forward.clone(), clock.clone()));
    let replaced = {
        let (store, installation) = (store.clone(), installation.clone());
        async move { installation.replaced(store.as_ref()).await }
    };
    let elections = Arc::new(Elections::new(store.clone()));
    let registry = Arc::new(Registry::new(store, cache, clock));
    feeding.spawn(sweep(registry.clone()));
    figures::show(&options.metrics, &registry, &forward);
    let (callers, token) = (callers.into(), shutdown.token());
    let routes = grpc::routes(registry, elections, installation.clone(), callers, &options.metrics, token)?;
    let services = Services::new(routes, &[krake_proto::DESCRIPTORS])?;
    tracing::info!(
        address = %listener.local_addr()?,
        installation = %installation.installation,
        epoch = %installation.epoch,
        "serving"
    );
    ready();
    tokio::select! {
        served = serve::serve(listener, services, options, shutdown) => Ok(served?),
        // Both run for ever, so this is a panic; without them the cache would stand still or the store grow.
        Some(ended) = feeding.join_next() => ended.context("the watch cache or the housekeeping failed"),
        () = replaced => bail!(RESTORED),
        lost = forward.went_back(installation.lineage) => Err(gone_back(&lost, &forward, &installation).await)
    }
}

/// Why the process ends whose store lost what it knows of it. The store has a new epoch then.
async fn gone_back(lost: &StoreError, forward: &Forward, installation: &Installation) -> anyhow::Error {
    if *lost == StoreError::Replaced {
        return anyhow!(RESTORED);
    }
    installation.renew_epoch(forward.inner()).await;
    anyhow!(
        "{lost}. This process ends because its cache and its clients know what the store has lost; the store has a new \
         epoch now, so that clients read everything again. What to do: if the configuration leads to another store, \
         correct the endpoints, the prefix or the file; if a copy was put back, start this process again and repeat what \
         was written since that copy was made. To go back without these steps, use `krake-state restore`."
    )
}

/// Brings what older versions stored up to date, as long as it takes; false if shutdown is requested first.
async fn upgraded(store: &dyn Store, cache: &Cache, shutdown: &Shutdown) -> bool {
    loop {
        match upgrade::run(store, cache).await {
            Ok(()) => return true,
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "stored objects are not up to date yet; trying again"
            ),
        }
        tokio::select! {
            () = tokio::time::sleep(STORE_RETRY_DELAY) => {}
            () = shutdown.requested() => return false,
        }
    }
}

/// Waits for the store, as long as it takes; `None` if shutdown is requested first.
async fn identity(store: &dyn Store, shutdown: &Shutdown) -> Option<Installation> {
    loop {
        match Installation::ensure(store).await {
            Ok(installation) => return Some(installation),
            Err(error) => tracing::warn!(%error, "waiting for the store"),
        }
        tokio::select! {
            () = tokio::time::sleep(STORE_RETRY_DELAY) => {}
            () = shutdown.requested() => return None,
        }
    }
}
