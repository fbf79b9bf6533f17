//! `rok` as a program: exit codes, what goes to which stream, and what is sent.
#![allow(clippy::unwrap_used, reason = "in a test, its helpers included, a panic is the verdict")]

mod fake;

use std::process::Command;

use fake::{Fake, HANG_GUARD, metric, rok, run, text};
use krake_proto::krake::core::v1::watch_metrics_request::Start;
use krake_proto::krake::meta::v1::EventType;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_server_is_done() {
    for (line, part) in [
        ("version", concat!("rok ", env!("CARGO_PKG_VERSION"))),
        ("--help", "Exit codes: 0 done"),
        ("completion bash", "_rok"),
    ] {
        let output = run(rok(line)).await;
        assert_eq!(output.status.code(), Some(0), "{line}");
        assert!(text(&output.stdout).contains(part), "{line}");
        assert!(output.stderr.is_empty(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_exit_codes_and_leave_stdout_empty() {
    let fake = Fake::start(metric(1, 1.0)).await;
    let nobody = rok("core gm get m --api-url http://127.0.0.1:1");
    for (command, code, part) in [
        (nobody, 1, "cannot reach http://127.0.0.1:1"),
        (fake.rok("core gm get x"), 1, "error: GlobalMetric x does not exist"),
        (fake.rok("core gm get"), 2, "required"),
        (fake.rok("core gm update m"), 2, "nothing to update"),
        (fake.rok("core gm delete m --wait --timeout 100ms"), 3, "after 100ms GlobalMetric m is kept by"),
        (fake.rok("kube app create -f /nowhere a"), 1, "cannot read /nowhere"),
    ] {
        let output = run(command).await;
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(errors.contains(part), "{errors}");
        assert!(output.stdout.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_writes_what_was_given_on_what_it_has_read() {
    let fake = Fake::start(metric(5, 1.0)).await;
    fake.state().conflicts = 2;
    let output = run(fake.rok("core gm update --max 9 m -o json")).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&shown["spec"]["max"], &shown["spec"]["min"]), (&9.0.into(), &0.0.into()));
    let updates = std::mem::take(&mut fake.state().updates);
    let versions: Vec<i64> = updates
        .iter()
        .map(|update| update.metric.clone().unwrap().metadata.unwrap().resource_version)
        .collect();
    assert_eq!(versions, [5, 6, 7], "a conflict is read again");
    assert!(updates.iter().all(|update| update.update_mask.clone().unwrap().paths == ["spec.max"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_says_how_far_it_goes() {
    let fake = Fake::start(metric(5, 1.0)).await;
    assert!(run(fake.rok("core gm delete --cascade m")).await.status.success());
    assert!(run(fake.rok("core gm delete --force m")).await.status.success());
    let deletes: Vec<_> = fake.state().deletes.iter().map(|delete| (delete.cascade, delete.force)).collect();
    assert_eq!(deletes, [(true, false), (false, true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_object_is_followed_until_it_is_gone() {
    let fake = Fake::start(metric(5, 1.0)).await;
    let watching = tokio::spawn(run(fake.rok("core gm get -w m -o json")));
    fake.tell(EventType::Modified, metric(6, 2.0)).await;
    fake.tell(EventType::Deleted, metric(7, 2.0)).await;
    let output = watching.await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> = lines
        .iter()
        .map(|line| (line["type"].as_str().unwrap(), line["object"]["spec"]["max"].as_f64().unwrap()))
        .collect();
    assert_eq!(seen, [("ADDED", 1.0), ("MODIFIED", 2.0), ("DELETED", 2.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_says_when_its_connection_is_lost_and_back_and_misses_nothing() {
    let fake = Fake::start(metric(5, 1.0)).await;
    let watching = tokio::spawn(run(fake.rok("core gm get -w m")));
    fake.tell(EventType::Modified, metric(6, 2.0)).await;
    fake.hang_up().await;
    fake.tell(EventType::Modified, metric(7, 3.0)).await;
    fake.tell(EventType::Deleted, metric(8, 3.0)).await;
    let output = watching.await.unwrap();
    let (shown, notices) = (text(&output.stdout), text(&output.stderr));
    let events: Vec<_> = shown.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(events, ["EVENT", "ADDED", "MODIFIED", "MODIFIED", "DELETED"], "{shown}");
    let notices: Vec<_> = notices.lines().collect();
    let [lost, back] = notices[..] else { panic!("{notices:?}") };
    assert!(lost.starts_with("connection lost"), "{lost}");
    assert!(back.starts_with("connected again"), "{back}");
    let starts: Vec<_> = fake.state().watches.iter().map(|watch| watch.start).collect();
    assert_eq!(starts, [5, 6].map(|version| Some(Start::After(version))), "it resumes where it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_is_read_without_end_or_waited_for() {
    let fake = Fake::start(metric(1, 1.0)).await;
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (file, problem) in
        [("/dev/zero", "it is a device"), (pipe.to_str().unwrap(), "it is a pipe without a writer")]
    {
        for line in [
            "kube app create a -f",
            "kube cluster register -k",
            "core gm get m --config",
            "core gm get m --api-url https://127.0.0.1:1 --client-ca",
        ] {
            let line = format!("{line} {file}");
            let command = if line.contains("--api-url") { rok(&line) } else { fake.rok(&line) };
            let output = run(command).await;
            let errors = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{line}: {errors}");
            assert!(errors.contains(file) && errors.contains(problem), "{line}: {errors}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_read_is_an_error_and_no_default() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("nothing", folder.path().join("rok.yaml")).unwrap();
    let mut command = rok("core gm list");
    command.current_dir(folder.path());
    let output = run(command).await;
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("cannot read rok.yaml: it is a link that leads nowhere"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_watch_in_order() {
    let fake = Fake::start(metric(5, 1.0)).await;
    let child = fake.rok("core gm list -w").spawn().unwrap();
    let pid = child.id().to_string();
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    fake.tell(EventType::Modified, metric(6, 2.0)).await;
    let interrupt = Command::new("kill").args(["-s", "INT", &pid]).status().unwrap();
    assert!(interrupt.success());
    let output = tokio::time::timeout(HANG_GUARD, ended).await.expect("rok ends").unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines = text(&output.stdout);
    let mut lines = lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(lines.next().unwrap(), ["EVENT", "NAME", "PROVIDER", "MIN", "MAX"]);
    assert_eq!(lines.next().unwrap(), ["ADDED", "m", "prom", "0", "1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_has_a_trace_even_without_a_collector() {
    let fake = Fake::start(metric(5, 1.0)).await;
    for _ in 0..2 {
        assert!(run(fake.rok("core gm get m")).await.status.success());
    }
    let parents = std::mem::take(&mut fake.state().trace_parents);
    let traces: Vec<&str> = parents.iter().map(|parent| parent.split('-').nth(1).unwrap()).collect();
    assert_eq!(traces.len(), 2, "{parents:?}");
    assert!(traces.iter().all(|trace| trace.len() == 32 && trace.contains(|digit| digit != '0')));
    assert_ne!(traces[0], traces[1]);
    assert!(parents.iter().all(|parent| parent.ends_with("-01")), "sampled: {parents:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_fails_no_command() {
    let fake = Fake::start(metric(5, 1.0)).await;
    for endpoint in ["http://127.0.0.1:1", "https://127.0.0.1:1", "nonsense"] {
        let output = run(fake.rok(&format!("core gm get m --otlp-endpoint {endpoint}"))).await;
        assert!(output.status.success(), "{endpoint}: {}", text(&output.stderr));
    }
}
