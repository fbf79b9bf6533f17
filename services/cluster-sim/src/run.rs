//! The process: a fleet, its kubeconfigs, its health.

use anyhow::Context;
use krake_runtime::admin::Admin;
use krake_runtime::serve::bind;
use krake_runtime::shutdown::Shutdown;

use crate::config::Config;
use crate::fleet::{Fleet, Options};
use crate::kubeconfigs;

/// Simulates clusters until shutdown is requested.
///
/// # Errors
/// When an address cannot be listened on, a cluster's name does not fit, or kubeconfigs cannot be written.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let admin = Admin::of_service("krake-cluster-sim");
    let serving = admin.readiness.condition("serving");
    let admin_listener = bind(config.admin, false).await?;
    let listener = bind(config.listen, false).await?;
    let address = listener.local_addr().context("the listener has no address")?;
    let base_url = config.advertise.clone().unwrap_or_else(|| format!("http://{address}"));
    let options =
        Options { base_url: base_url.clone(), nodes: config.nodes, ready_after: config.ready_after };
    let fleet = Fleet::new(options);
    for name in &config.clusters {
        fleet.add(name)?;
    }
    if let Some(folder) = &config.kubeconfig_dir {
        kubeconfigs::make_folder(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for name in &config.clusters {
            let file = format!("{name}.yaml");
            kubeconfigs::write(folder, &file, &fleet.kubeconfig(name).unwrap_or_default())
                .with_context(|| format!("cannot write {file} in {}", folder.display()))?;
        }
    }
    tracing::info!(clusters = config.clusters.len(), %address, base_url, "simulated clusters are served, from memory");
    serving.set(true);
    let (fleet, admin) =
        tokio::join!(fleet.serve(listener, shutdown.clone()), admin.serve(admin_listener, shutdown.clone()));
    fleet.context("the listener of the clusters failed")?;
    admin.context("the admin listener failed")
}
