//! The process: everything on one data folder, started and stopped in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use krake_client::{Client, ConnectOptions};
use krake_runtime::admin::Admin;
use krake_runtime::serve::http::{HttpMetrics, HttpOptions};
use krake_runtime::serve::{self, ConnectionLimits, ServeError, ServeOptions};
use krake_runtime::shutdown::Shutdown;
use krake_state::store::SqliteStore;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::config::{Config, Listen};
use crate::folder::DataFolder;
use crate::parts::Parts;
use crate::ready::Endpoints;
use crate::{controllers, descriptors, interrupt};

/// Longest time that the controllers and the gateway take to end. With [`BASE_LIMIT`] less than
/// [`krake_runtime::shutdown::SHUTDOWN_DEADLINE`].
const FRONT_LIMIT: Duration = Duration::from_secs(5);
/// Longest time that the state service takes to end after them.
const BASE_LIMIT: Duration = Duration::from_secs(4);
/// Longest time that calls under way may take at the end; less than [`BASE_LIMIT`].
const DRAIN: Duration = Duration::from_secs(3);
/// Pause between two looks at what is ready: short beside the start of a process.
const READY_POLL: Duration = Duration::from_millis(20);

/// Runs Krake until shutdown is requested, and says on standard output where it is once it is ready.
///
/// # Errors
/// As [`serve`].
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    tokio::select! {
        result = serve(config, |endpoints| endpoints.announce(), shutdown.clone()) => result,
        ended = interrupt::end_at_once_on_the_second(shutdown) => ended.context("cannot listen for signals"),
    }
}

/// Runs Krake until shutdown is requested. `on_ready` is called once calls are answered and all controllers work.
///
/// At the end the controllers and the gateway stop first, with the watches that they serve; then the state service ends
/// the watches of others and the calls under way; then the store is closed.
///
/// # Errors
/// When the data folder is in use or cannot be used, an address cannot be listened on, or a part fails: one that fails
/// ends the whole.
pub async fn serve(
    config: Config,
    on_ready: impl FnOnce(&Endpoints),
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    descriptors::allow_many();
    let folder = DataFolder::make(&config.data_dir)?;
    let store = folder.open_store().await?;
    let (api, rest) = (bind(config.listen).await?, bind(config.rest).await?);
    let admin_listener = bind(config.admin).await?;
    if config.authentication.takes_anybody() {
        for address in [api.local_addr()?, rest.local_addr()?] {
            serve::warn_about_any_host(address, &config.hosts);
        }
    }
    let endpoints = Endpoints {
        api: api.local_addr()?,
        rest: rest.local_addr()?,
        admin: admin_listener.local_addr()?,
        data_dir: folder.path().to_owned(),
    };
    let admin = Admin::of_service("krake");

    // Two groups: the controllers and the gateway work with what the base serves.
    let (mut base, mut front) = (Parts::new(), Parts::new());
    let mut serving = start_base(&mut base, &config, &admin, (api, admin_listener), store.clone());

    let work = async {
        tokio::select! {
            ready = &mut serving => if ready.is_err() { return base.failed().await },
            error = base.failed() => return error,
        }
        if let Err(error) = start(&mut front, &config, &admin, &endpoints, rest) {
            return error;
        }
        let readiness = admin.readiness.clone();
        let all_ready = async {
            while !readiness.conditions().iter().all(|(_, holds)| *holds) {
                tokio::time::sleep(READY_POLL).await;
            }
            on_ready(&endpoints);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            error = base.failed() => error,
            error = front.failed() => error,
            () = all_ready => anyhow!("it ended by itself"),
        }
    };
    let outcome = tokio::select! {
        biased;
        () = shutdown.requested() => Ok(()),
        error = work => Err(error),
    };
    let front = front.end(FRONT_LIMIT).await;
    let base = base.end(BASE_LIMIT).await;
    store.close().await;
    outcome.and(front).and(base)
}

/// Starts the admin listener and the state service; the receiver learns when the API answers.
fn start_base(
    base: &mut Parts,
    config: &Config,
    admin: &Admin,
    (api, admin_listener): (TcpListener, TcpListener),
    store: SqliteStore,
) -> oneshot::Receiver<()> {
    base.spawn("admin listener", |stop| {
        let admin = admin.clone();
        async move { Ok(admin.serve(admin_listener, stop).await?) }
    });
    let (filled, serving) = oneshot::channel();
    let store_ready = admin.readiness.condition("store");
    base.spawn("state service", |stop| {
        let limits = ConnectionLimits { drain: DRAIN, ..config.limits.clone() };
        let (hosts, metrics) = (config.hosts.clone(), admin.metrics.clone());
        let options = ServeOptions { limits, hosts, metrics, ..ServeOptions::default() };
        let ready = move || {
            store_ready.set(true);
            // The receiver is gone if the process is ending already.
            let _ = filled.send(());
        };
        krake_state::serve(api, Arc::new(store), config.authentication.clone(), options, ready, stop)
    });
    serving
}

/// Starts what needs the API.
fn start(
    front: &mut Parts,
    config: &Config,
    admin: &Admin,
    endpoints: &Endpoints,
    rest: TcpListener,
) -> anyhow::Result<()> {
    let url = endpoints.api_url();
    let client = Client::new(&ConnectOptions::new(&url))?;
    front.spawn("scheduler", |stop| krake_scheduler::run(controllers::scheduler(config, &url, admin), stop));
    front.spawn("garbage collector", |stop| krake_gc::run(controllers::gc(&url, admin), stop));
    front.spawn("Kubernetes adapter", |stop| {
        krake_kubernetes::run(controllers::kubernetes(config, &url, admin), stop)
    });
    let (hosts, metrics) = (config.hosts.clone(), HttpMetrics::register(&admin.metrics));
    let http = HttpOptions { hosts, metrics, ..HttpOptions::with(config.limits.clone()) };
    let options = krake_gateway::Options { http, ..krake_gateway::Options::default() };
    front.spawn("REST gateway", |stop| krake_gateway::serve(rest, client, options, stop));
    Ok(())
}

async fn bind(listen: Listen) -> Result<TcpListener, ServeError> {
    match serve::bind(listen.address, false).await {
        Err(ServeError::Bind { source, .. })
            if listen.or_free && source.kind() == io::ErrorKind::AddrInUse =>
        {
            serve::bind(SocketAddr::new(listen.address.ip(), 0), false).await
        }
        bound => bound,
    }
}
