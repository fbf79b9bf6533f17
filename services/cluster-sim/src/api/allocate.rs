//! What a server fills in: the defaults that clients decide on, and addresses and ports of Services. Defaults that
//! neither Krake nor its tests read (termination messages, DNS policies, …) are left out.

use serde_json::{Value, json};

use crate::api::kinds::Kind;

/// First and last port that Services get on nodes.
const NODE_PORTS: std::ops::Range<u64> = 30_000..32_768;

/// Fills in the fields that the writer of a new or changed object then owns too.
pub(crate) fn defaults(kind: &Kind, object: &mut Value) {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Service") => service(object),
        ("", "Namespace") => {
            let name = object["metadata"]["name"].clone();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
        }
        ("", "Pod") => pod(&mut object["spec"]),
        ("", "Secret") => {
            secret_data(object);
            default(object, "type", json!("Opaque"));
        }
        ("apps", "Deployment" | "ReplicaSet" | "StatefulSet") if !kind.custom => {
            default(&mut object["spec"], "replicas", json!(1));
            pod(&mut object["spec"]["template"]["spec"]);
        }
        ("apps", "DaemonSet") => pod(&mut object["spec"]["template"]["spec"]),
        ("batch", "CronJob") => {
            let spec = &mut object["spec"];
            default(spec, "concurrencyPolicy", json!("Allow"));
            default(spec, "suspend", json!(false));
            default(spec, "successfulJobsHistoryLimit", json!(3));
            default(spec, "failedJobsHistoryLimit", json!(1));
            pod(&mut spec["jobTemplate"]["spec"]["template"]["spec"]);
        }
        ("networking.k8s.io", "NetworkPolicy") => {
            default(&mut object["spec"], "policyTypes", json!(["Ingress"]));
        }
        ("autoscaling", "HorizontalPodAutoscaler") => {
            let average = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}});
            default(&mut object["spec"], "minReplicas", json!(1));
            default(&mut object["spec"], "metrics", json!([{"type": "Resource", "resource": average}]));
        }
        ("storage.k8s.io", "StorageClass") => {
            default(object, "reclaimPolicy", json!("Delete"));
            default(object, "volumeBindingMode", json!("Immediate"));
        }
        ("batch", "Job") => {
            let uid = object["metadata"]["uid"].clone();
            let spec = &mut object["spec"];
            default(spec, "parallelism", json!(1));
            default(spec, "completions", json!(1));
            default(spec, "backoffLimit", json!(6));
            default(spec, "selector", json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}));
            pod(&mut spec["template"]["spec"]);
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            let kind = object["spec"]["names"]["kind"].as_str().unwrap_or_default().to_owned();
            let names = &mut object["spec"]["names"];
            default(names, "listKind", json!(format!("{kind}List")));
            default(names, "singular", json!(kind.to_lowercase()));
        }
        _ => {}
    }
}

fn default(object: &mut Value, field: &str, value: Value) {
    if (object.is_object() || object.is_null()) && object[field].is_null() {
        object[field] = value;
    }
}

fn pod(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        let ports = containers.filter_map(|container| container.get_mut("ports")?.as_array_mut());
        ports.flatten().for_each(|port| default(port, "protocol", json!("TCP")));
    }
}

/// `stringData` is for writing only.
fn secret_data(object: &mut Value) {
    use base64::Engine as _;
    let given = object.as_object_mut().and_then(|object| object.remove("stringData"));
    for (name, text) in given.as_ref().and_then(Value::as_object).into_iter().flatten() {
        let text = text.as_str().unwrap_or_default();
        object["data"][name] = json!(base64::engine::general_purpose::STANDARD.encode(text));
    }
}

fn service(object: &mut Value) {
    let spec = &mut object["spec"];
    default(spec, "type", json!("ClusterIP"));
    default(spec, "sessionAffinity", json!("None"));
    if spec["type"] != "ExternalName" {
        default(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    if on_nodes(spec) {
        default(spec, "externalTrafficPolicy", json!("Cluster"));
    }
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten();
    for port in ports {
        default(port, "protocol", json!("TCP"));
        let target = port["port"].clone();
        default(port, "targetPort", target);
    }
}

fn on_nodes(spec: &Value) -> bool {
    spec["type"] == "NodePort" || spec["type"] == "LoadBalancer"
}

/// Takes over what was allocated to the object as it was, where the new one does not say it.
pub(crate) fn keep(kind: &Kind, live: &Value, new: &mut Value) {
    if !kind.is("", "Service") {
        return;
    }
    if new["spec"]["type"] != "ExternalName" {
        let address = live["spec"]["clusterIP"].clone();
        default(&mut new["spec"], "clusterIP", address);
    }
    let before = live["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ports = new["spec"]["ports"].as_array_mut().into_iter().flatten();
    for port in ports {
        let same =
            before.iter().find(|old| old["port"] == port["port"] && old["protocol"] == port["protocol"]);
        if let Some(number) = same.and_then(|old| old.get("nodePort")) {
            default(port, "nodePort", number.clone());
        }
    }
}

/// Gives a Service its addresses and ports, and a namespace its finalizer. `number` differs from object to object.
pub(crate) fn allocate(kind: &Kind, object: &mut Value, number: u64) {
    if kind.is("", "Namespace") {
        object["spec"]["finalizers"] = json!(["kubernetes"]);
        default(&mut object["status"], "phase", json!("Active"));
    }
    if kind.is("", "PersistentVolumeClaim") {
        default(&mut object["status"], "phase", json!("Pending"));
    }
    if !kind.is("", "Service") || object["spec"]["type"] == "ExternalName" {
        return;
    }
    let spec = &mut object["spec"];
    if spec["clusterIP"].is_null() || spec["clusterIP"] == "" {
        spec["clusterIP"] = json!(format!("10.0.{}.{}", number / 250 % 256, number % 250 + 2));
    }
    spec["clusterIPs"] = json!([spec["clusterIP"]]);
    default(spec, "ipFamilies", json!(["IPv4"]));
    default(spec, "ipFamilyPolicy", json!("SingleStack"));
    let on_nodes = on_nodes(spec);
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten();
    for (index, port) in (0..).zip(ports) {
        if on_nodes {
            let size = NODE_PORTS.end - NODE_PORTS.start;
            default(port, "nodePort", json!(NODE_PORTS.start + (number * 7 + index) % size));
        } else if let Some(port) = port.as_object_mut() {
            port.remove("nodePort");
        }
    }
    if spec["type"] == "LoadBalancer" {
        let address = format!("192.0.2.{}", number % 250 + 1);
        default(&mut object["status"]["loadBalancer"], "ingress", json!([{"ip": address}]));
    }
    default(&mut object["status"], "loadBalancer", json!({}));
}
