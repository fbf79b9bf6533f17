//! The simulated clusters of the demo.

use std::net::SocketAddr;

use anyhow::Context;
use krake_cluster_sim::{Fleet, Options, Tls};
use serde_json::Value;

use super::regions::REGIONS;

/// A cluster for each region, empty, to be served at this address; and how to reach each, in the order of the regions.
pub(crate) fn clusters(address: SocketAddr) -> anyhow::Result<(Fleet, Vec<Value>)> {
    let tls = Tls::of_hosts([address.ip().to_string()])?;
    let fleet = Fleet::new(Options { tls: Some(tls), ..Options::new(format!("https://{address}")) });
    let mut kubeconfigs = Vec::new();
    for region in REGIONS {
        fleet.add(region.cluster)?;
        let text = fleet.kubeconfig(region.cluster).context("a simulated cluster is missing")?;
        kubeconfigs.push(serde_json::from_str(&text).context("its kubeconfig cannot be read")?);
    }
    Ok((fleet, kubeconfigs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_region_has_a_cluster_of_its_own_at_the_address() {
        let (_fleet, kubeconfigs) = clusters(([127, 0, 0, 1], 4711).into()).unwrap();
        assert_eq!(kubeconfigs.len(), REGIONS.len());
        for (region, kubeconfig) in REGIONS.iter().zip(kubeconfigs) {
            let text = kubeconfig.to_string();
            assert!(text.contains("https://127.0.0.1:4711/") && text.contains(region.cluster), "{text}");
        }
    }
}
