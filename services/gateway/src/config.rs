//! Settings: command line, environment and file.

use std::net::{Ipv4Addr, SocketAddr};

use clap::Parser;
use krake_client::ConnectOptions;
use krake_runtime::admin::{AdminArgs, AdminSection};
use krake_runtime::config::{ApiArgs, ConfigError, ConfigFileArgs, listen_address, pick};
use krake_runtime::process::ProcessConfig;
use krake_runtime::serve::ListenerArgs;
use krake_runtime::serve::http::HttpOptions;
use krake_runtime::telemetry::{TelemetryArgs, TelemetryConfig};
use krake_runtime::tls::TlsArgs;
use serde::Deserialize;

use crate::cors::Origins;
use crate::gateway::Options;

/// Serves upstream's REST API in front of the Krake API server.
///
/// Any number of replicas may run. Callers identify themselves by the header Authorization, which is passed on to the
/// API server.
///
/// Settings may come from flags, from environment variables, or from a YAML file with the sections api (url), admin
/// (listen), listener (max_connections, max_connections_per_peer, allowed_hosts), tls (cert, key, client_ca), telemetry
/// (log_level, log_format, otlp_endpoint) and the keys listen, cors_origins and problem_base_url.
#[derive(Debug, Parser)]
#[command(name = "krake-gateway", version)]
pub struct Args {
    #[command(flatten)]
    file: ConfigFileArgs,
    /// Address and port of the REST API. Other hosts can reach it only if this is not a loopback address; use TLS then.
    /// [default: 127.0.0.1:8080]
    #[arg(long, env = "KRAKE_REST_LISTEN", value_name = "ADDRESS", value_parser = listen_address)]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    api: ApiArgs,
    /// Origin whose web pages may call, such as https://dashboard.example.com; may be given several times. "*" lets
    /// every page that a user opens act for that user: only for networks where that does no harm. [default: none]
    #[arg(long = "cors-origin", env = "KRAKE_CORS_ORIGINS", value_delimiter = ',', value_name = "ORIGIN")]
    cors_origins: Option<Vec<String>>,
    /// Page that explains the types of problems. [default: that of upstream's documentation]
    #[arg(long, env = "KRAKE_PROBLEM_BASE_URL", value_name = "URL")]
    problem_base_url: Option<String>,
    #[command(flatten)]
    listener: ListenerArgs,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    admin: AdminArgs<7705>,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

/// The file's form.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    api: ApiArgs,
    cors_origins: Option<Vec<String>>,
    problem_base_url: Option<String>,
    listener: ListenerArgs,
    tls: TlsArgs,
    admin: AdminSection,
    telemetry: TelemetryArgs,
}

/// The settings in force.
#[derive(Debug)]
pub struct Config {
    /// Address of the REST API.
    pub listen: SocketAddr,
    /// Connection to the state service.
    pub connect: ConnectOptions,
    /// Options of the gateway.
    pub options: Options,
    /// Address of metrics and probes.
    pub admin: SocketAddr,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
}

impl Args {
    /// Flags win over environment variables, those over the file, that over the defaults.
    ///
    /// # Errors
    /// When the file cannot be read, or a setting makes no sense; the text names it.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let file: File = self.file.read()?;
        let connect = self.api.resolve(file.api, concat!("krake-gateway/", env!("CARGO_PKG_VERSION")))?;
        let defaults = Options::default();
        let (limits, hosts) = self.listener.resolve(file.listener)?;
        let http = HttpOptions { tls: self.tls.resolve_http(file.tls)?, hosts, ..HttpOptions::with(limits) };
        let options = Options {
            http,
            origins: origins(self.cors_origins.or(file.cors_origins).unwrap_or_default())?,
            documentation: pick(self.problem_base_url, file.problem_base_url, defaults.documentation.clone()),
            ..defaults
        };
        Ok(Config {
            listen: pick(self.listen, file.listen, SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))),
            connect,
            options,
            admin: self.admin.resolve(file.admin),
            telemetry: self.telemetry.resolve(file.telemetry)?,
        })
    }
}

fn origins(given: Vec<String>) -> Result<Origins, ConfigError> {
    if given.is_empty() {
        return Ok(Origins::None);
    }
    if given.iter().any(|origin| origin == "*") {
        return Ok(Origins::Any);
    }
    let is_origin = |origin: &String| {
        let uri = origin.parse::<http::Uri>().ok();
        uri.is_some_and(|uri| uri.scheme().is_some() && uri.host().is_some() && uri.path() == "/")
            && !origin.ends_with('/')
    };
    match given.iter().find(|origin| !is_origin(origin)) {
        Some(_) => {
            Err(invalid("--cors-origin", "not an origin; write https://HOST, https://HOST:PORT or \"*\""))
        }
        None => Ok(Origins::Listed(given)),
    }
}

fn invalid(option: &'static str, message: &str) -> ConfigError {
    ConfigError::Invalid { option, message: message.to_owned() }
}

impl ProcessConfig for Config {
    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn resolve(args: &[&str]) -> Result<Config, ConfigError> {
        Args::try_parse_from(["krake-gateway"].iter().chain(args)).unwrap().resolve()
    }

    #[test]
    fn defaults_are_safe() {
        Args::command().debug_assert();
        let config = resolve(&[]).unwrap();
        assert_eq!(config.listen, "127.0.0.1:8080".parse().unwrap());
        assert!(config.admin.ip().is_loopback());
        assert_eq!(config.options.origins, Origins::None, "no page is let in by default");
    }

    #[test]
    fn origins_are_checked() {
        let listed =
            resolve(&["--cors-origin", "https://a.example", "--cors-origin", "http://b:8000"]).unwrap();
        let expected = ["https://a.example", "http://b:8000"].map(str::to_owned).to_vec();
        assert_eq!(listed.options.origins, Origins::Listed(expected));
        assert_eq!(resolve(&["--cors-origin", "*"]).unwrap().options.origins, Origins::Any);
        for wrong in ["a.example", "https://a.example/", "https://a.example/x", ""] {
            let error = resolve(&["--cors-origin", wrong]).unwrap_err().to_string();
            assert!(error.contains("--cors-origin"), "{wrong}: {error}");
        }
        assert!(resolve(&["--max-connections", "0"]).is_err());
    }
}
