//! Options of the store, the same for serving and for the commands.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use http::Uri;
use krake_runtime::config::{ConfigError, pick, read_small_text};
use krake_runtime::tls::read_certificates;
use serde::Deserialize;

use crate::store::{EtcdAccess, Secret};

/// Environment variable with the password of the etcd user.
const PASSWORD: &str = "KRAKE_ETCD_PASSWORD";

/// The store that keeps the resources. In the file: section `store`.
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreArgs {
    /// Kind of store that keeps the resources. [default: etcd]
    #[arg(long, env = "KRAKE_STORE", value_enum)]
    pub(super) store: Option<StoreKind>,
    /// Addresses of the etcd members, separated by commas; https:// for TLS. [default: http://127.0.0.1:2379]
    #[arg(long, env = "KRAKE_ETCD_ENDPOINTS", value_delimiter = ',', value_name = "URL")]
    etcd_endpoints: Option<Vec<String>>,
    /// Prefix of all of Krake's keys, so that several installations can share an etcd. [default: none]
    #[arg(long, env = "KRAKE_ETCD_PREFIX", value_name = "PREFIX")]
    etcd_prefix: Option<String>,
    /// User of etcd, which must be granted to read and write all keys that start with the prefix and /krake/. The
    /// password is read from --etcd-password-file, or from the environment variable KRAKE_ETCD_PASSWORD.
    #[arg(long, env = "KRAKE_ETCD_USER", value_name = "NAME")]
    etcd_user: Option<String>,
    /// File with the password of the etcd user; a line break at its end is ignored. Read at start.
    #[arg(long, env = "KRAKE_ETCD_PASSWORD_FILE", value_name = "PATH")]
    etcd_password_file: Option<PathBuf>,
    /// Certificate authorities (PEM) that issue etcd's certificates. Read at start. [default: those of the system]
    #[arg(long, env = "KRAKE_ETCD_CA", value_name = "PATH")]
    etcd_ca: Option<PathBuf>,
    /// Client certificate chain (PEM) for etcd; requires --etcd-key. Read at start.
    #[arg(long, env = "KRAKE_ETCD_CERT", value_name = "PATH")]
    etcd_cert: Option<PathBuf>,
    /// Private key (PEM) of --etcd-cert. Read at start.
    #[arg(long, env = "KRAKE_ETCD_KEY", value_name = "PATH")]
    etcd_key: Option<PathBuf>,
    /// File of the SQLite store. It and its folder are created if they are missing, readable by this user only.
    /// [default: krake-data/krake.db]
    #[arg(long, env = "KRAKE_SQLITE_FILE", value_name = "PATH")]
    sqlite_file: Option<PathBuf>,
}

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// An etcd, version 3.4 or later.
    Etcd,
    /// One SQLite file on a local disk, used by one krake-state only.
    Sqlite,
    /// Memory: everything is lost when the process ends. For trials.
    Memory,
}

/// Which store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// An etcd.
    Etcd {
        /// Addresses of its members.
        endpoints: Vec<String>,
        /// Put before all keys.
        prefix: String,
        /// Credentials and authorities.
        access: EtcdAccess,
    },
    /// An SQLite file.
    Sqlite {
        /// Its path.
        file: PathBuf,
    },
    /// Memory.
    Memory,
}

impl StoreArgs {
    /// Joins flags and environment with the section of the file.
    pub(super) fn resolve(self, file: StoreArgs) -> Result<StoreConfig, ConfigError> {
        self.resolve_with(file, std::env::var(PASSWORD).ok())
    }

    /// The same with the password that the environment holds.
    fn resolve_with(self, file: StoreArgs, password: Option<String>) -> Result<StoreConfig, ConfigError> {
        Ok(match pick(self.store, file.store, StoreKind::Etcd) {
            StoreKind::Memory => StoreConfig::Memory,
            StoreKind::Sqlite => StoreConfig::Sqlite {
                file: pick(self.sqlite_file, file.sqlite_file, PathBuf::from("krake-data/krake.db")),
            },
            StoreKind::Etcd => {
                let default = vec!["http://127.0.0.1:2379".to_owned()];
                let access = Access {
                    user: self.etcd_user.or(file.etcd_user),
                    password_file: self.etcd_password_file.or(file.etcd_password_file),
                    password,
                    ca: self.etcd_ca.or(file.etcd_ca),
                    cert: self.etcd_cert.or(file.etcd_cert),
                    key: self.etcd_key.or(file.etcd_key),
                };
                let endpoints = pick(self.etcd_endpoints, file.etcd_endpoints, default);
                let tls = check_endpoints(&endpoints)?;
                StoreConfig::Etcd {
                    endpoints,
                    prefix: pick(self.etcd_prefix, file.etcd_prefix, String::new()),
                    access: access.read(tls)?,
                }
            }
        })
    }
}

/// Settings of the access to etcd, as given.
struct Access {
    user: Option<String>,
    password_file: Option<PathBuf>,
    password: Option<String>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Access {
    /// Reads the files. `tls` says whether the endpoints are https.
    fn read(self, tls: bool) -> Result<EtcdAccess, ConfigError> {
        let files = [("--etcd-ca", &self.ca), ("--etcd-cert", &self.cert), ("--etcd-key", &self.key)];
        if let Some((option, _)) = files.into_iter().find(|(_, file)| file.is_some() && !tls) {
            return Err(invalid(option, "is for TLS: let all --etcd-endpoints begin with https://"));
        }
        let user = match (self.user, self.password_file, self.password) {
            (Some(user), Some(path), _) => {
                let password = text(&path)?;
                Some((user, Secret::from(password.trim_end_matches(['\r', '\n']).to_owned())))
            }
            (Some(user), None, Some(password)) => Some((user, Secret::from(password))),
            (Some(_), None, None) => {
                return Err(invalid(
                    "--etcd-user",
                    "needs a password: --etcd-password-file, or the environment variable KRAKE_ETCD_PASSWORD",
                ));
            }
            (None, Some(_), _) => {
                return Err(invalid("--etcd-password-file", "needs --etcd-user beside it"));
            }
            (None, None, _) => None,
        };
        let identity = match (self.cert, self.key) {
            (Some(cert), Some(key)) => Some((read_certificates(&cert)?, Secret::from(text(&key)?))),
            (None, None) => None,
            (Some(_), None) => return Err(invalid("--etcd-cert", "needs --etcd-key beside it")),
            (None, Some(_)) => return Err(invalid("--etcd-key", "needs --etcd-cert beside it")),
        };
        let ca = self.ca.map(|path| read_certificates(&path)).transpose()?;
        Ok(EtcdAccess { user, ca, identity })
    }
}

/// Whether the endpoints are https; all or none must be. Errors do not quote them: people write passwords into them.
fn check_endpoints(endpoints: &[String]) -> Result<bool, ConfigError> {
    const OPTION: &str = "--etcd-endpoints";
    let mut schemes = Vec::new();
    for (number, endpoint) in (1..).zip(endpoints) {
        let wrong = |what: &str| invalid(OPTION, &format!("number {number} {what}"));
        let uri: Uri =
            endpoint.parse().map_err(|_| wrong("is no URL: write http://host:port or https://host:port"))?;
        let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"));
        schemes.push(scheme.map(str::to_owned).ok_or_else(|| wrong("needs http:// or https:// in front"))?);
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(wrong(
                "holds a user: give it by --etcd-user, and its password by --etcd-password-file or the environment \
                 variable KRAKE_ETCD_PASSWORD",
            ));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("must end after the port"));
        }
    }
    schemes.dedup();
    match schemes.as_slice() {
        [] => Err(invalid(OPTION, "names no address")),
        [scheme] => Ok(scheme == "https"),
        _ => Err(invalid(OPTION, "let all of them begin with http://, or all with https://")),
    }
}

fn text(path: &Path) -> Result<String, ConfigError> {
    read_small_text(path)
}

fn invalid(option: &'static str, message: &str) -> ConfigError {
    ConfigError::Invalid { option, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etcd(endpoint: &str) -> StoreArgs {
        StoreArgs { etcd_endpoints: Some(vec![endpoint.to_owned()]), ..StoreArgs::default() }
    }

    fn refused(args: StoreArgs) -> String {
        args.resolve_with(StoreArgs::default(), None).unwrap_err().to_string()
    }

    fn access(args: StoreArgs, password: Option<&str>) -> EtcdAccess {
        match args.resolve_with(StoreArgs::default(), password.map(str::to_owned)).unwrap() {
            StoreConfig::Etcd { access, .. } => access,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn credentials_come_from_files_and_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        assert_eq!(access(etcd("http://e:2379"), Some("unused")), EtcdAccess::default());
        let user = || StoreArgs { etcd_user: Some("krake".into()), ..etcd("https://e:2379") };
        let from_environment = access(user(), Some(" s3cret "));
        assert_eq!(from_environment.user, Some(("krake".into(), Secret::from(" s3cret ".to_owned()))));
        let certificate = || rcgen::generate_simple_self_signed(Vec::new()).unwrap().cert.pem();
        let (ca, cert) = (certificate(), certificate());
        let args = StoreArgs {
            etcd_password_file: file("password", "pass word\r\n"),
            etcd_ca: file("ca", &ca),
            etcd_cert: file("cert", &cert),
            etcd_key: file("key", "s3cret"),
            ..user()
        };
        let all = access(args, Some("not this one"));
        let secret = |text: &str| Secret::from(text.to_owned());
        assert_eq!(all.user, Some(("krake".into(), secret("pass word"))));
        assert_eq!((all.ca, all.identity), (Some(ca.into()), Some((cert.into(), secret("s3cret")))));
        let without = StoreArgs { etcd_ca: file("key.pem", "no authority"), ..etcd("https://e:2379") };
        assert!(refused(without).contains("key.pem"));
    }

    #[test]
    fn what_cannot_work_names_the_option_and_quotes_nothing() {
        let path = || Some(PathBuf::from("/nowhere"));
        let https = || etcd("https://e:2379");
        let user = || Some("krake".to_owned());
        let cases = [
            (StoreArgs { etcd_user: user(), ..https() }, "--etcd-user: needs a password"),
            (StoreArgs { etcd_password_file: path(), ..https() }, "--etcd-password-file: needs --etcd-user"),
            (StoreArgs { etcd_cert: path(), ..https() }, "--etcd-cert: needs --etcd-key"),
            (StoreArgs { etcd_key: path(), ..https() }, "--etcd-key: needs --etcd-cert"),
            (StoreArgs { etcd_ca: path(), ..etcd("http://e:1") }, "--etcd-ca: is for TLS"),
            (StoreArgs { etcd_ca: path(), ..https() }, "cannot read /nowhere"),
            (etcd("http://krake:s3cret@e:2379"), "--etcd-endpoints: number 1 holds a user"),
            (etcd("krake:s3cret@e:2379"), "--etcd-endpoints: number 1"),
            (etcd("ftp://s3cret"), "--etcd-endpoints: number 1 needs http://"),
            (etcd("https://e:2379/s3cret"), "--etcd-endpoints: number 1 must end"),
            (
                StoreArgs { etcd_endpoints: Some(vec!["http://e".into(), "https://f".into()]), ..etcd("") },
                "--etcd-endpoints: let all",
            ),
            (StoreArgs { etcd_endpoints: Some(vec![]), ..etcd("") }, "--etcd-endpoints: names no"),
        ];
        for (args, begins) in cases {
            let error = refused(args);
            assert!(error.starts_with(begins) && !error.contains("s3cret"), "{error}");
        }
    }
}
