//! The service on a file, as a process: killed and started again, backed up and restored.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use krake_client::{Client, ConnectOptions, ListOptions};
use krake_proto::krake::core::v1::{Metric, MetricSource, MetricSpec};
use krake_proto::krake::meta::v1::Metadata;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{PATIENCE, place};

/// A running service. It is killed on drop.
struct Service {
    child: Child,
    client: Client,
    epoch: String,
    /// Address of the admin listener.
    admin: String,
    log: BufReader<ChildStderr>,
}

/// The service's executable with a command and its file.
fn executable(command: &[&str], file: &Path) -> Command {
    let mut executable = Command::new(env!("CARGO_BIN_EXE_krake-state"));
    executable.args(command).args(["--store", "sqlite", "--sqlite-file", file.to_str().unwrap()]);
    executable.stdin(Stdio::null());
    executable
}

impl Service {
    fn start(file: &Path) -> Self {
        let args = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--allow-anonymous"];
        let mut command = executable(&args, file);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (mut seen, mut serving, mut admin) = (String::new(), None, None);
        while serving.is_none() || admin.is_none() {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended: {seen}");
            seen += &line;
            if line.contains(" serving address=") {
                serving = Some(line);
            } else if line.contains(" metrics and probes address=") {
                admin = Some(line);
            }
        }
        let word = |line: &Option<String>, name: &str| {
            let line = line.as_deref().unwrap();
            let word = line.split(' ').find_map(|word| word.trim_end().strip_prefix(name));
            word.unwrap().to_owned()
        };
        let url = format!("http://{}", word(&serving, "address="));
        let client = Client::new(&ConnectOptions::new(&url)).unwrap();
        Self { child, client, epoch: word(&serving, "epoch="), admin: word(&admin, "address="), log }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// All metrics with their versions.
    async fn metrics(&self) -> BTreeMap<String, i64> {
        let options = ListOptions::default();
        let items = self.client.api::<Metric>().list("demo", &options).await.unwrap().items;
        let named = items.into_iter().filter_map(|item| item.metadata);
        named.map(|metadata| (metadata.name, metadata.resource_version)).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have been killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn metric(name: &str) -> Metric {
    let provider = Some(MetricSource { name: "prometheus".into(), metric: "heat".into() });
    let spec = MetricSpec { min: Some(0.0), max: Some(1.0), provider, ..Default::default() };
    let metadata = Metadata { namespace: "demo".into(), name: name.into(), ..Default::default() };
    Metric { metadata: Some(metadata), spec: Some(spec) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_service_has_lost_no_answered_write() {
    let (_folder, file) = place();
    let mut answered = BTreeMap::new();
    for round in 0..4 {
        let mut service = Service::start(&file);
        assert_eq!(service.metrics().await, answered, "round {round}");
        let (told, mut heard) = tokio::sync::mpsc::channel(16);
        let mut writers = JoinSet::new();
        for writer in 0..8 {
            let (client, told) = (service.client.clone(), told.clone());
            writers.spawn(async move {
                for number in 0.. {
                    let name = format!("m{round}-{writer}-{number:04}");
                    let Ok(created) = client.api::<Metric>().create(&metric(&name)).await else {
                        return name;
                    };
                    let version = created.metadata.unwrap().resource_version;
                    if told.send((name.clone(), version)).await.is_err() {
                        return name;
                    }
                }
                unreachable!()
            });
        }
        drop(told);
        for _ in 0..rand::random_range(20..150) {
            answered.extend(heard.recv().await);
        }
        service.kill();
        while let Some(one) = heard.recv().await {
            answered.insert(one.0, one.1);
        }
        // Of what was under way each may have happened or not.
        let uncertain = writers.join_all().await;
        let service = Service::start(&file);
        let mut found = service.metrics().await;
        for name in uncertain {
            if let Some(version) = found.get(&name) {
                answered.entry(name).or_insert(*version);
            }
        }
        assert_eq!(found, answered, "round {round}");
        let highest = answered.values().max().copied().unwrap();
        let next = service.client.api::<Metric>().create(&metric(&format!("n{round}"))).await.unwrap();
        assert!(next.metadata.as_ref().unwrap().resource_version > highest, "revisions rise on");
        found = service.metrics().await;
        answered = found;
    }
}

fn run(command: &[&str], file: &Path) -> (bool, String) {
    let output = executable(command, file).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_backed_up_while_it_runs_and_restored_as_a_new_epoch() {
    let (folder, file) = place();
    let backup = folder.path().join("krake.backup");
    let backup = backup.to_str().unwrap();
    let service = Service::start(&file);
    for number in 0..30 {
        service.client.api::<Metric>().create(&metric(&format!("m{number:02}"))).await.unwrap();
    }
    // Beside the metrics, the store holds records of its own.
    let entries = |text: &str| -> usize {
        let count = text.split(" entries").next().and_then(|text| text.split(' ').next_back());
        count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{text}"))
    };
    let (done, text) = run(&["backup", "--to", backup], &file);
    assert!(done, "{text}");
    let whole = entries(&text);
    assert!(whole >= 30, "{text}");
    let epoch = service.epoch.clone();
    service.client.api::<Metric>().create(&metric("later")).await.unwrap();

    let (done, text) = run(&["restore", "--replace", "--from", backup], &file);
    assert!(!done && text.contains("in use by another process"), "{text}");
    drop(service);
    let (done, text) = run(&["restore", "--from", backup], &file);
    assert!(!done && text.contains("--replace"), "{text}");
    // A killed service's file can be backed up, too.
    let (done, text) = run(&["backup", "--to", &format!("{backup}.2")], &file);
    assert!(done, "{text}");
    assert!(entries(&text) > whole, "{text}");
    let (done, text) = run(&["restore", "--replace", "--from", backup], &file);
    assert!(done, "{text}");
    let service = Service::start(&file);
    assert_ne!(service.epoch, epoch);
    assert!(text.contains(&service.epoch), "{text}");
    let names: Vec<String> = service.metrics().await.into_keys().collect();
    assert_eq!(names, (0..30).map(|number| format!("m{number:02}")).collect::<Vec<_>>());

    let moved = folder.path().join("moved/krake.db");
    let (done, text) = run(&["restore", "--from", backup], &moved);
    assert!(done, "{text}");
    assert_eq!(Service::start(&moved).metrics().await.len(), 30);
    let (done, text) = run(&["backup", "--to", &format!("{backup}.3")], &folder.path().join("nothing.db"));
    assert!(!done && text.contains("nothing.db"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_prints_its_result_and_a_failed_restore_makes_no_file() {
    let (folder, file) = place();
    let backup = folder.path().join("krake.backup");
    drop(Service::start(&file));
    let output = executable(&["backup", "--to", backup.to_str().unwrap()], &file).output().unwrap();
    let (text, log) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(text.lines().count() == 1 && text.starts_with(backup.to_str().unwrap()), "{text}");
    assert_eq!(log, "", "nothing else");

    let mut bytes = std::fs::read(&backup).unwrap();
    bytes.truncate(bytes.len() - 1);
    std::fs::write(&backup, bytes).unwrap();
    let new = folder.path().join("new");
    let (done, text) = run(&["restore", "--from", backup.to_str().unwrap()], &new.join("krake.db"));
    assert!(!done && text.contains("cut off"), "{text}");
    assert!(!new.exists(), "a failed restore leaves what was there before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_ends_in_order() {
    let (_folder, file) = place();
    let mut service = Service::start(&file);
    service.client.api::<Metric>().create(&metric("m")).await.unwrap();
    let pid = service.child.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    let start = Instant::now();
    let status = loop {
        if let Some(status) = service.child.try_wait().unwrap() {
            break status;
        }
        assert!(start.elapsed() < PATIENCE);
        sleep(std::time::Duration::from_millis(20)).await;
    };
    let rest: Vec<String> = service.log.by_ref().lines().map(Result::unwrap).collect();
    assert!(status.success(), "{rest:?}");
    assert!(!file.with_extension("db-wal").exists(), "the file is whole by itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_shows_what_it_was_asked() {
    let (_folder, file) = place();
    let service = Service::start(&file);
    service.client.api::<Metric>().create(&metric("m")).await.unwrap();
    let mut stream = TcpStream::connect(&service.admin).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", service.admin);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    for shown in [
        "krake_build_info{service=\"krake-state\"",
        "krake_rpc_duration_seconds_count{method=\"krake.core.v1.MetricService/CreateMetric\",code=\"OK\"} 1",
        "krake_store_operation_duration_seconds_count{backend=\"sqlite\",operation=\"commit\",outcome=\"ok\"}",
        "krake_connections{listener=\"grpc\"} 1",
    ] {
        assert!(answer.contains(shown), "{shown} is missing in {answer}");
    }
}
