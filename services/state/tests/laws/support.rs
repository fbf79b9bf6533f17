//! Stores for the conformance suite: in memory, in files, and on real etcd processes that end with the tests.

// Named by their paths, because the laws on SQLite include this file from another folder.
#[path = "support/proxy.rs"]
pub(crate) mod proxy;
#[path = "support/requests.rs"]
pub(crate) mod requests;
#[path = "support/server.rs"]
pub(crate) mod server;

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;

use krake_state::store::{
    EtcdAccess, EtcdOptions, EtcdStore, MemoryStore, SqliteOptions, SqliteStore, Store,
};
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

/// Longest time that a test waits for something that must come. A machine that is busy with other work may be many times
/// slower than an idle one, so only a hang takes as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A store in memory.
pub(crate) fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

/// A store in a new file, in a folder that goes with the test process.
pub(crate) async fn sqlite() -> Arc<dyn Store> {
    sqlite_with(|_| {}).await
}

/// The same with other options.
pub(crate) async fn sqlite_with(change: impl FnOnce(&mut SqliteOptions)) -> Arc<dyn Store> {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = TempDir::new().unwrap().keep();
        remove_at_exit(&folder);
        folder
    });
    static FILES: AtomicU32 = AtomicU32::new(0);
    let file = FOLDER.join(format!("{}.db", FILES.fetch_add(1, Ordering::Relaxed)));
    // The disk of a busy machine may stall.
    let mut options = SqliteOptions { request_timeout: PATIENCE, ..SqliteOptions::new(file) };
    change(&mut options);
    Arc::new(SqliteStore::open(options).await.unwrap())
}

/// The executable of the etcd that all tests need: 3.4 on Debian 12.
pub(crate) const ETCD: &str = "etcd";
/// The executable of etcd 3.5, which `make etcd` offers.
pub(crate) const ETCD_3_5: &str = "etcd-3.5";

/// Whether there is an executable of this name.
fn have(executable: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(executable).is_file())
}

/// Whether there is an etcd to run. If not, says so, or fails where `KRAKE_REQUIRE_REAL` asks for it.
pub(crate) fn have_etcd() -> bool {
    require(ETCD, "make tools")
}

/// Whether the etcd to run is of release 3.4, as Debian's: `make matrix` runs the laws on others too.
pub(crate) fn etcd_is_3_4() -> bool {
    let output = Command::new(ETCD).arg("--version").output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains("etcd Version: 3.4.")
}

/// Whether there is an etcd 3.5 to run; as [`have_etcd`].
pub(crate) fn have_etcd_3_5() -> bool {
    require(ETCD_3_5, "make etcd")
}

fn require(executable: &str, set_up: &str) -> bool {
    let found = have(executable);
    if !found {
        let text = format!("there is no {executable} on PATH; run `{set_up}`");
        assert!(std::env::var_os("KRAKE_REQUIRE_REAL").is_none(), "KRAKE_REQUIRE_REAL is set, but {text}");
        eprintln!("skipped: {text}");
    }
    found
}

/// A store on the etcd that all tests of this process share, below a prefix of its own.
pub(crate) async fn shared_etcd() -> Arc<dyn Store> {
    static SERVER: OnceCell<Etcd> = OnceCell::const_new();
    shared(&SERVER, ETCD).await
}

/// The same on etcd 3.5.
pub(crate) async fn shared_etcd_3_5() -> Arc<dyn Store> {
    static SERVER: OnceCell<Etcd> = OnceCell::const_new();
    shared(&SERVER, ETCD_3_5).await
}

async fn shared(server: &OnceCell<Etcd>, executable: &'static str) -> Arc<dyn Store> {
    static PREFIXES: AtomicU32 = AtomicU32::new(0);
    let start = async || {
        let etcd = Etcd::start_release(executable).await;
        remove_at_exit(etcd.data.path());
        etcd
    };
    let server = server.get_or_init(start).await;
    server.store(&format!("/t{}/", PREFIXES.fetch_add(1, Ordering::Relaxed))).await
}

/// An etcd process with its own data. Dropping it kills it; so does the end of the test process.
pub(crate) struct Etcd {
    executable: &'static str,
    child: Child,
    data: TempDir,
    ports: [u16; 2],
    options: Vec<String>,
    tls: Option<Tls>,
}

/// What a client of an etcd with TLS needs: an authority, and a certificate with its key, as PEM files.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Etcd {
    /// Starts an etcd on free ports and waits until it answers.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with further command line options.
    pub(crate) async fn start_with(options: &[&str]) -> Self {
        Self::start_release_with(ETCD, options).await
    }

    /// The same of another release.
    pub(crate) async fn start_release(executable: &'static str) -> Self {
        Self::start_release_with(executable, &[]).await
    }

    /// The same of another release, with further command line options.
    pub(crate) async fn start_release_with(executable: &'static str, options: &[&str]) -> Self {
        Self::start_as(executable, options.iter().map(|option| (*option).to_owned()).collect(), None).await
    }

    /// The same with TLS, for clients with a certificate only. The options name the server's files.
    pub(crate) async fn start_with_tls(options: Vec<String>, tls: Tls) -> Self {
        Self::start_as(ETCD, options, Some(tls)).await
    }

    async fn start_as(executable: &'static str, mut options: Vec<String>, tls: Option<Tls>) -> Self {
        for _ in 0..5 {
            let data = TempDir::new().unwrap();
            let ports = free_ports();
            let child = spawn(executable, data.path().to_owned(), ports, tls.is_some(), options.clone());
            let mut etcd = Self { executable, child, data, ports, options, tls: tls.clone() };
            if etcd.ready().await {
                return etcd;
            }
            options = std::mem::take(&mut etcd.options);
        }
        panic!("etcd does not start");
    }

    /// A store on this etcd that takes it for one of two members, and the port of the other one, which is down.
    pub(crate) async fn store_with_dead_member(&self, options: EtcdOptions) -> (Arc<dyn Store>, TcpSocket) {
        // Bound and not listening: connections are refused, and no other program takes the port.
        let dead = TcpSocket::new_v4().unwrap();
        dead.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let endpoints = vec![format!("http://{}", dead.local_addr().unwrap()), self.endpoint()];
        (Arc::new(EtcdStore::connect(EtcdOptions { endpoints, ..options }).await.unwrap()), dead)
    }

    /// A store on this etcd below a prefix.
    pub(crate) async fn store(&self, prefix: &str) -> Arc<dyn Store> {
        Arc::new(EtcdStore::connect(self.options(prefix)).await.unwrap())
    }

    /// The options of a store on this etcd, without a user.
    pub(crate) fn options(&self, prefix: &str) -> EtcdOptions {
        let options = EtcdOptions::new(vec![self.endpoint()], prefix);
        self.tls.iter().fold(options, Self::options_with)
    }

    /// The same options with these files.
    pub(crate) fn options_with(options: EtcdOptions, tls: &Tls) -> EtcdOptions {
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        let identity = Some((read(&tls.cert).into_bytes(), read(&tls.key).into()));
        let access = EtcdAccess { user: None, ca: Some(read(&tls.ca).into_bytes()), identity };
        EtcdOptions { access, ..options }
    }

    /// Where clients find it.
    pub(crate) fn endpoint(&self) -> String {
        url(self.ports[0], self.tls.is_some())
    }

    /// Stops the process in its tracks: connections stay open but nothing answers.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
        // The signal is sent before every thread has taken notice, and a thread that runs on still answers.
        while !self.is_stopped() {
            std::thread::yield_now();
        }
    }

    /// Whether all threads of the process are stopped, by `/proc/<pid>/task/<tid>/stat`.
    fn is_stopped(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        tasks.flatten().all(|task| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        })
    }

    /// Lets a frozen process go on.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Kills the process without warning.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts a killed process again on its old data and ports.
    pub(crate) async fn restart(&mut self) {
        let (data, options) = (self.data.path().to_owned(), self.options.clone());
        self.child = spawn(self.executable, data, self.ports, self.tls.is_some(), options);
        assert!(self.ready().await, "etcd does not start again");
    }

    /// Saves a snapshot by etcd's own means, in a file beside its data.
    pub(crate) fn save_snapshot(&self) {
        self.ctl(&["snapshot", "save", self.snapshot().to_str().unwrap()]);
    }

    /// Replaces the data of a killed process by the snapshot, as etcd's documentation says. The addresses stay the same.
    pub(crate) fn restore_snapshot(&self) {
        let data = self.data.path().join("etcd");
        std::fs::remove_dir_all(&data).unwrap();
        let peer = format!("http://127.0.0.1:{}", self.ports[1]);
        let cluster = format!("test={peer}");
        let place = ["--name", "test", "--data-dir", data.to_str().unwrap()];
        let member = ["--initial-cluster", &cluster, "--initial-advertise-peer-urls", &peer];
        let snapshot = self.snapshot();
        let command = ["snapshot", "restore", snapshot.to_str().unwrap()];
        self.ctl(&[&command[..], &place[..], &member[..]].concat());
    }

    fn snapshot(&self) -> PathBuf {
        self.data.path().join("snapshot")
    }

    /// Runs etcd's own client, which must succeed.
    pub(crate) fn ctl(&self, args: &[&str]) {
        let mut etcdctl = Command::new("etcdctl");
        etcdctl.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoint()]).args(args);
        if let Some(tls) = &self.tls {
            etcdctl.arg("--cacert").arg(&tls.ca).arg("--cert").arg(&tls.cert).arg("--key").arg(&tls.key);
        }
        let done = etcdctl.output().unwrap();
        assert!(done.status.success(), "{etcdctl:?}: {done:?}");
    }

    /// The size of its database file in bytes.
    pub(crate) fn database_size(&self) -> u64 {
        std::fs::metadata(self.data.path().join("etcd/member/snap/db")).unwrap().len()
    }

    /// Waits until the process answers; false if it ended instead.
    async fn ready(&mut self) -> bool {
        let store = self.store("").await;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            match store.revision().await {
                Ok(_) => return true,
                // It has users: it is there.
                Err(error) if error.to_string().contains("user name is empty") => return true,
                Err(_) => {}
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("etcd does not answer; its log: {:?}", std::fs::read_to_string(self.data.path().join("log")));
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has a folder that a static owns removed when this process ends and so closes its end of the pipe.
fn remove_at_exit(folder: &Path) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "cat; rm -rf \"$0\""]).arg(folder).stdin(Stdio::piped()).stdout(Stdio::null());
    std::mem::forget(shell.spawn().unwrap());
}

/// Two free ports below the range that the system takes outgoing ports from, so that nobody takes the port of an etcd
/// while it is restarted.
fn free_ports() -> [u16; 2] {
    let mut free = std::iter::repeat_with(|| rand::random_range(20_000..30_000))
        .filter(|port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let client = free.next().unwrap();
    [client, free.find(|peer| *peer != client).unwrap()]
}

fn url(port: u16, tls: bool) -> String {
    format!("{}://127.0.0.1:{port}", if tls { "https" } else { "http" })
}

/// Starts etcd so that the kernel kills it when this process ends: statics are never dropped. The kernel watches the
/// thread that made the child, and threads of tests end early, so a thread that never ends makes it.
fn spawn(executable: &'static str, data: PathBuf, ports: [u16; 2], tls: bool, options: Vec<String>) -> Child {
    let (client, peer) = (url(ports[0], tls), url(ports[1], false));
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let log = File::options().create(true).append(true).open(data.join("log")).unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", executable])
            .args(["--name", "test", "--logger", "zap", "--log-level", "warn"])
            .arg("--data-dir")
            .arg(data.join("etcd"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}")])
            .args(options)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        sender.send(child).unwrap();
        loop {
            std::thread::park();
        }
    });
    receiver.recv().unwrap().unwrap()
}
