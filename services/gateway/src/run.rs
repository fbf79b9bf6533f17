//! The process: listen, serve, end.

use std::time::Duration;

use anyhow::Context;
use krake_client::Client;
use krake_runtime::admin::Admin;
use krake_runtime::reachable::Reachable;
use krake_runtime::serve::Listener;
use krake_runtime::serve::http::{HttpMetrics, serve_http};
use krake_runtime::serve::{bind, warn_about_any_host};
use krake_runtime::shutdown::Shutdown;
use tokio::task::JoinSet;

use crate::call::StateService;
use crate::config::Config;
use crate::fixed;
use crate::gateway::{Gateway, Options};

/// Maximum silence of the state service before `/readyz` fails: longer than its slowest answers to other calls, which a
/// loaded machine may take.
const MAX_STATE_SILENCE: Duration = Duration::from_secs(15);

/// Runs the gateway until shutdown is requested.
///
/// # Errors
/// When an address cannot be listened on, or the state service's address cannot be used. A state service that cannot be
/// reached is no error: requests and `/readyz` report it, and the next request tries again.
pub async fn run(mut config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let client = Client::new(&config.connect)?;
    let listener = bind(config.listen, config.options.http.tls.is_some()).await?;
    warn_about_any_host(config.listen, &config.options.http.hosts);
    let admin_listener = bind(config.admin, false).await?;
    let admin = Admin::of_service("krake-gateway");
    config.options.http.metrics = HttpMetrics::register(&admin.metrics);
    let admin_shutdown = shutdown.child();
    let mut tasks = JoinSet::new();
    let mut probe = JoinSet::new();
    let state = Reachable { name: "state", max_silence: MAX_STATE_SILENCE };
    probe.spawn(state.follow(
        fixed::contact(StateService::new(&client, &config.options)),
        admin.readiness.condition("state"),
    ));
    tasks.spawn(admin.serve(admin_listener, admin_shutdown.clone()));
    let served = serve(listener, client, config.options, shutdown).await;
    // Also if the listener ended by itself: a process that serves nothing must not be reported as alive.
    admin_shutdown.request();
    drop(probe);
    while let Some(ended) = tasks.join_next().await {
        ended.context("the admin listener failed")?.context("the admin listener failed")?;
    }
    served
}

/// Serves the REST API on `listener` until shutdown is requested; `client` leads to the state service.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: impl Listener,
    client: Client,
    options: Options,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    tracing::info!(address = %listener.local_addr()?, "serving");
    let mut http = options.http.clone();
    http.hosts.origins = options.origins.trusted();
    let router = Gateway::router(&client, options, shutdown.clone());
    Ok(serve_http(listener, router, http, shutdown).await?)
}
