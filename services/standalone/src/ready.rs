//! What is said once everything is ready: where Krake listens, and what to try next.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The port that `rok` asks by itself.
const ROK_PORT: u16 = 7700;

/// Where a running Krake is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// The gRPC API.
    pub api: SocketAddr,
    /// The REST API.
    pub rest: SocketAddr,
    /// Metrics and probes.
    pub admin: SocketAddr,
    /// The data folder.
    pub data_dir: PathBuf,
}

impl Endpoints {
    /// Address of the gRPC API for a client on this machine.
    pub fn api_url(&self) -> String {
        format!("http://{}", local(self.api))
    }

    /// Address of the REST API for a client on this machine.
    pub fn rest_url(&self) -> String {
        format!("http://{}", local(self.rest))
    }

    /// Address of the admin listener for a client on this machine.
    pub fn admin_url(&self) -> String {
        format!("http://{}", local(self.admin))
    }

    /// `rok`, told where the API is if it would not find it by itself.
    pub(crate) fn rok(&self) -> String {
        let found = self.api.port() == ROK_PORT && local(self.api).ip().is_loopback();
        if found { "rok".to_owned() } else { format!("rok --api-url {}", self.api_url()) }
    }

    /// The addresses, a line each.
    pub(crate) fn addresses(&self) -> Vec<String> {
        vec![
            format!("gRPC API   {}", local(self.api)),
            format!("REST API   {}", self.rest_url()),
            format!("admin      {0}/metrics, {0}/readyz", self.admin_url()),
            format!("data       {}", self.data_dir.display()),
        ]
    }

    fn banner(&self) -> Vec<String> {
        let (rok, rest) = (self.rok(), self.rest_url());
        let mut lines = vec!["Krake is ready.".to_owned(), String::new()];
        lines.extend(self.addresses());
        lines.extend([
            String::new(),
            "Try, in another terminal:".to_owned(),
            format!("  {rok} kube cluster register NAME -k KUBECONFIG -l location=DE --wait"),
            format!("  {rok} kube app create -f examples/echo-demo.yaml -L \"location in (DE, FR)\" echo-demo --wait"),
            format!("  curl {rest}/kubernetes/applications"),
            "Ctrl-C stops everything; what is stored stays.".to_owned(),
        ]);
        lines
    }

    /// Says it all on standard output.
    pub(crate) fn announce(&self) {
        say(&self.banner());
    }
}

/// Where to reach a listener of this machine on this machine: one that listens everywhere is found at loopback.
fn local(address: SocketAddr) -> SocketAddr {
    let loopback: std::net::IpAddr = match address {
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    if address.ip().is_unspecified() { SocketAddr::new(loopback, address.port()) } else { address }
}

/// Writes lines to standard output. Krake goes on if the reader has closed its end.
pub(crate) fn say(lines: &[String]) {
    let mut out = io::stdout().lock();
    let _ = lines.iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(api: &str) -> Endpoints {
        let address = "127.0.0.1:8080".parse().unwrap();
        Endpoints { api: api.parse().unwrap(), rest: address, admin: address, data_dir: "/data".into() }
    }

    #[test]
    fn commands_work_as_they_are_printed() {
        assert_eq!(endpoints("127.0.0.1:7700").rok(), "rok");
        assert_eq!(endpoints("127.0.0.1:41001").rok(), "rok --api-url http://127.0.0.1:41001");
        assert_eq!(endpoints("[::]:7800").api_url(), "http://[::1]:7800");
        let banner = endpoints("0.0.0.0:7700").banner().join("\n");
        assert!(
            banner.contains("gRPC API   127.0.0.1:7700") && banner.contains("  rok kube app create"),
            "{banner}"
        );
    }
}
