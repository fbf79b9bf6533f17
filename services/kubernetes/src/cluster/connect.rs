//! The HTTP client of a kubeconfig, whose connector judges every address that it dials.

use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use krake_runtime::address::AddressPolicy;
use krake_runtime::dial::Dialler;
use krake_runtime::kubeconfig::Identity;
use kube::client::{Body, ConfigExt};
use kube::{Client, Config};
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use tower::{BoxError, ServiceBuilder, service_fn};

use crate::cluster::kubeconfig::KubeconfigError;

/// Maximum number of connections to one cluster that are kept without a request. Each takes 20 KiB here, and a place in the
/// API server. A burst opens more, up to one per request, and they are closed after it.
const MAX_IDLE_CONNECTIONS: usize = 4;
/// Time after which a connection without a request is closed. Longer than the pause between two probes, so that the
/// probes of a quiet cluster share one connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A client of the API server, which connects to addresses that the policy allows, and follows no redirects.
///
/// # Errors
/// When certificate or key cannot be used, or the address in the kubeconfig is refused.
pub(crate) fn client(
    config: &Config,
    identity: Option<&Identity>,
    policy: &AddressPolicy,
) -> Result<Client, KubeconfigError> {
    let unusable = |error: kube::Error| KubeconfigError::Unusable(error.to_string());
    let clear = config.cluster_url.scheme_str() == Some("http") && has_credentials(config);
    // The connector resolves no addresses, only names. There is only one host, since redirects are not followed.
    let dialler =
        Dialler { policy: policy.clone(), clear, process: "adapter", option: "--allow-cluster-address" };
    dialler
        .check_host(config.cluster_url.host().unwrap_or_default())
        .map_err(|error| KubeconfigError::Unusable(error.to_string()))?;
    let resolver = service_fn(move |name: Name| Box::pin(dialler.resolve(name.as_str().to_owned())));
    let mut connector = HttpConnector::new_with_resolver(resolver);
    connector.enforce_http(false);
    connector.set_nodelay(true);
    let connector = encrypted(config, identity, connector)?;
    let mut connector = TimeoutConnector::new(connector);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new())
        .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
        .pool_idle_timeout(IDLE_TIMEOUT)
        // Without a timer, only the connection that is taken next is ever found to be idle for too long.
        .pool_timer(TokioTimer::new())
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(unusable)?)
        .layer(config.extra_headers_layer().map_err(unusable)?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// The connector that speaks TLS where the address says https.
fn encrypted<C>(
    config: &Config,
    identity: Option<&Identity>,
    connector: C,
) -> Result<HttpsConnector<C>, KubeconfigError> {
    let mut tls =
        config.rustls_client_config().map_err(|error| KubeconfigError::Unusable(error.to_string()))?;
    if let Some(identity) = identity {
        tls.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(identity.certified_key()));
    }
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    if let Some(name) = config.tls_server_name.clone().filter(|name| !name.is_empty()) {
        let name = ServerName::try_from(name)
            .map_err(|_| KubeconfigError::Unusable("tls-server-name is no name".to_owned()))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(builder.enable_http1().wrap_connector(connector))
}

/// Whether requests carry what others must not read.
fn has_credentials(config: &Config) -> bool {
    config.auth_info.token.is_some() || config.auth_info.password.is_some()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::cluster::connection::{Connection, Deadlines};
    use hyper_util::rt::TokioIo;
    use serde_json::json;
    use tokio::sync::{Barrier, watch};

    /// A server on this machine that returns the request's path and credentials as its version, and its port.
    async fn server() -> u16 {
        let answer = |request: axum::extract::Request| async move {
            let shown =
                |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            let text = format!("{} {}", request.uri().path(), shown("authorization").unwrap_or_default());
            axum::Json(
                json!({"major": "", "minor": "", "gitVersion": text, "gitCommit": "", "gitTreeState": "",
                "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}),
            )
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(
            async move { axum::serve(listener, axum::Router::new().fallback(answer)).await.unwrap() },
        );
        port
    }

    fn open(server: &str, policy: &AddressPolicy) -> Result<Connection, KubeconfigError> {
        let document = json!({
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"token": "t0ken"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]
        });
        Connection::open(&document, Deadlines::default(), policy)
    }

    #[tokio::test]
    async fn requests_bear_the_credentials_and_the_path_of_the_server() {
        let port = server().await;
        let policy = AddressPolicy { loopback: true, allowed: Vec::new() };
        for host in ["127.0.0.1", "localhost"] {
            let connection = open(&format!("http://{host}:{port}/k8s/c-1"), &policy).unwrap();
            let version = connection.call(connection.client().apiserver_version()).await.unwrap();
            assert_eq!(version.git_version, "/k8s/c-1/version Bearer t0ken");
        }
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_refused_when_it_is_dialled() {
        let port = server().await;
        let connection = open(&format!("http://localhost:{port}"), &AddressPolicy::default()).unwrap();
        let error = connection.call(connection.client().apiserver_version()).await.unwrap_err();
        assert!(error.to_string().contains("--allow-cluster-address 127.0.0.1"), "{error}");
    }

    /// A server that answers only when `burst` requests wait for it. Returns its port, and the number of its connections.
    async fn server_of_bursts(burst: usize) -> (u16, watch::Receiver<usize>) {
        let (open, shown) = watch::channel(0);
        let arrived = Arc::new(Barrier::new(burst));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (open, arrived) = (open.clone(), arrived.clone());
                let service = hyper::service::service_fn(move |_| {
                    let arrived = arrived.clone();
                    async move {
                        arrived.wait().await;
                        let body = Body::from(json!({"groups": []}).to_string().into_bytes());
                        Ok::<_, Infallible>(http::Response::new(body))
                    }
                });
                tokio::spawn(async move {
                    open.send_modify(|open| *open += 1);
                    let http = hyper::server::conn::http1::Builder::new();
                    // However it ends, it has ended.
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                    open.send_modify(|open| *open -= 1);
                });
            }
        });
        (port, shown)
    }

    #[tokio::test]
    async fn after_a_burst_only_a_few_connections_stay() {
        let burst = 3 * MAX_IDLE_CONNECTIONS;
        let (port, mut connections) = server_of_bursts(burst).await;
        let policy = AddressPolicy { loopback: true, allowed: Vec::new() };
        let connection = open(&format!("http://127.0.0.1:{port}"), &policy).unwrap();
        let requests = (0..burst).map(|_| connection.call(connection.client().list_api_groups()));
        futures::future::try_join_all(requests).await.unwrap();
        // Shorter than the time after which idle connections end by themselves.
        let few = connections.wait_for(|open| *open <= MAX_IDLE_CONNECTIONS);
        tokio::time::timeout(IDLE_TIMEOUT / 2, few).await.expect("the others are closed").unwrap();
        assert!(*connections.borrow() > 0, "some are kept for the next requests");
    }
}
