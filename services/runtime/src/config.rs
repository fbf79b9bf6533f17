//! Configuration with one precedence everywhere: flag > environment > file > default.
//!
//! clap joins flag and environment (`#[arg(long, env = "KRAKE_…")]` on an `Option`), [`read_file`] reads the
//! optional YAML file, [`pick`] decides between the two and the default. Every group of flags in this crate is
//! at the same time a section of the file: `--tls-cert` is `tls: {cert: …}`, `--log-level` is
//! `telemetry: {log_level: …}`.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use krake_client::{ConnectOptions, read_file_at_most};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Why a process cannot start with the configuration it was given. Only the operator can mend it: the process
/// ends with exit code 64.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file named in the configuration cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The configuration file holds a wrong key or a value of the wrong type. Values are never part of the
    /// message: they may be secrets.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1; 0 where unknown.
        line: u64,
        /// Column, counted from 1; 0 where unknown.
        column: u64,
        /// What is wrong and what was expected.
        message: String,
    },
    /// An option has a value that cannot be used.
    #[error("{option}: {message}")]
    Invalid {
        /// The option as written on the command line, such as `--log-level`.
        option: &'static str,
        /// What is wrong and what to do.
        message: String,
    },
}

/// Maximum size of a file of options, certificates or secrets: the authorities of a whole system take 250 KB.
const MAX_FILE_MIB: u64 = 1;

/// Reads a small file: options, PEM or a secret.
///
/// # Errors
/// When it cannot be read, is no file (nor a pipe with a writer), or is larger than 1 MiB.
pub fn read_small_file(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    read_file_at_most(MAX_FILE_MIB, path).map_err(failed)
}

/// The same for text.
///
/// # Errors
/// Also when it is not UTF-8.
pub fn read_small_text(path: &Path) -> Result<String, ConfigError> {
    String::from_utf8(read_small_file(path)?).map_err(|_| {
        let source = io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text");
        ConfigError::Read { path: path.to_owned(), source }
    })
}

/// Reads a YAML file into `T`. `T` should carry `#[serde(deny_unknown_fields)]`, so that a misspelt key is an
/// error naming file and line instead of being ignored. An empty file is `T` with nothing set.
pub fn read_file<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = read_small_text(path)?;
    // No snippets: they would print neighbouring lines, which may hold secrets.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(&text, options).map_err(|error| {
        let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        ConfigError::Parse { path: path.to_owned(), line, column, message: without_values(&error) }
    })
}

/// The message of a YAML error, without the value it is about.
fn without_values(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    match error {
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            format!("wrong type or value, expected {expected}")
        }
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("unknown key `{field}`, expected one of: {}", expected.join(", "))
        }
        Error::SerdeUnknownVariant { expected, .. } => {
            format!("unknown value, expected one of: {}", expected.join(", "))
        }
        Error::SerdeMissingField { field, .. } => format!("key `{field}` is missing"),
        Error::Message { msg, .. } => msg.clone(),
        other => {
            let text = other.to_string();
            // The place is said once, in front.
            text.rfind(" at line ").map_or(text.as_str(), |place| &text[..place]).to_owned()
        }
    }
}

/// Parses the address of a listener, for clap. Names are refused: what they resolve to may change, or be several
/// addresses.
///
/// # Errors
/// A text that says what to write instead.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "expected an IP address and a port, such as 127.0.0.1:7700 or [::1]:7700; names such as localhost are not \
         resolved"
            .to_owned()
    })
}

/// The value in force: `flag` (command line or environment), else `file`, else `default`.
pub fn pick<T>(flag: Option<T>, file: Option<T>, default: T) -> T {
    flag.or(file).unwrap_or(default)
}

/// `-c/--config`: the optional configuration file of a service.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigFileArgs {
    /// YAML file with settings; flags and environment variables win over it. A key that is not known is an error.
    #[arg(short, long, env = "KRAKE_CONFIG", value_name = "PATH")]
    pub config: Option<PathBuf>,
}

impl ConfigFileArgs {
    /// The contents of the file, or nothing set where no file is named.
    pub fn read<T: DeserializeOwned + Default>(&self) -> Result<T, ConfigError> {
        self.config.as_deref().map_or_else(|| Ok(T::default()), read_file)
    }
}

/// Where a controller finds the Krake API, and the certificates of the connection. In the file: section `api` with
/// `url`, `ca`, `cert` and `key`.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiArgs {
    /// Address of the Krake API (gRPC): http:// or https://, host and port. [default: http://127.0.0.1:7700]
    #[arg(long, visible_alias = "api-endpoint", env = "KRAKE_API_URL", value_name = "URL")]
    #[serde(rename = "url")]
    pub api_url: Option<String>,
    /// Certificate authorities (PEM) that may vouch for the API. [default: those of the system]
    #[arg(long, env = "KRAKE_API_CA", value_name = "PATH")]
    #[serde(rename = "ca")]
    pub api_ca: Option<PathBuf>,
    /// Certificate (PEM) that this process shows to the API; needs --api-key.
    #[arg(long, env = "KRAKE_API_CERT", value_name = "PATH")]
    #[serde(rename = "cert")]
    pub api_cert: Option<PathBuf>,
    /// Private key (PEM) of that certificate.
    #[arg(long, env = "KRAKE_API_KEY", value_name = "PATH")]
    #[serde(rename = "key")]
    pub api_key: Option<PathBuf>,
}

impl ApiArgs {
    /// The connection in force: an http or https address with a host, and PEM files only with https. The files are read
    /// when the client is made. `user_agent` says who calls.
    pub fn resolve(self, file: ApiArgs, user_agent: &str) -> Result<ConnectOptions, ConfigError> {
        let url = pick(self.api_url, file.api_url, "http://127.0.0.1:7700".to_owned());
        check_url("--api-url", &url, &["http", "https"])?;
        let mut connect = ConnectOptions::new(&url);
        connect.user_agent = user_agent.to_owned();
        connect.ca_file = self.api_ca.or(file.api_ca);
        connect.client_cert_file = self.api_cert.or(file.api_cert);
        connect.client_key_file = self.api_key.or(file.api_key);
        let files = [
            ("--api-ca", &connect.ca_file),
            ("--api-cert", &connect.client_cert_file),
            ("--api-key", &connect.client_key_file),
        ];
        if let Some((option, _)) =
            files.into_iter().find(|(_, path)| path.is_some() && !url.starts_with("https:"))
        {
            let message = "only for an API over TLS: write https:// in --api-url, or leave it out".to_owned();
            return Err(ConfigError::Invalid { option, message });
        }
        match (&connect.client_cert_file, &connect.client_key_file) {
            (Some(_), None) => Err(missing("--api-cert", "--api-key")),
            (None, Some(_)) => Err(missing("--api-key", "--api-cert")),
            _ => Ok(connect),
        }
    }
}

fn missing(option: &'static str, other: &str) -> ConfigError {
    ConfigError::Invalid { option, message: format!("{other} is missing: set both or none") }
}

/// Checks that `url` has a host and one of `schemes`; `option` is named in the error.
pub(crate) fn check_url(option: &'static str, url: &str, schemes: &[&str]) -> Result<(), ConfigError> {
    let example = format!("write {}://HOST:PORT", schemes.join(":// or "));
    let invalid = |what: &str| ConfigError::Invalid { option, message: format!("{what}; {example}") };
    let uri: http::Uri = url.parse().map_err(|_| invalid("not a URL"))?;
    if !uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme)) {
        return Err(invalid("unsupported scheme"));
    }
    match uri.host() {
        Some(host) if !host.is_empty() => Ok(()),
        _ => Err(invalid("no host")),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        workers: Option<u16>,
        api: Section,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Section {
        url: Option<String>,
        password: Option<u64>,
    }

    #[test]
    fn files_without_end_are_refused() {
        let endless = Path::new("/dev/zero");
        let ConfigError::Read { path, source } = read_small_file(endless).unwrap_err() else { panic!() };
        assert_eq!(path, endless);
        assert!(source.to_string().contains("it is a device"), "{source}");
        assert!(read_file::<Sample>(endless).is_err());
    }

    /// A service with every group of flags there is.
    #[derive(clap::Parser)]
    struct Everything {
        #[command(flatten)]
        file: ConfigFileArgs,
        #[command(flatten)]
        api: ApiArgs,
        #[command(flatten)]
        admin: crate::admin::AdminArgs<7709>,
        #[command(flatten)]
        tls: crate::tls::TlsArgs,
        #[command(flatten)]
        telemetry: crate::telemetry::TelemetryArgs,
    }

    #[test]
    fn groups_of_flags_go_together_and_their_help_names_defaults_and_variables() {
        Everything::command().debug_assert();
        let help = Everything::command().render_long_help().to_string();
        for part in
            ["127.0.0.1:7709", "http://127.0.0.1:7700", "[default: info]", "KRAKE_TLS_CERT", "KRAKE_LOG="]
        {
            assert!(help.contains(part), "{part} is missing in {help}");
        }
        let given = Everything::parse_from([
            "x",
            "--api-endpoint",
            "http://a:1",
            "-c",
            "k.yaml",
            "--log-level",
            "debug",
        ]);
        assert_eq!(given.api.api_url.as_deref(), Some("http://a:1"));
        assert_eq!(given.file.config.as_deref(), Some(Path::new("k.yaml")));
        assert_eq!(given.telemetry.log_level.as_deref(), Some("debug"));
        assert!(given.admin.admin_listen.is_none() && given.tls.tls_cert.is_none(), "the file may fill in");
    }

    fn parse(text: &str) -> Result<Sample, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("krake.yaml");
        std::fs::write(&path, text).unwrap();
        read_file(&path)
    }

    #[test]
    fn flag_wins_over_file_and_file_over_default() {
        assert_eq!(pick(Some(1), Some(2), 3), 1);
        assert_eq!(pick(None, Some(2), 3), 2);
        assert_eq!(pick(None, None, 3), 3);
    }

    #[test]
    fn a_file_is_read_section_by_section() {
        let read = parse("workers: 7\napi:\n  url: http://a:1\n").unwrap();
        assert_eq!(read.workers, Some(7));
        assert_eq!(read.api.url.as_deref(), Some("http://a:1"));
        assert_eq!(parse("").unwrap(), Sample::default());
    }

    #[test]
    fn a_wrong_key_names_file_line_and_what_was_expected() {
        let error = parse("workers: 7\napi:\n  uri: http://a:1\n").unwrap_err();
        assert!(matches!(&error, ConfigError::Parse { line: 3, column: 3, .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("krake.yaml:3:3"), "{text}");
        assert!(text.contains("`uri`") && text.contains("url, password"), "{text}");
    }

    #[test]
    fn errors_never_show_values() {
        for text in
            ["api:\n  password: s3cret\n", "api: [s3cret]\n", "workers: \"s3cret\"\n", "api: s3cret\n"]
        {
            let error = parse(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
            assert!(matches!(error, ConfigError::Parse { line: 1.., .. }), "{error:?}");
        }
    }

    #[test]
    fn a_syntax_error_names_its_place_once() {
        let error = parse("workers: 7\napi: {url: [\n").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("krake.yaml:2:") || text.contains("krake.yaml:3:"), "{text}");
        assert!(!text.contains(" at line"), "{text}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read_file::<Sample>(Path::new("/nonexistent/krake.yaml")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nonexistent/krake.yaml");
    }

    #[test]
    fn the_api_address_must_be_a_url() {
        let with = |url: &str| ApiArgs { api_url: Some(url.to_owned()), ..ApiArgs::default() };
        let resolve = |flags: ApiArgs, file| flags.resolve(file, "me/1").map(|connect| connect.url);
        assert_eq!(resolve(ApiArgs::default(), ApiArgs::default()).unwrap(), "http://127.0.0.1:7700");
        assert_eq!(resolve(with("https://a:1"), with("http://b:2")).unwrap(), "https://a:1");
        for wrong in ["localhost:7700", "ftp://a", "", "http://", "/path"] {
            let error = resolve(with(wrong), ApiArgs::default()).unwrap_err();
            assert!(error.to_string().starts_with("--api-url: "), "{wrong}: {error}");
        }
    }

    #[test]
    fn certificates_need_tls_and_come_in_pairs() {
        let path = |name: &str| Some(PathBuf::from(name));
        let https = || ApiArgs { api_url: Some("https://a:1".to_owned()), ..ApiArgs::default() };
        let file =
            ApiArgs { api_ca: path("ca"), api_cert: path("c"), api_key: path("k"), ..ApiArgs::default() };
        let flags = ApiArgs { api_ca: path("other"), ..https() };
        let connect = flags.resolve(file.clone(), "me/1").unwrap();
        assert_eq!((connect.ca_file, connect.client_key_file), (path("other"), path("k")));
        assert_eq!(connect.user_agent, "me/1");
        let wrong = |flags: ApiArgs| flags.resolve(ApiArgs::default(), "me/1").unwrap_err().to_string();
        assert!(wrong(file).starts_with("--api-ca: only for an API over TLS"));
        assert!(
            wrong(ApiArgs { api_cert: path("c"), ..https() }).starts_with("--api-cert: --api-key is missing")
        );
        assert!(
            wrong(ApiArgs { api_key: path("k"), ..https() }).starts_with("--api-key: --api-cert is missing")
        );
    }
}
