//! Krake in one process: what is stored outlives it, it ends in order, and shares its folder with nobody.

use std::path::Path;

use krake_integration::process::{Process, Program};
use krake_integration::wait::{HANG_GUARD, ROK_HANG_GUARD};
use krake_integration::{folder, http, krake};
use serde_json::Value;

/// A running `krake`, and where it listens.
pub(crate) struct Standalone {
    process: Process,
    /// URL of the gRPC API.
    pub(crate) api: String,
    /// URL of the REST API.
    pub(crate) rest: String,
    admin: String,
}

fn program(name: &str, data: &Path, folder: &Path) -> Program {
    let free = ["--listen", "127.0.0.1:0", "--rest-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let program = Program::new(name, &krake::executable("krake").unwrap(), folder);
    program.args(free).args(["--data-dir", data.to_str().unwrap()])
}

/// The addresses that `krake` prints, by what stands before them; the last ones, where it was started several times.
fn address(log: &str, what: &str) -> Option<String> {
    let line = log.lines().rev().find_map(|line| line.strip_prefix(what))?;
    line.split([',', ' ']).find(|word| !word.is_empty()).map(str::to_owned)
}

impl Standalone {
    /// Starts it in `folder`, which is for its log alone, and waits until it says that it is ready.
    pub(crate) async fn start(name: &str, data: &Path, folder: &Path) -> Self {
        Self::of(program(name, data, folder), &folder.join(format!("{name}.log"))).await
    }

    /// Starts `krake` as this program, and waits until it says that it is ready.
    pub(crate) async fn of(program: Program, log: &Path) -> Self {
        let mut process = program.start().unwrap();
        let ready =
            async || std::fs::read_to_string(log).is_ok_and(|log| log.contains("Ctrl-C stops everything"));
        process.ready(HANG_GUARD, ready).await.unwrap();
        let log = process.log();
        let api = format!("http://{}", address(&log, "gRPC API").unwrap());
        let admin = address(&log, "admin").unwrap();
        let admin = admin.trim_end_matches("/metrics").to_owned();
        Standalone { process, api, rest: address(&log, "REST API").unwrap(), admin }
    }

    async fn rok(&self, args: &[&str]) -> Vec<u8> {
        let output = krake::run("rok", args, &[("KRAKE_API_URL", &self.api)], HANG_GUARD).await.unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    async fn shown(&self, args: &[&str]) -> Value {
        serde_json::from_slice(&self.rok(&[args, &["-o", "json"]].concat()).await).unwrap()
    }

    async fn get(&self, url: &str) -> (u16, String) {
        let answer = http::client().unwrap().get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Everything that is stored and does not change by itself.
    async fn stored(&self) -> Vec<Value> {
        let application = self.shown(&["kube", "app", "get", "hello"]).await;
        let provider = self.shown(&["core", "gmp", "get", "fixed"]).await;
        vec![application["metadata"]["uid"].clone(), application["spec"].clone(), provider]
    }

    async fn fill(&self, folder: &Path) {
        self.rok(&["core", "gmp", "create", "--type", "static", "-m", "green", "0.5", "fixed"]).await;
        let manifest = folder.join("hello.yaml");
        std::fs::write(&manifest, "{apiVersion: v1, kind: ConfigMap, metadata: {name: hello}}").unwrap();
        self.rok(&["kube", "app", "create", "-f", manifest.to_str().unwrap(), "hello"]).await;
    }
}

/// What is worth a look in a log.
fn complaints(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|line| line.contains(" WARN ") || line.contains(" ERROR ") || line.contains("panicked"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_outlives_an_orderly_end_and_a_kill() {
    let folder = folder::create("standalone").unwrap();
    let data = folder.path().join("data");
    let mut one = Standalone::start("one", &data, folder.path()).await;
    one.fill(folder.path()).await;
    let stored = one.stored().await;

    one.process.interrupt().unwrap();
    let ended = one.process.ended(HANG_GUARD).await.unwrap();
    assert_eq!(ended.code(), Some(0), "{}", one.process.log());
    assert_eq!(complaints(&one.process.log()), [""; 0]);

    let mut two = Standalone::start("two", &data, folder.path()).await;
    assert_eq!(two.stored().await, stored);
    // Killed while it serves: what was answered is there.
    two.rok(&["core", "gmp", "create", "--type", "static", "-m", "green", "0.7", "late"]).await;
    two.process.kill().unwrap();

    let three = Standalone::start("three", &data, folder.path()).await;
    assert_eq!(three.stored().await, stored);
    three.rok(&["core", "gmp", "get", "late"]).await;
    assert_eq!(complaints(&three.process.log()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_parts_are_there_behind_three_ports() {
    let folder = folder::create("standalone").unwrap();
    let krake = Standalone::start("krake", &folder.path().join("data"), folder.path()).await;
    krake.fill(folder.path()).await;

    let (status, list) = krake.get(&format!("{}/kubernetes/applications", krake.rest)).await;
    assert_eq!(status, 200, "{list}");
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["items"][0]["metadata"]["name"], "hello");
    let (status, conditions) = krake.get(&format!("{}/readyz", krake.admin)).await;
    assert_eq!(status, 200, "{conditions}");

    let (status, metrics) = krake.get(&format!("{}/metrics", krake.admin)).await;
    assert_eq!(status, 200);
    for controller in ["scheduler", "gc", "applications", "clusters"] {
        let depth = format!("controller=\"{controller}\"");
        assert!(metrics.contains(&depth), "{controller} is missing in {metrics}");
    }
    let mut families: Vec<_> = metrics.lines().filter(|line| line.starts_with("# TYPE")).collect();
    families.sort_unstable();
    let all = families.len();
    families.dedup();
    assert_eq!(families.len(), all, "a family is shown once: {metrics}");

    // The collector is at work: an application goes at once when nothing holds it.
    krake.rok(&["kube", "app", "delete", "hello", "--wait", "--timeout", ROK_HANG_GUARD]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_folder_is_refused_and_the_first_goes_on() {
    let folder = folder::create("standalone").unwrap();
    let data = folder.path().join("data");
    let first = Standalone::start("first", &data, folder.path()).await;
    let mut second = program("second", &data, folder.path()).start().unwrap();
    let ended = second.ended(HANG_GUARD).await.unwrap();
    assert_eq!(ended.code(), Some(1));
    let log = second.log();
    assert!(log.contains("in use by another krake") && log.contains("--data-dir"), "{log}");
    first.fill(folder.path()).await;
    assert_eq!(first.stored().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let folder = folder::create("standalone").unwrap();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    let data = folder.path().join("data");
    let args = ["--listen", &address, "--rest-listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()];
    let output = krake::run("krake", &args, &[], HANG_GUARD).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains(&format!("cannot listen on {address}")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_watches_and_connections_do_not_hold_up_the_end() {
    let folder = folder::create("standalone").unwrap();
    let mut krake = Standalone::start("krake", &folder.path().join("data"), folder.path()).await;
    let watching = http::client().unwrap().get(format!("{}/kubernetes/applications?watch", krake.rest));
    let mut watch = watching.send().await.unwrap();
    assert_eq!(watch.status(), 200);
    let client = krake_client::Client::new(&krake_client::ConnectOptions::new(&krake.api)).unwrap();
    let mut events = client
        .api::<krake_proto::krake::kubernetes::v1::Application>()
        .watch(krake_client::WatchOptions::all_namespaces());
    futures::StreamExt::next(&mut events).await.unwrap().unwrap();

    krake.process.interrupt().unwrap();
    let ended = krake.process.ended(HANG_GUARD).await.unwrap();
    assert_eq!(ended.code(), Some(0), "{}", krake.process.log());
    assert_eq!(complaints(&krake.process.log()), [""; 0]);
    while let Ok(Some(_)) = watch.chunk().await {}
}
