//! A Krake of its own for each column: one process a service, everything in memory, one cluster.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use krake_integration::krake::{Krake, Ready};
use krake_integration::wait::{self, HANG_GUARD, ROK_HANG_GUARD};
use krake_integration::{folder, ports, stack};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::{Api, JSON};
use crate::columns::Cluster;

/// The namespace of all objects.
pub(super) const SPACE: &str = "whole";
/// The name under which the cluster is registered.
const CLUSTER: &str = "one";
/// The name of the application of every case.
pub(super) const APP: &str = "app";

/// Krake and its cluster.
pub(super) struct World<'a> {
    cluster: &'a mut Cluster,
    /// For looking at the cluster, and for changing it by hand.
    pub(super) api: Api,
    url: String,
    files: TempDir,
    notes: Vec<Value>,
    _services: Vec<Krake>,
}

impl<'a> World<'a> {
    /// Starts Krake, registers the cluster, and waits until it is online.
    pub(super) async fn start(cluster: &'a mut Cluster) -> Result<Self> {
        let kubeconfig = cluster.kubeconfig("whole")?;
        let api = Api::new(&kubeconfig, SPACE)?;
        let (services, url) = ports::retry_on_clash(services).await?;
        let files = folder::create("whole")?;
        std::fs::write(files.path().join("kubeconfig"), kubeconfig.to_string())?;
        let world = Self { cluster, api, url, files, notes: Vec::new(), _services: services };
        world.make("/api/v1/namespaces", &json!({"metadata": {"name": SPACE}})).await?;
        let file = world.files.path().join("kubeconfig");
        let register = ["kube", "cluster", "register", "-k", file.to_str().context("a path")?, CLUSTER];
        world.rok(&[&register[..], &["--wait", "--timeout", ROK_HANG_GUARD]].concat()).await?;
        Ok(world)
    }

    /// Whether the API server knows fieldValidation, which 1.25 and later do.
    pub(super) fn validates(&self) -> bool {
        self.cluster.minor().is_none_or(|minor| minor >= 25)
    }

    /// Something to compare with the other column.
    pub(super) fn note(&mut self, what: &str, value: Value) {
        self.notes.push(json!({"what": what, "is": value}));
    }

    pub(super) fn take_notes(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.notes)
    }

    /// Runs `rok`, which must succeed.
    pub(super) async fn rok(&self, args: &[&str]) -> Result<String> {
        let output = stack::rok(&self.url, args).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(output.status.success(), "rok {args:?}: {}", text(&output.stderr));
        Ok(text(&output.stdout))
    }

    /// Creates or updates the application, and waits until it runs where that is expected.
    pub(super) async fn application(&self, verb: &str, manifest: &[Value], more: &[&str]) -> Result<()> {
        let file = self.manifest(manifest)?;
        let base = ["kube", "app", verb, "-f", file.to_str().context("a path")?, APP];
        self.rok(&[&base[..], more].concat()).await?;
        Ok(())
    }

    fn manifest(&self, manifest: &[Value]) -> Result<PathBuf> {
        let path = self.files.path().join("manifest.yaml");
        let documents: Vec<String> = manifest.iter().map(Value::to_string).collect();
        std::fs::write(&path, documents.join("\n---\n"))?;
        Ok(path)
    }

    /// Creates the application and waits until it runs.
    pub(super) async fn run(&self, manifest: &[Value], more: &[&str]) -> Result<()> {
        self.application("create", manifest, &[more, &["--wait", "--timeout", ROK_HANG_GUARD]].concat()).await
    }

    /// Deletes the application and waits until it is gone.
    pub(super) async fn remove(&self) -> Result<()> {
        self.rok(&["kube", "app", "delete", APP, "--wait", "--timeout", ROK_HANG_GUARD]).await.map(drop)
    }

    /// Waits until the application is as wanted, and gives it.
    pub(super) async fn until_application(
        &self,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        self.until_shown(&["kube", "app", "get", APP], what, wanted).await
    }

    /// Waits until the cluster is in a state.
    pub(super) async fn until_cluster(&self, state: &str) -> Result<Value> {
        let shown = ["kube", "cluster", "get", CLUSTER];
        self.until_shown(&shown, state, |cluster| cluster["status"]["state"] == state).await
    }

    async fn until_shown(&self, args: &[&str], what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let args = [args, &["-o", "json"]].concat();
        let look = async || {
            let text = self.rok(&args).await.ok()?;
            serde_json::from_str(&text).ok().filter(|shown| wanted(shown))
        };
        wait::until(what, HANG_GUARD, look).await
    }

    /// Makes an object by hand; that it exists already is fine.
    pub(super) async fn make(&self, path: &str, object: &Value) -> Result<Value> {
        let reply = self.api.call(reqwest::Method::POST, path, JSON, Some(object.to_string())).await?;
        ensure!(matches!(reply.code, 201 | 409), "{path}: {} {}", reply.code, reply.body);
        Ok(reply.body)
    }

    /// Changes an object by hand.
    pub(super) async fn patch(&self, path: &str, content: &str, patch: &Value) -> Result<Value> {
        let path = format!("{path}?fieldManager=hand");
        let reply = self.api.call(reqwest::Method::PATCH, &path, content, Some(patch.to_string())).await?;
        Ok(reply.expect(200)?.body)
    }

    /// Deletes an object by hand.
    pub(super) async fn delete(&self, path: &str) -> Result<()> {
        let options = json!({"propagationPolicy": "Background"}).to_string();
        self.api.call(reqwest::Method::DELETE, path, JSON, Some(options)).await?.expect(200)?;
        Ok(())
    }

    /// The cluster takes requests and does not answer, or does again.
    pub(super) async fn hang(&mut self, hang: bool) -> Result<()> {
        self.cluster.hang("whole", hang).await
    }

    /// After a case that failed: nothing of it may be in the way of the next.
    pub(super) async fn tidy(&mut self) {
        let _ = self.hang(false).await;
        let delete = ["kube", "app", "delete", APP, "--wait", "--timeout", "60s"];
        let _ = tokio::time::timeout(Duration::from_secs(70), self.rok(&delete)).await;
        for path in ["configmaps/settings", "configmaps/theirs", "services/web"] {
            let _ = self.delete(&self.api.core(path)).await;
        }
        let _ = self.delete(&self.api.apps("deployments/web")).await;
    }
}

async fn services() -> Result<(Vec<Krake>, String)> {
    let [api, state, scheduler, gc, kubernetes] = ports::free::<5>()?;
    let url = format!("http://127.0.0.1:{api}");
    let mut services = vec![stack::state_server(&["--store", "memory"], api, state).await?];
    for (name, admin) in [("krake-scheduler", scheduler), ("krake-gc", gc), ("krake-kubernetes", kubernetes)]
    {
        let admin_listen = format!("127.0.0.1:{admin}");
        let ready = Ready::Http(format!("http://{admin_listen}/readyz"));
        let mut args = vec!["--api-url", &url, "--admin-listen", &admin_listen];
        if name == "krake-kubernetes" {
            // What a removal waits for is told after this time at the latest.
            args.extend(["--removal-deadline", "5"]);
        }
        services.push(Krake::spawn(name, &args, ready).await?);
    }
    Ok((services, url))
}
