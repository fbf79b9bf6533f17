//! The process: a fleet, its kubeconfigs, its health.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use axum::http::Uri;
use krake_runtime::admin::Admin;
use krake_runtime::serve::bind;
use krake_runtime::shutdown::Shutdown;

use crate::config::Config;
use crate::fleet::{Fleet, Options};
use crate::kubeconfigs;
use crate::tls::Tls;

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
    let scheme = if config.insecure_http { "http" } else { "https" };
    let base_url = config.advertise.clone().unwrap_or_else(|| format!("{scheme}://{address}"));
    let tls = (!config.insecure_http).then(|| Tls::of_hosts(hosts(&base_url, address))).transpose()?;
    let authority = tls.as_ref().map(|tls| tls.authority().to_owned());
    let Config { nodes, ready_after, .. } = config;
    let options = Options { base_url: base_url.clone(), tls, nodes, ready_after };
    let fleet = Fleet::new(options);
    for name in &config.clusters {
        fleet.add(name)?;
    }
    if let Some(folder) = &config.kubeconfig_dir {
        kubeconfigs::make_folder(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let kubeconfig = |name: &String| (format!("{name}.yaml"), fleet.kubeconfig(name).unwrap_or_default());
        let files = config.clusters.iter().map(kubeconfig);
        for (file, content) in files.chain(authority.map(|pem| ("ca.crt".to_owned(), pem))) {
            kubeconfigs::write(folder, &file, &content)
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

/// Names and addresses by which clients may reach the process: the advertised one, the one served on, and this machine.
fn hosts(base_url: &str, address: SocketAddr) -> BTreeSet<String> {
    let advertised = base_url.parse::<Uri>().ok().and_then(|url| url.host().map(str::to_owned));
    let advertised = advertised.map(|host| host.trim_matches(['[', ']']).to_owned());
    let local = [Ipv4Addr::LOCALHOST.to_string(), Ipv6Addr::LOCALHOST.to_string(), "localhost".to_owned()];
    advertised.into_iter().chain([address.ip().to_string()]).chain(local).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_for_every_address_that_clients_may_use() {
        let address = SocketAddr::from(([10, 0, 0, 7], 1));
        let names = |url: &str| hosts(url, address).into_iter().collect::<Vec<_>>();
        assert_eq!(names("https://sim:6443"), ["10.0.0.7", "127.0.0.1", "::1", "localhost", "sim"]);
        assert_eq!(names("https://[fd00::1]:6443"), ["10.0.0.7", "127.0.0.1", "::1", "fd00::1", "localhost"]);
    }
}
