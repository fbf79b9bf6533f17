//! Krake as a platform team runs it: every service its own process, on one etcd.

use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::etcd::Etcd;
use crate::krake::{self, Krake, Ready};
use crate::ports;
use crate::wait::HANG_GUARD;

/// Longest duration of one call of `rok`: more than its own `--timeout` in any test, so that its error comes first.
const ROK: Duration = HANG_GUARD.saturating_mul(2);

/// What a stack is started with.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long an application stays before a better cluster can draw it away.
    pub reschedule_after: Duration,
    /// Time between two questions to a metrics provider.
    pub metrics_interval: Duration,
    /// How long a cluster may not answer before its applications move.
    pub offline_grace: Duration,
}

impl Settings {
    /// The scheduler's options.
    fn rules(self) -> [String; 3] {
        let option = |name: &str, time: Duration| format!("--{name}={}", time.as_secs_f64());
        [
            option("reschedule-after", self.reschedule_after),
            option("metrics-interval", self.metrics_interval),
            option("offline-grace", self.offline_grace),
        ]
    }
}

/// The running services.
#[derive(Debug)]
pub struct Stack {
    /// The API server.
    pub state: Krake,
    /// The scheduler.
    pub scheduler: Krake,
    /// The garbage collector.
    pub gc: Krake,
    /// The platform adapter.
    pub kubernetes: Krake,
    url: String,
}

impl Stack {
    /// Starts all services on free ports and waits until they are ready.
    pub async fn start(etcd: &Etcd, settings: Settings) -> Result<Self> {
        Self::start_with(etcd, settings, &[]).await
    }

    /// As [`Stack::start`], with further options for every service.
    pub async fn start_with(etcd: &Etcd, settings: Settings, more: &[&str]) -> Result<Self> {
        let rules = settings.rules();
        ports::retry_on_clash(async || Self::start_once(etcd, &rules, more).await).await
    }

    /// Starts all services with the settings that they have by default, and waits until they are ready.
    pub async fn start_with_defaults(etcd: &Etcd) -> Result<Self> {
        ports::retry_on_clash(async || Self::start_once(etcd, &[], &[]).await).await
    }

    /// `rules`: options of the scheduler.
    async fn start_once(etcd: &Etcd, rules: &[String], more: &[&str]) -> Result<Self> {
        let [api, state, scheduler, gc, kubernetes] = ports::free::<5>()?;
        let store = [&["--etcd-endpoints", etcd.endpoint()], more].concat();
        let state = state_server(&store, api, state).await?;
        let url = format!("http://127.0.0.1:{api}");
        let rules: Vec<&str> = rules.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let (scheduler, gc, kubernetes) = tokio::try_join!(
            controller("krake-scheduler", &url, scheduler, &rules),
            controller("krake-gc", &url, gc, more),
            controller("krake-kubernetes", &url, kubernetes, more),
        )?;
        Ok(Stack { state, scheduler, gc, kubernetes, url })
    }

    /// Address of the API.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs `rok` as a user would, in the namespace `demo`.
    pub async fn rok(&self, args: &[&str]) -> Result<Output> {
        rok(&self.url, args).await
    }

    /// Runs `rok`, which must succeed, and gives what it printed.
    pub async fn rok_ok(&self, args: &[&str]) -> Result<String> {
        let output = self.rok(args).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(output.status.success(), "rok {args:?} failed: {}", text(&output.stderr));
        Ok(text(&output.stdout))
    }

    /// Runs `rok … -o json`, which must succeed, and gives the value.
    pub async fn rok_json(&self, args: &[&str]) -> Result<Value> {
        let text = self.rok_ok(&[args, &["-o", "json"]].concat()).await?;
        serde_json::from_str(&text).with_context(|| format!("rok {args:?} printed no JSON: {text}"))
    }
}

/// Runs `rok` against the API at `url`, in the namespace `demo`.
pub async fn rok(url: &str, args: &[&str]) -> Result<Output> {
    krake::run("rok", args, &[("KRAKE_API_URL", url), ("ROK_NAMESPACE", "demo")], ROK).await
}

/// An API server that lets everybody in. `store` says where it keeps resources.
pub async fn state_server(store: &[&str], api: u16, admin: u16) -> Result<Krake> {
    let (listen, admin_listen) = (format!("127.0.0.1:{api}"), format!("127.0.0.1:{admin}"));
    let base = ["--listen", &listen, "--admin-listen", &admin_listen, "--allow-anonymous"];
    Krake::spawn("krake-state", &[&base, store].concat(), ready(admin)).await
}

async fn controller(name: &str, url: &str, admin: u16, more: &[&str]) -> Result<Krake> {
    let admin_listen = format!("127.0.0.1:{admin}");
    let base = ["--api-url", url, "--admin-listen", &admin_listen];
    Krake::spawn(name, &[&base, more].concat(), ready(admin)).await
}

fn ready(admin: u16) -> Ready {
    Ready::Http(format!("http://127.0.0.1:{admin}/readyz"))
}
