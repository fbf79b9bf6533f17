//! A load balancer in front of several servers: one address, and each new connection goes to the server that is chosen.

use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// A running proxy; its connections end when it is dropped.
pub(crate) struct Proxy {
    /// Where clients find it.
    pub(crate) endpoint: String,
    route: watch::Sender<Arc<Route>>,
    _serving: AbortOnDropHandle<()>,
}

/// The server of new connections.
struct Route {
    address: String,
    /// Connections to it that have ended.
    ended: watch::Sender<usize>,
}

impl Route {
    fn to(endpoint: &str) -> Arc<Self> {
        let address = endpoint.trim_start_matches("http://").to_owned();
        Arc::new(Self { address, ended: watch::Sender::new(0) })
    }
}

impl Proxy {
    /// Starts with the server at this URL.
    pub(crate) async fn start(endpoint: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (route, routes) = watch::channel(Route::to(endpoint));
        let serving = async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let route = routes.borrow().clone();
                connections.spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(&route.address).await {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                    route.ended.send_modify(|ended| *ended += 1);
                });
            }
        };
        let serving = AbortOnDropHandle::new(tokio::spawn(serving));
        Self { endpoint: format!("http://{address}"), route, _serving: serving }
    }

    /// Leads new connections to another server. Those that are open stay where they are.
    pub(crate) fn lead_to(&self, endpoint: &str) {
        self.route.send_replace(Route::to(endpoint));
    }

    /// Whether a connection has ended that was made since the last [`Proxy::lead_to`].
    pub(crate) fn has_ended_one(&self) -> bool {
        *self.route.borrow().ended.borrow() > 0
    }
}
