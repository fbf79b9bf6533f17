//! A real Kubernetes control plane with hollow nodes: pods are scheduled and become ready, and no container runs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::binaries::Binaries;
use crate::etcd::Etcd;
use crate::kubernetes_api::KubernetesApi;
use crate::process::{Process, Program};
use crate::wait::{self, HANG_GUARD};
use crate::{folder, ports};

/// The bearer token of a member of `system:masters`.
const ADMIN_TOKEN: &str = "admin-token";

/// A running cluster: its processes, each of which a test may kill, pause and restart.
#[derive(Debug)]
pub struct Kubernetes {
    /// The API server. While it is down nothing else is of use.
    pub api_server: Process,
    /// kube-controller-manager.
    pub controller_manager: Process,
    /// kube-scheduler.
    pub scheduler: Process,
    /// One kubemark for each node, in the order of their names `<cluster>-node-<n>`.
    pub nodes: Vec<Process>,
    release: Release,
    api: KubernetesApi,
    server: String,
    ca: Vec<u8>,
    _folder: TempDir,
}

impl Kubernetes {
    /// Starts a cluster whose objects are in `etcd` under `/<name>`, and waits until its nodes are ready.
    ///
    /// `name` must be unique on that etcd, and fit for an object's name.
    pub async fn start(binaries: &Binaries, etcd: &Etcd, name: &str, nodes: usize) -> Result<Self> {
        ports::retry_on_clash(async || Self::start_once(binaries, etcd, name, nodes).await).await
    }

    /// Starts an etcd that the API server of these binaries works with: etcd 3.5, or Debian's 3.4 for releases that are
    /// older than it. Later ones ask for reports of progress, which 3.4.23 does not give soundly.
    pub async fn etcd(binaries: &Binaries) -> Result<Etcd> {
        let executable = if Release::of(binaries)?.needs_etcd_3_5() { "etcd-3.5" } else { "etcd" };
        Etcd::start_as(binaries, executable).await
    }

    async fn start_once(binaries: &Binaries, etcd: &Etcd, name: &str, nodes: usize) -> Result<Self> {
        let release = Release::of(binaries)?;
        let folder = folder::create(&format!("kubernetes-{name}"))?;
        let path = folder.path();
        make_service_account_keys(&binaries.path("openssl")?, path)?;
        std::fs::write(path.join("tokens.csv"), format!("{ADMIN_TOKEN},admin,admin,system:masters\n"))?;

        let [port] = ports::free()?;
        let server = format!("https://127.0.0.1:{port}");
        let mut api_server = api_server(binaries, path, etcd.endpoint(), name, port)?;
        let mut api = None;
        let serves = async || {
            // It makes its certificates at the start; the CA's is in the same file.
            let Ok(ca) = std::fs::read(path.join("certificates/apiserver.crt")) else { return false };
            let Ok(client) = KubernetesApi::new(&server, &ca, ADMIN_TOKEN) else { return false };
            let ready = client.text("/readyz").await.is_ok_and(|text| text == "ok");
            api = Some((client, ca));
            ready
        };
        api_server.ready(HANG_GUARD, serves).await?;
        let (api, ca) = api.context("the API server is ready")?;
        std::fs::write(path.join("kubeconfig"), kubeconfig(&server, &ca, ADMIN_TOKEN).to_string())?;

        let mut cluster = Self {
            api_server,
            controller_manager: controller_manager(binaries, path, release)?,
            scheduler: scheduler(binaries, path, release)?,
            nodes: (0..nodes)
                .map(|index| node(binaries, path, release, name, index))
                .collect::<Result<_>>()?,
            release,
            api,
            server,
            ca,
            _folder: folder,
        };
        cluster.ready().await?;
        Ok(cluster)
    }

    /// Waits until the API server serves, every node is ready and pods can be created, after a start or
    /// [`Process::restart`]. All processes must be running.
    pub async fn ready(&mut self) -> Result<()> {
        let Self { api, api_server, controller_manager, scheduler, nodes, release, .. } = self;
        let count = nodes.len();
        let usable = async || {
            let mut others = [&mut *controller_manager, &mut *scheduler].into_iter().chain(nodes.iter_mut());
            if let Err(ended) = others.try_for_each(Process::must_run) {
                return Some(Err(ended));
            }
            let nodes = api.list("/api/v1/nodes").await.unwrap_or_default();
            give_pod_addresses(api, &nodes).await;
            // Without it every pod is refused.
            let account = api.get("/api/v1/namespaces/default/serviceaccounts/default").await;
            let ready = nodes.iter().filter(|node| is_ready(node)).count() == count
                && account.is_ok_and(|account| account.is_some_and(|account| release.accepts_pods(&account)));
            ready.then_some(Ok(()))
        };
        api_server.must_run()?;
        wait::until("the cluster to be ready", HANG_GUARD, usable).await?
    }

    /// Minor version of its release: 35 is Kubernetes 1.35.
    pub fn minor(&self) -> u32 {
        self.release.0
    }

    /// A client with all rights.
    pub fn api(&self) -> &KubernetesApi {
        &self.api
    }

    /// The API server's address: `https://127.0.0.1:<port>`.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// A kubeconfig with all rights, everything inside it.
    pub fn kubeconfig(&self) -> Value {
        self.kubeconfig_with(ADMIN_TOKEN)
    }

    /// A kubeconfig with another token, such as one of a service account, or a wrong one.
    pub fn kubeconfig_with(&self, token: &str) -> Value {
        kubeconfig(&self.server, &self.ca, token)
    }

    /// Waits until the object at `path` is as wanted, and gives it.
    pub async fn wait_for(
        &self,
        path: &str,
        deadline: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let look = async || self.api.get(path).await.ok().flatten().filter(|object| wanted(object));
        wait::until(&format!("{path} to be as wanted"), deadline, look).await
    }

    /// Waits until there is no object at `path`: the API server says so, and is not just silent.
    pub async fn wait_for_absence(&self, path: &str, deadline: Duration) -> Result<()> {
        let look = async || matches!(self.api.get(path).await, Ok(None)).then_some(());
        wait::until(&format!("{path} to be gone"), deadline, look).await
    }
}

/// A node reports itself anew as soon as it has pod addresses, and else only at its next heartbeat, ten seconds later:
/// so it gets them when nothing else keeps it from being ready, which is when its CSINode is there.
/// (kube-controller-manager could give them, but waits ten seconds too before it does.) Failures are met by the next look.
async fn give_pod_addresses(api: &KubernetesApi, nodes: &[Value]) {
    for (index, node) in nodes.iter().enumerate().filter(|(_, node)| node["spec"]["podCIDR"].is_null()) {
        let Some(name) = node["metadata"]["name"].as_str() else { continue };
        let csi_node = api.get(&format!("/apis/storage.k8s.io/v1/csinodes/{name}")).await;
        if csi_node.is_ok_and(|csi_node| csi_node.is_some()) {
            let range = format!("10.128.{}.0/24", index % 256);
            let patch = json!({"spec": {"podCIDR": range, "podCIDRs": [range]}});
            let _ = api.patch(&format!("/api/v1/nodes/{name}"), &patch).await;
        }
    }
}

/// Ready, and without the taint that keeps pods off a node that was not.
fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    node["spec"]["taints"].is_null()
        && conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn kubeconfig(server: &str, ca: &[u8], token: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "cluster",
            "cluster": {"server": server, "certificate-authority-data": BASE64.encode(ca)},
        }],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "context", "context": {"cluster": "cluster", "user": "user"}}],
        "current-context": "context",
    })
}

fn make_service_account_keys(openssl: &Path, folder: &Path) -> Result<()> {
    for arguments in ["genrsa -out sa.key 2048", "rsa -in sa.key -pubout -out sa.pub"] {
        let arguments = arguments.split(' ');
        let output =
            Command::new(openssl).args(arguments).current_dir(folder).output().context("running openssl")?;
        ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn api_server(binaries: &Binaries, folder: &Path, etcd: &str, name: &str, port: u16) -> Result<Process> {
    Program::new("kube-apiserver", &binaries.path("kube-apiserver")?, folder)
        .args([
            format!("--etcd-servers={etcd}"),
            format!("--etcd-prefix=/{name}"),
            format!("--secure-port={port}"),
        ])
        .args(["--bind-address=127.0.0.1", "--cert-dir=certificates", "--allow-privileged=true"])
        // A loopback address may not be advertised; this one is for documentation, and nobody is told of it.
        .args(["--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none"])
        .args(["--token-auth-file=tokens.csv", "--authorization-mode=Node,RBAC"])
        .args(["--service-account-key-file=sa.pub", "--service-account-signing-key-file=sa.key"])
        .args(["--service-account-issuer=https://kubernetes.default.svc"])
        .args(["--api-audiences=https://kubernetes.default.svc", "--service-cluster-ip-range=10.0.0.0/24"])
        .start()
}

fn controller_manager(binaries: &Binaries, folder: &Path, release: Release) -> Result<Process> {
    let [port] = ports::free()?;
    Program::new("kube-controller-manager", &binaries.path("kube-controller-manager")?, folder)
        .args(["--kubeconfig=kubeconfig", "--bind-address=127.0.0.1", "--leader-elect=false"])
        .args(release.no_insecure_port())
        .args([format!("--secure-port={port}"), "--use-service-account-credentials=true".into()])
        .args(["--service-account-private-key-file=sa.key", "--root-ca-file=certificates/apiserver.crt"])
        // A new node is free for pods at the second look at it; the default is five seconds between looks.
        .args(["--node-monitor-period=1s", "--kube-api-qps=200", "--kube-api-burst=400"])
        // An autoscaler keeps its lower bound without metrics too; the default is fifteen seconds between looks.
        .args(["--horizontal-pod-autoscaler-sync-period=1s"])
        .start()
}

fn scheduler(binaries: &Binaries, folder: &Path, release: Release) -> Result<Process> {
    let [port] = ports::free()?;
    Program::new("kube-scheduler", &binaries.path("kube-scheduler")?, folder)
        .args(["--kubeconfig=kubeconfig", "--bind-address=127.0.0.1", "--leader-elect=false"])
        .args(release.no_insecure_port())
        .args([format!("--secure-port={port}")])
        .start()
}

fn node(
    binaries: &Binaries,
    folder: &Path,
    release: Release,
    cluster: &str,
    index: usize,
) -> Result<Process> {
    let [port, read_only_port] = ports::free()?;
    Program::new(&format!("kubemark-{index}"), &binaries.path("kubemark")?, folder)
        .args(["--morph=kubelet", "--kubeconfig=kubeconfig", &format!("--name={cluster}-node-{index}")])
        .args([format!("--kubelet-port={port}"), format!("--kubelet-read-only-port={read_only_port}")])
        .args(release.no_container_engine())
        .start()
}

/// A release of Kubernetes by its minor version: 35 is 1.35. What differs between those that the tests run on.
#[derive(Debug, Clone, Copy)]
struct Release(u32);

impl Release {
    /// Asks the API server's executable.
    fn of(binaries: &Binaries) -> Result<Self> {
        let output = Command::new(binaries.path("kube-apiserver")?).arg("--version").output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let minor = text.trim().strip_prefix("Kubernetes v1.").and_then(|rest| rest.split('.').next());
        let minor = minor.and_then(|minor| minor.parse().ok());
        minor.map(Release).with_context(|| format!("the version of kube-apiserver: {text:?}"))
    }

    fn needs_etcd_3_5(self) -> bool {
        self.0 >= 28
    }

    /// Whether pods of this service account are not refused: until 1.23 they need the secret of a token.
    fn accepts_pods(self, account: &Value) -> bool {
        self.0 >= 24 || !account["secrets"].is_null()
    }

    /// Until 1.23 programs also listen without TLS.
    fn no_insecure_port(self) -> Option<&'static str> {
        (self.0 < 24).then_some("--port=0")
    }

    /// Sockets that do not exist, so that kubemark touches no container engine of this machine.
    fn no_container_engine(self) -> &'static [&'static str] {
        match self.0 {
            0..24 => &["--containerd=/nonexistent.sock", "--docker=unix:///nonexistent.sock"],
            _ => &["--use-host-image-service=false"],
        }
    }
}
