//! The listener over real connections.

use std::time::Duration;

use krake_runtime::shutdown::Shutdown;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::fleet::{Fleet, Options};

/// Longest time that a test waits for something that must come. A machine that is busy with other work may be many times
/// slower than an idle one, so only a hang takes as long.
const HANG_GUARD: Duration = Duration::from_secs(120);

struct Served {
    fleet: Fleet,
    address: std::net::SocketAddr,
    shutdown: Shutdown,
    task: JoinHandle<std::io::Result<()>>,
}

async fn serve() -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = Options { ready_after: Duration::ZERO, ..Options::new(format!("http://{address}")) };
    let fleet = Fleet::new(options);
    let shutdown = Shutdown::new();
    let task = tokio::spawn({
        let (fleet, shutdown) = (fleet.clone(), shutdown.clone());
        async move { fleet.serve(listener, shutdown).await }
    });
    Served { fleet, address, shutdown, task }
}

impl Served {
    async fn ask(&self, path: &str, token: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        BufReader::new(stream)
    }

    async fn first_line(&self, path: &str, token: &str) -> String {
        let mut line = String::new();
        timeout(HANG_GUARD, self.ask(path, token).await.read_line(&mut line)).await.unwrap().unwrap();
        line.trim_end().to_owned()
    }
}

#[tokio::test]
async fn a_kubeconfig_leads_to_its_cluster_and_no_other() {
    let served = serve().await;
    served.fleet.add("north").unwrap();
    // Added while the listener serves.
    served.fleet.add("south").unwrap();
    assert!(served.fleet.add("south").is_err() && served.fleet.add("So/uth").is_err());
    let config: Value = serde_json::from_str(&served.fleet.kubeconfig("south").unwrap()).unwrap();
    let server = config.pointer("/clusters/0/cluster/server").unwrap().as_str().unwrap();
    let base = server.strip_prefix(&format!("http://{}", served.address)).unwrap();
    let token = config.pointer("/users/0/user/token").unwrap().as_str().unwrap();
    let line = served.first_line(&format!("{base}/api/v1/nodes"), token).await;
    assert_eq!(line, "HTTP/1.1 200 OK");
    let line = served.first_line("/clusters/north/api/v1/nodes", token).await;
    assert_eq!(line, "HTTP/1.1 401 Unauthorized");
    let line = served.first_line("/clusters/west/api/v1/nodes", token).await;
    assert_eq!(line, "HTTP/1.1 404 Not Found");
}

#[tokio::test]
async fn shutdown_ends_watches_and_connections() {
    let served = serve().await;
    let cluster = served.fleet.add("north").unwrap();
    let path = "/clusters/north/api/v1/nodes?watch=true";
    let mut watch = served.ask(path, cluster.token()).await;
    let mut text = String::new();
    while !text.contains("ADDED") {
        assert!(timeout(HANG_GUARD, watch.read_line(&mut text)).await.unwrap().unwrap() > 0, "{text}");
    }
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    served.shutdown.request();
    timeout(HANG_GUARD, served.task).await.expect("it ends").unwrap().unwrap();
    // An end or a cut: in any case not silence.
    let _ = timeout(HANG_GUARD, watch.read_to_end(&mut Vec::new())).await.expect("the watch ends");
    let _ = timeout(HANG_GUARD, idle.read_u8()).await.expect("an idle connection ends");
}

#[tokio::test]
async fn workloads_come_to_run_while_the_fleet_is_served() {
    let served = serve().await;
    let cluster = served.fleet.add("north").unwrap();
    let path = "/apis/apps/v1/namespaces/default/deployments/web";
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let before = cluster.objects();
    assert!(cluster.apply(path, &object).is_some());
    assert_eq!(cluster.objects(), before + 1, "no pods are made");
    let mut changes = cluster.changes();
    let runs = || cluster.read(path).unwrap()["status"]["availableReplicas"] == 3;
    timeout(HANG_GUARD, async {
        while !runs() {
            changes.changed().await.unwrap();
        }
    })
    .await
    .expect("it runs");
    assert!(cluster.delete(path) && cluster.read(path).is_none() && !cluster.delete(path));
}
