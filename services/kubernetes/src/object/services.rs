//! Under which address each Service of an application can be reached from outside. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::object::{field, number, text};

/// Stands for what the cluster has not assigned yet.
const PENDING: &str = "<pending>";

/// Service name → `host:port` over all Services among `objects` that have an address: a load balancer's own, or
/// a node port on `cluster_host`. Only the first port counts.
pub fn addresses<'a>(
    objects: impl IntoIterator<Item = &'a Value>,
    cluster_host: &str,
) -> BTreeMap<String, String> {
    let services = objects.into_iter().filter(|object| {
        text(object, &["apiVersion"]) == Some("v1") && text(object, &["kind"]) == Some("Service")
    });
    services
        .filter_map(|service| {
            let name = text(service, &["metadata", "name"])?;
            Some((name.to_owned(), address(service, cluster_host)?))
        })
        .collect()
}

fn address(service: &Value, cluster_host: &str) -> Option<String> {
    let port = service.pointer("/spec/ports/0");
    if text(service, &["spec", "type"]) == Some("LoadBalancer") {
        let ingress = service.pointer("/status/loadBalancer/ingress/0");
        let given =
            |name| ingress.and_then(|ingress| text(ingress, &[name])).filter(|value| !value.is_empty());
        let host = given("ip").or_else(|| given("hostname")).map_or(PENDING.to_owned(), bracketed);
        let port = port.and_then(|port| number(port, &["port"])).map(|port| port.to_string());
        return Some(format!("{host}:{}", port.as_deref().unwrap_or(PENDING)));
    }
    let node_port = field(port?, &["nodePort"])?.as_i64().filter(|port| *port > 0)?;
    Some(format!("{}:{node_port}", bracketed(cluster_host)))
}

/// IPv6 addresses in brackets, so that the port can be told from them.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case::address(
        json!({"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30080}]}),
        json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}), Some("192.0.2.9:80"))]
    #[case::host_name(
        json!({"type": "LoadBalancer", "ports": [{"port": 80}]}),
        json!({"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}}), Some("lb.example:80"))]
    #[case::ipv6(
        json!({"type": "LoadBalancer", "ports": [{"port": 80}]}),
        json!({"loadBalancer": {"ingress": [{"ip": "2001:db8::9"}]}}), Some("[2001:db8::9]:80"))]
    #[case::not_assigned_yet(
        json!({"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30080}]}),
        json!({"loadBalancer": {}}), Some("<pending>:80"))]
    #[case::no_port(json!({"type": "LoadBalancer"}), json!({}), Some("<pending>:<pending>"))]
    #[case::node_port(
        json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}, {"port": 81, "nodePort": 30081}]}),
        json!({}), Some("api.example:30080"))]
    #[case::inside_only(json!({"type": "ClusterIP", "ports": [{"port": 80}]}), json!({}), None)]
    #[case::headless(json!({"clusterIP": "None"}), json!({}), None)]
    fn address_of(#[case] spec: Value, #[case] status: Value, #[case] expected: Option<&str>) {
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "echo"},
            "spec": spec, "status": status});
        let addresses = addresses([&service], "api.example");
        assert_eq!(addresses.get("echo").map(String::as_str), expected);
    }

    #[test]
    fn other_kinds_have_no_address() {
        let other = json!({"apiVersion": "serving.example/v1", "kind": "Service", "metadata": {"name": "x"},
            "spec": {"type": "LoadBalancer"}});
        assert!(addresses([&other], "h").is_empty());
    }
}
