//! What is measured, as separate processes of this machine: etcd, the services of Krake, and the peer.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use krake_client::{Client, ConnectOptions};
use krake_integration::binaries::{self, Component};
use krake_integration::etcd::Etcd;
use krake_integration::process::{Process, Program};
use krake_integration::{folder, http, ports};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::usage;

/// The longest time that a process may take to be ready.
const START: Duration = Duration::from_secs(45);

/// The etcd that everything uses, below prefixes of its own.
pub(crate) struct Environment {
    etcd: Etcd,
    /// Process id of etcd.
    pub(crate) etcd_pid: u32,
    /// Version of etcd.
    pub(crate) etcd_version: String,
}

/// Which etcd a row is measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EtcdRelease {
    /// Debian's, 3.4 on Debian 12.
    Packaged,
    /// 3.5, beside it.
    Newer,
}

impl Environment {
    /// Starts etcd.
    pub(crate) async fn start(release: EtcdRelease) -> Result<Self> {
        let (component, name) = match release {
            EtcdRelease::Packaged => (Component::Etcd, "etcd"),
            EtcdRelease::Newer => (Component::Etcd35, "etcd-3.5"),
        };
        let found = binaries::require(&[component]).context("nothing is measured without etcd")?;
        let etcd = Etcd::start_as(&found, name).await?;
        let etcd_pid = usage::find(&found.path(name)?, etcd.endpoint())?;
        let etcd_version = etcd.version().await?;
        Ok(Self { etcd, etcd_pid, etcd_version })
    }

    /// Address of etcd.
    pub(crate) fn etcd(&self) -> &str {
        self.etcd.endpoint()
    }

    /// An API server on etcd, with nothing in it: below a prefix of its own.
    pub(crate) async fn state(&self, prefix: &str) -> Result<State> {
        State::start(&["--etcd-endpoints", self.etcd(), "--etcd-prefix", &format!("/{prefix}")]).await
    }

    /// The peer.
    pub(crate) async fn peer(&self, watch: bool) -> Result<Running> {
        let [port] = ports::free()?;
        let listen = format!("127.0.0.1:{port}");
        let mut args = vec!["peer", "--etcd", self.etcd(), "--listen", &listen];
        args.extend(watch.then_some("--watch"));
        let mut peer = Running::start("krake-bench", &args, &listen)?;
        let answers = async || TcpStream::connect(&listen).await.is_ok();
        peer.process.ready(START, answers).await?;
        Ok(peer)
    }
}

/// A process in a folder of its own; it is killed on drop.
pub(crate) struct Running {
    pub(crate) process: Process,
    /// An address that is among its arguments.
    address: String,
    executable: PathBuf,
    _folder: TempDir,
}

impl Running {
    /// Starts an executable that was built along with this one. `address` is one of its arguments and nobody else's.
    pub(crate) fn start(name: &str, args: &[&str], address: &str) -> Result<Self> {
        let (folder, executable) = (folder::create(name)?, executable(name)?);
        let process = Program::new(name, &executable, folder.path()).args(args).start()?;
        Ok(Self { process, address: address.to_owned(), executable, _folder: folder })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Result<u32> {
        usage::find(&self.executable, &self.address)
    }

    /// Where it serves, if that is the address that it was started with.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until its admin listener says that it is ready.
    pub(crate) async fn ready(&mut self) -> Result<()> {
        let url = format!("{}/readyz", self.url());
        let client = http::client()?;
        let ready = async || client.get(&url).send().await.is_ok_and(|answer| answer.status() == 200);
        self.process.ready(START, ready).await
    }

    /// Kills it as `kill -9` does and starts it again. How long it takes to be ready.
    pub(crate) async fn restart(&mut self) -> Result<Duration> {
        let begin = Instant::now();
        self.process.restart()?;
        self.ready().await?;
        Ok(begin.elapsed())
    }
}

/// An API server.
pub(crate) struct State {
    pub(crate) running: Running,
    url: String,
}

impl State {
    /// Starts one; `store` says where it keeps what it is given.
    pub(crate) async fn start(store: &[&str]) -> Result<Self> {
        let [api, admin] = ports::free()?.map(|port| format!("127.0.0.1:{port}"));
        let args = ["--listen", &api, "--admin-listen", &admin, "--allow-anonymous"];
        let mut running = Running::start("krake-state", &[&args, store].concat(), &admin)?;
        running.ready().await?;
        Ok(Self { running, url: format!("http://{api}") })
    }

    /// Where it serves the API.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The SDK's client.
    pub(crate) fn client(&self) -> Result<Client> {
        Ok(Client::new(&ConnectOptions::new(self.url()))?)
    }

    /// Starts a controller on it. How long it takes to be ready.
    pub(crate) async fn controller(&self, name: &str, more: &[&str]) -> Result<(Running, Duration)> {
        let [admin] = ports::free()?.map(|port| format!("127.0.0.1:{port}"));
        let args = ["--api-url", self.url(), "--admin-listen", &admin];
        // The clusters are on this machine.
        let own: &[&str] = match name {
            "krake-kubernetes" => &["--allow-cluster-address", "127.0.0.0/8"],
            _ => &[],
        };
        let begin = Instant::now();
        let mut running = Running::start(name, &[&args, own, more].concat(), &admin)?;
        running.ready().await?;
        Ok((running, begin.elapsed()))
    }
}

/// The path of an executable that was built along with this one.
fn executable(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe().context("asking for the own path")?.with_file_name(name);
    ensure!(path.is_file(), "{} is missing; run `make bench`", path.display());
    Ok(path)
}
