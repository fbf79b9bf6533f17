//! A gateway on a state service, each a process of its own, and requests to it.

use krake_integration::wait::HANG_GUARD;

use krake_client::{Client, ConnectOptions};
use krake_integration::krake::{Krake, Ready};
use krake_integration::stack::state_server;
use krake_integration::{http, ports};
use krake_proto::Resource;
use krake_proto::krake::meta::v1::ListObjectsRequest;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Whose web pages may call.
pub(crate) const ORIGIN: &str = "http://dashboard.example";

/// The processes, which end with it.
pub(crate) struct World {
    /// Address and port of the gateway.
    pub(crate) gateway: String,
    pub(crate) grpc: Client,
    pub(crate) http: reqwest::Client,
    /// URL of the gateway's admin listener.
    admin: String,
    /// The state service, the gateway, and the garbage collector if there is one.
    processes: Vec<Krake>,
}

/// What came back for a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl World {
    /// On a store in memory, without the garbage collector: what is deleted stays, marked.
    pub(crate) async fn start() -> Self {
        Self::on(&["--store", "memory"], false).await
    }

    /// On any store; with the garbage collector if deletions are to end.
    pub(crate) async fn on(store: &[&str], collect: bool) -> Self {
        let start = async || {
            let [api, state, gateway, admin, gc] = ports::free::<5>()?;
            let mut processes = vec![state_server(store, api, state).await?];
            let url = format!("http://127.0.0.1:{api}");
            let listen = format!("127.0.0.1:{gateway}");
            let options = ["--listen", &listen, "--cors-origin", ORIGIN];
            processes.push(service("krake-gateway", &url, admin, &options).await?);
            if collect {
                processes.push(service("krake-gc", &url, gc, &[]).await?);
            }
            Ok((url, listen, format!("http://127.0.0.1:{admin}"), processes))
        };
        let (url, gateway, admin, processes) = ports::retry_on_clash(start).await.unwrap();
        let grpc = Client::new(&ConnectOptions::new(url)).unwrap();
        World { gateway, grpc, http: http::client().unwrap(), admin, processes }
    }

    /// The URL of a path, which begins with a slash.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway)
    }

    /// A request with a body of JSON; `Null` is none.
    pub(crate) async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.send_with(method, path, body, &[]).await
    }

    /// As [`World::send`], with headers.
    pub(crate) async fn send_with(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        headers: &[(&'static str, &str)],
    ) -> Answer {
        let mut request = self.http.request(method, self.url(path)).timeout(HANG_GUARD);
        for (name, value) in headers {
            request = request.header(HeaderName::from_static(name), *value);
        }
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        Answer::of(request.send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, body).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, body).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &Value::Null).await
    }

    /// Sends bytes as they are and gives what comes back until the server closes the connection.
    pub(crate) async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.gateway).await.unwrap();
        // A server that refuses early may close before it has read everything.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(HANG_GUARD, stream.read_to_end(&mut answer)).await;
        let _ = read.expect("the server closes the connection");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// How many objects are stored, of whatever kind, asked over gRPC.
    pub(crate) async fn stored(&self) -> usize {
        let answer = self.grpc.objects().list_objects(ListObjectsRequest::default()).await.unwrap();
        answer.into_inner().objects.len()
    }

    /// The process of the state service.
    pub(crate) fn state(&mut self) -> &mut Krake {
        &mut self.processes[0]
    }

    /// The process of the gateway.
    pub(crate) fn gateway(&mut self) -> &mut Krake {
        &mut self.processes[1]
    }

    /// The status of a path of the gateway's admin listener.
    pub(crate) async fn admin(&self, path: &str) -> u16 {
        let response = self.http.get(format!("{}{path}", self.admin)).timeout(HANG_GUARD).send().await;
        response.unwrap().status().as_u16()
    }

    /// All processes still run, none has panicked, and the gateway serves.
    pub(crate) async fn unharmed(&mut self) {
        for krake in &mut self.processes {
            krake.process.must_run().unwrap();
            assert!(!krake.process.log().contains("panicked"), "{}", krake.process.log());
        }
        self.get("/").await.ok();
    }

    /// A stored object, asked over gRPC.
    pub(crate) async fn object<K: Resource>(&self, namespace: &str, name: &str) -> K {
        self.grpc.api::<K>().get(namespace, name).await.unwrap()
    }
}

impl Answer {
    async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A success, and its value.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.header("content-type"), "application/json; charset=utf-8");
        self.json()
    }

    /// A problem of this status, and its value.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json; charset=utf-8", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], status, "{self:?}");
        assert!(problem.as_object().unwrap().values().all(|member| !member.is_null()), "{self:?}");
        problem
    }

    /// A violation of the schema at a place, told as upstream does and as a list.
    #[track_caller]
    pub(crate) fn invalid(&self, place: &str) {
        let problem = self.problem(422);
        assert!(problem["detail"].as_str().unwrap().starts_with("{'"), "{problem}");
        let violations = problem["violations"].as_array().unwrap();
        assert!(violations.iter().any(|one| one.to_string().contains(place)), "{place} is not in {problem}");
    }

    /// A problem whose detail holds the text.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, detail: &str) {
        let problem = self.problem(status);
        let told = problem["detail"].as_str().unwrap_or_default();
        assert!(told.contains(detail), "{detail:?} is not in {problem}");
    }
}

async fn service(name: &str, url: &str, admin: u16, more: &[&str]) -> anyhow::Result<Krake> {
    let admin_listen = format!("127.0.0.1:{admin}");
    let base = ["--api-url", url, "--admin-listen", &admin_listen];
    let ready = Ready::Http(format!("http://127.0.0.1:{admin}/readyz"));
    Krake::spawn(name, &[&base, more].concat(), ready).await
}
