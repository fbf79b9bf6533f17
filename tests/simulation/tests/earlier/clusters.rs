//! The simulated clusters as they were written down, and what the adapter does on them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use krake_cluster_sim::{Cluster, Fleet};
use krake_kubernetes::cluster::clusters::Opener;
use krake_kubernetes::cluster::connection::{Connection, Deadlines};
use serde_json::Value;

/// What the kubeconfigs call the fleet.
pub(crate) const BASE: &str = "http://fleet.example";

const DEADLINES: Deadlines = Deadlines {
    connect: Duration::from_secs(10),
    request: Duration::from_secs(30),
    watch: Duration::from_secs(60),
    silence: Duration::from_secs(90),
};

/// A request with an effect.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// The object that a POST makes.
    pub(crate) object: String,
}

/// The requests with an effect so far.
pub(crate) type Requests = Arc<Mutex<Vec<Request>>>;

/// A file of the folder `stored`.
pub(crate) fn stored(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/earlier/stored");
    let file = std::fs::File::open(format!("{folder}/{name}.zst")).unwrap();
    zstd::stream::decode_all(file).unwrap()
}

/// Puts the objects that were written down of a cluster onto it.
pub(crate) fn furnish(fleet: &Fleet, name: &str) -> Cluster {
    let cluster = fleet.add(name).unwrap();
    let objects: Vec<Value> = serde_json::from_slice(&stored(&format!("{name}.json"))).unwrap();
    for object in objects {
        assert!(cluster.put(object.clone()), "{object}");
    }
    cluster
}

/// The objects of the namespace `shop` on a cluster.
pub(crate) fn objects(cluster: &Cluster) -> Vec<Value> {
    let collections = [
        "/api/v1/namespaces/shop/configmaps",
        "/api/v1/namespaces/shop/services",
        "/apis/apps/v1/namespaces/shop/deployments",
        "/apis/batch/v1/namespaces/shop/jobs",
    ];
    let items = |path: &str| cluster.read(path).unwrap()["items"].as_array().unwrap().clone();
    let all = collections.into_iter().flat_map(items);
    all.filter(|object| object["metadata"]["name"] != "beside").collect()
}

/// Leads the adapter to the fleet at an address, and records what it does.
pub(crate) fn opener(address: SocketAddr, requests: Requests) -> Opener {
    Opener::new(move |kubeconfig: &Value, _| {
        let server = kubeconfig["clusters"][0]["cluster"]["server"].as_str().unwrap();
        let token = kubeconfig["users"][0]["user"]["token"].as_str().unwrap();
        let client = kubernetes(address, server.strip_prefix(BASE).unwrap(), token, requests.clone());
        Ok(Connection::over(client, "default", "127.0.0.1", DEADLINES))
    })
}

fn kubernetes(address: SocketAddr, prefix: &str, token: &str, requests: Requests) -> kube::Client {
    let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let authority = Authority::try_from(address.to_string()).unwrap();
    let (prefix, bearer) = (prefix.to_owned(), format!("Bearer {token}"));
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let (client, requests) = (client.clone(), requests.clone());
        let mut target = request.uri().clone().into_parts();
        let path = request.uri().path_and_query().map_or("", PathAndQuery::as_str);
        target.path_and_query = Some(format!("{prefix}{path}").try_into().unwrap());
        (target.scheme, target.authority) = (Some(Scheme::HTTP), Some(authority.clone()));
        let bearer = bearer.clone();
        async move {
            let (mut parts, body) = request.into_parts();
            let body = body.collect_bytes().await.map_err(std::io::Error::other)?;
            record(&requests, &parts, &body);
            parts.uri = Uri::from_parts(target).map_err(std::io::Error::other)?;
            parts.headers.insert(AUTHORIZATION, bearer.parse().map_err(std::io::Error::other)?);
            let request = http::Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
            client.request(request).await.map_err(std::io::Error::other)
        }
    });
    kube::Client::new(service, "default")
}

fn record(requests: &Requests, parts: &http::request::Parts, body: &[u8]) {
    let is_rehearsal = parts.uri.query().is_some_and(|query| query.contains("dryRun=All"));
    if parts.method == Method::GET || is_rehearsal {
        return;
    }
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let request = Request {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        object: body["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
    };
    requests.lock().unwrap().push(request);
}
