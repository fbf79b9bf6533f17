//! The admin listener: `/metrics` for Prometheus, `/healthz` and `/readyz` for what restarts and balances processes.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use http::{StatusCode, header};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::config::{listen_address, pick};
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::serve::ConnectionLimits;
use crate::serve::http::{HttpOptions, serve_http};
use crate::shutdown::Shutdown;

/// Time for answers under way once shutdown is requested: probes and scrapes take milliseconds.
const ADMIN_DRAIN: Duration = Duration::from_secs(1);
/// Connections open at the same time: a process has a few probes and scrapers.
const MAX_ADMIN_CONNECTIONS: usize = 256;
/// Connections open at the same time from one address: one peer cannot keep the probes out.
const MAX_ADMIN_CONNECTIONS_PER_PEER: usize = MAX_ADMIN_CONNECTIONS / 2;

/// The content type of the OpenMetrics text format.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Address of the admin listener; `PORT` is the service's default port.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct AdminArgs<const PORT: u16> {
    #[arg(
        long,
        env = "KRAKE_ADMIN_LISTEN",
        value_name = "ADDRESS",
        value_parser = listen_address,
        help = format!(
            "Address and port of the admin listener, without TLS and without authentication: /metrics, /healthz, \
             /readyz. It serves {MAX_ADMIN_CONNECTIONS} connections at a time, \
             {MAX_ADMIN_CONNECTIONS_PER_PEER} from one address. All services read the same variable: if several run on \
             one host, give each its own value. [default: 127.0.0.1:{PORT}]"
        )
    )]
    /// Address and port, such as `0.0.0.0:7701`.
    pub admin_listen: Option<SocketAddr>,
}

/// The same as section `admin` of the file. (A type of its own: serde does not derive for const generics.)
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSection {
    /// Address and port, such as `0.0.0.0:7701`.
    pub listen: Option<SocketAddr>,
}

impl<const PORT: u16> AdminArgs<PORT> {
    /// The address in force.
    pub fn resolve(self, file: AdminSection) -> SocketAddr {
        pick(self.admin_listen, file.listen, SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)))
    }
}

/// Content of the admin listener.
#[derive(Clone, Debug, Default)]
pub struct Admin {
    /// Shown at `/metrics`.
    pub metrics: Metrics,
    /// Shown at `/readyz`: 200 when every condition holds, else 503; the body lists them.
    pub readiness: Readiness,
}

impl Admin {
    /// Nothing measured, no conditions.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, but for the build of the service of this name, such as `krake-gc`.
    pub fn of_service(service: &str) -> Self {
        Self { metrics: Metrics::of_service(service), readiness: Readiness::default() }
    }

    /// Serves until shutdown is requested, and one second more for answers under way. Bind with
    /// [`crate::serve::bind`].
    ///
    /// # Errors
    /// When the listener has no address.
    pub async fn serve(self, listener: TcpListener, shutdown: Shutdown) -> std::io::Result<()> {
        let limits = ConnectionLimits {
            max_connections: MAX_ADMIN_CONNECTIONS,
            max_connections_per_peer: MAX_ADMIN_CONNECTIONS_PER_PEER,
            drain: ADMIN_DRAIN,
            ..ConnectionLimits::default()
        };
        tracing::info!(address = %listener.local_addr()?, "metrics and probes");
        let options = HttpOptions { limits, ..HttpOptions::default() };
        serve_http(listener, self.router(), options, shutdown).await
    }

    fn router(self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .with_state(self)
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.metrics.encode() {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            tracing::warn!(%error, "metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    let conditions = admin.readiness.conditions();
    let mut body = String::new();
    for (name, holds) in &conditions {
        // Writing into a String does not fail.
        let _ = writeln!(body, "{} {name}", if *holds { "[+]" } else { "[-]" });
    }
    if conditions.iter().all(|(_, holds)| *holds) {
        body.push_str("ready\n");
        (StatusCode::OK, body)
    } else {
        body.push_str("not ready\n");
        (StatusCode::SERVICE_UNAVAILABLE, body)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tower::ServiceExt;

    use super::*;

    async fn fetch(admin: &Admin, path: &str) -> (StatusCode, String) {
        let request = http::Request::get(path).body(Body::empty()).unwrap();
        let response = admin.clone().router().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn ready_only_while_every_condition_holds() {
        let admin = Admin::new();
        assert_eq!(fetch(&admin, "/readyz").await, (StatusCode::OK, "ready\n".into()));
        let store = admin.readiness.condition("store");
        let cache = admin.readiness.condition("cache");
        store.set(true);
        let (status, body) = fetch(&admin, "/readyz").await;
        assert_eq!((status.as_u16(), body.as_str()), (503, "[-] cache\n[+] store\nnot ready\n"));
        cache.set(true);
        assert_eq!(fetch(&admin, "/readyz").await.0, StatusCode::OK);
        store.set(false);
        assert_eq!(fetch(&admin, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            fetch(&admin, "/healthz").await,
            (StatusCode::OK, "ok\n".into()),
            "alive, though not ready"
        );
    }

    #[tokio::test]
    async fn metrics_are_shown_with_prefix_and_end_marker() {
        let admin = Admin::new();
        let binds: Counter = Counter::default();
        admin.metrics.register(|registry| registry.register("binds", "Bindings written", binds.clone()));
        binds.inc_by(3);
        let (status, body) = fetch(&admin, "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains("\nkrake_binds_total 3\n") && body.ends_with("# EOF\n"), "{body}");
    }

    #[tokio::test]
    async fn answers_over_tcp_and_ends_with_an_idle_connection_open() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let server = tokio::spawn(Admin::new().serve(listener, shutdown.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        let _silent = TcpStream::connect(address).await.unwrap();
        shutdown.request();
        // Only a hang takes as long.
        let hang_guard = std::time::Duration::from_secs(120);
        tokio::time::timeout(hang_guard, server).await.expect("ends").unwrap().unwrap();
    }

    #[test]
    fn help_names_the_limits() {
        use clap::Args;
        let command = AdminArgs::<7702>::augment_args(clap::Command::new("x"));
        let help = command.get_arguments().next().unwrap().get_help().unwrap().to_string();
        assert!(help.contains(&format!("{MAX_ADMIN_CONNECTIONS} connections")), "{help}");
        assert!(help.contains(&format!("{MAX_ADMIN_CONNECTIONS_PER_PEER} from one address")), "{help}");
    }

    #[test]
    fn flag_wins_over_file_and_the_default_port_is_the_services_own() {
        let address = |port| Some(SocketAddr::from(([0, 0, 0, 0], port)));
        let (flag, file) =
            (AdminArgs::<7702> { admin_listen: address(1) }, AdminSection { listen: address(2) });
        assert_eq!(flag.resolve(file.clone()).port(), 1);
        assert_eq!(AdminArgs::<7702>::default().resolve(file).port(), 2);
        let default = AdminArgs::<7702>::default().resolve(AdminSection::default());
        assert_eq!(default, "127.0.0.1:7702".parse().unwrap());
    }
}
