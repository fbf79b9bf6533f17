//! kubectl's everyday commands on a simulated cluster, by the kubeconfig that the simulator wrote.

use std::path::Path;
use std::process::Stdio;

use krake_integration::binaries::{Component, require};
use krake_integration::folder;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::columns::{Cluster, columns};

struct Kubectl<'a> {
    program: &'a Path,
    kubeconfig: &'a Path,
    home: &'a Path,
}

impl Kubectl<'_> {
    /// Runs a command with this input; gives what it prints.
    async fn run(&self, command: &str, input: &str) -> String {
        let mut child = Command::new(self.program)
            .arg("--kubeconfig")
            .arg(self.kubeconfig)
            .args(command.split(' '))
            // It keeps a cache there.
            .env("HOME", self.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {command}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_works_with_simulated_clusters() {
    let Some(binaries) = require(&[Component::Kubectl]) else { return };
    let columns = columns().await;
    let Cluster::Simulated(simulator) = &columns.simulator else { panic!("simulated") };
    let home = folder::create("kubectl").unwrap();
    let program = binaries.path("kubectl").unwrap();
    let kubeconfig = simulator.kubeconfig_file("faulty");
    let kubectl = Kubectl { program: &program, kubeconfig: &kubeconfig, home: home.path() };

    assert!(kubectl.run("get nodes -o name", "").await.contains("node/faulty-node-0"));
    let deployment = |replicas: u32| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "main", "image": "none"}]}}}})
        .to_string()
    };
    assert!(kubectl.run("apply -f -", &deployment(1)).await.contains("created"));
    assert!(kubectl.run("apply -f -", &deployment(2)).await.contains("configured"));
    let rolled_out = kubectl.run("rollout status deployment/web --timeout=120s", "").await;
    assert!(rolled_out.contains("successfully rolled out"), "{rolled_out}");
    assert!(kubectl.run("get deployments", "").await.contains("web"));
    let replicas = kubectl.run("get deployment web -o jsonpath={.status.availableReplicas}", "").await;
    assert_eq!(replicas, "2");
    let labelled = kubectl.run("label deployment web team=blue", "").await;
    assert!(labelled.contains("labeled"), "{labelled}");
    assert!(kubectl.run("delete deployment web", "").await.contains("deleted"));
}
