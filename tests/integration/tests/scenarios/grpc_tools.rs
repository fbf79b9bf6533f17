//! Tools that know nothing of Krake work by reflection: `grpcurl` lists, creates and watches.

use std::process::{Output, Stdio};

use krake_integration::binaries::{Component, require};
use krake_integration::ports;
use krake_integration::stack::state_server;
use krake_integration::wait::HANG_GUARD;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

const APPLICATION: &str = r#"{
    "application": {
        "metadata": {"namespace": "demo", "name": "by-grpcurl"},
        "spec": {"manifest": [{"document": {"object": {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"terminationGracePeriodSeconds": 5}
        }}}]}
    }
}"#;

#[tokio::test]
async fn grpcurl_lists_creates_and_watches() {
    let Some(binaries) = require(&[Component::Grpcurl]) else { return };
    let start = async || {
        let [api, admin] = ports::free::<2>()?;
        let state = state_server(&["--store", "memory"], api, admin).await?;
        Ok((format!("127.0.0.1:{api}"), state))
    };
    let (address, _state) = ports::retry_on_clash(start).await.unwrap();
    let grpcurl = |args: &[&str]| {
        let mut command = Command::new(binaries.path("grpcurl").unwrap());
        command.arg("-plaintext").args(args).kill_on_drop(true);
        command
    };
    let run = async |args: &[&str]| {
        let output: Output = timeout(HANG_GUARD, grpcurl(args).output()).await.unwrap().unwrap();
        assert!(output.status.success(), "grpcurl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };

    let services = run(&[&address, "list"]).await;
    for service in [
        "krake.kubernetes.v1.ApplicationService",
        "krake.kubernetes.v1.ClusterService",
        "krake.core.v1.MetricService",
        "krake.meta.v1.ObjectService",
        "krake.core.v1.LeadershipService",
        "grpc.health.v1.Health",
    ] {
        assert!(services.lines().any(|line| line == service), "{service} is missing in {services}");
    }

    let watch = ["-d", r#"{"namespace": "demo", "initial_state": true}"#, &address];
    let watch = [&watch[..], &["krake.kubernetes.v1.ApplicationService/WatchApplications"]].concat();
    let mut watching = grpcurl(&watch).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut seen = async |text: &str| {
        let line = timeout(HANG_GUARD, async {
            loop {
                let line = lines.next_line().await.unwrap().expect("the watch goes on");
                if line.contains(text) {
                    return line;
                }
            }
        });
        line.await.unwrap_or_else(|_| panic!("{text} does not come"))
    };
    seen("\"synced\": true").await;

    let create = ["-d", APPLICATION, &address, "krake.kubernetes.v1.ApplicationService/CreateApplication"];
    let created = run(&create).await;
    assert!(
        created.contains("terminationGracePeriodSeconds") && created.contains("APPLICATION_STATE_PENDING")
    );
    seen("EVENT_TYPE_ADDED").await;
    seen("by-grpcurl").await;
}
