//! Which server, which namespace, which certificates: flags, then environment, then `rok.yaml`, then defaults.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::args::Connection;
use crate::failure::Failure;
use crate::input;
use crate::terminal::notice;
use crate::yaml;

const FILE_NAME: &str = "rok.yaml";
const DEFAULT_API_URL: &str = "http://127.0.0.1:7700";
const DEFAULT_USER: &str = "system:admin";

/// `rok.yaml`.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct File {
    /// URL of the state service.
    api_url: Option<String>,
    /// The default namespace.
    user: Option<String>,
    tls: Tls,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Tls {
    enabled: bool,
    client_ca: Option<PathBuf>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
}

/// What commands need to know.
#[derive(Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) api_url: String,
    /// The namespace where a command names none.
    pub(crate) namespace: String,
    /// PEM files.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

/// Finds and reads the file and lets flags and environment have their say.
pub(crate) fn load(connection: &Connection) -> Result<Settings, Failure> {
    let (file, folder) = match &connection.config {
        Some(path) => (read(path)?, path.parent()),
        None => match find(places())? {
            Some(path) => return Ok(settings(connection, read(&path)?, path.parent())),
            None => (File::default(), None),
        },
    };
    Ok(settings(connection, file, folder))
}

/// Where the file may be; the first one found counts.
fn places() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || variable("HOME").map(|home| home.join(".config"));
    let folders = [Some(PathBuf::new()), variable("XDG_CONFIG_HOME").or_else(home), Some("/etc/rok".into())];
    folders.into_iter().flatten().map(|folder| folder.join(FILE_NAME)).collect()
}

/// The first place where something is. If that cannot be read, it is an error: without it, a command could reach another
/// server than the one that it names.
fn find(places: Vec<PathBuf>) -> Result<Option<PathBuf>, Failure> {
    for path in places {
        match path.symlink_metadata() {
            Ok(_) => return Ok(Some(path)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(unreadable(&path, &error)),
        }
    }
    Ok(None)
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::input(format!("cannot read {}: {error}", path.display()))
}

fn read(path: &Path) -> Result<File, Failure> {
    let shown = path.display();
    let text = input::text_file(path);
    let text = text.map_err(|error| unreadable(path, &error))?;
    parse(&text).map_err(|error| match error.line {
        Some(line) => Failure::input(format!("{shown}:{line}: {}", error.problem)),
        None => Failure::input(format!("{shown}: {}", error.problem)),
    })
}

fn parse(text: &str) -> Result<File, yaml::YamlError> {
    // An empty file is an empty object.
    let file: Option<File> = yaml::read(text)?;
    Ok(file.unwrap_or_default())
}

fn settings(connection: &Connection, file: File, folder: Option<&Path>) -> Settings {
    let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    let mut api_url =
        given(&connection.api_url).or(file.api_url).unwrap_or_else(|| DEFAULT_API_URL.to_owned());
    if file.tls.enabled
        && let Some(rest) = api_url.strip_prefix("http://")
    {
        notice(&format!("warning: tls is enabled, so https://{rest} is used instead of {api_url}"));
        api_url = format!("https://{rest}");
    }
    // Files that the file names are relative to it.
    let beside = |path: PathBuf| folder.map_or_else(|| path.clone(), |folder| folder.join(&path));
    let pem = |flag: &Option<PathBuf>, path: Option<PathBuf>| {
        flag.clone().or_else(|| path.filter(|_| file.tls.enabled).map(beside))
    };
    Settings {
        ca: pem(&connection.client_ca, file.tls.client_ca),
        cert: pem(&connection.client_cert, file.tls.client_cert),
        key: pem(&connection.client_key, file.tls.client_key),
        namespace: file.user.unwrap_or_else(|| DEFAULT_USER.to_owned()),
        api_url,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_go_before_the_file_and_the_file_before_defaults() {
        let file = || parse("api_url: http://file:1\nuser: alice\n").unwrap();
        let flags = Connection { api_url: Some("http://flag:2".into()), ..Connection::default() };
        assert_eq!(settings(&flags, file(), None).api_url, "http://flag:2");
        let from_file = settings(&Connection::default(), file(), None);
        assert_eq!((from_file.api_url.as_str(), from_file.namespace.as_str()), ("http://file:1", "alice"));
        let nothing = settings(&Connection::default(), parse("").unwrap(), None);
        assert_eq!(
            (nothing.api_url.as_str(), nothing.namespace.as_str()),
            ("http://127.0.0.1:7700", "system:admin")
        );
    }

    #[test]
    fn tls_files_lie_beside_the_file_and_count_when_enabled() {
        let text = "api_url: http://h:1\ntls: {enabled: true, client_ca: ca.pem, client_key: /abs/key.pem}";
        let folder = Some(Path::new("/etc/rok"));
        let on = settings(&Connection::default(), parse(text).unwrap(), folder);
        assert_eq!(on.api_url, "https://h:1");
        assert_eq!(on.ca.as_deref(), Some(Path::new("/etc/rok/ca.pem")));
        assert_eq!(on.key.as_deref(), Some(Path::new("/abs/key.pem")));
        let off = settings(&Connection::default(), parse(&text.replace("true", "false")).unwrap(), folder);
        assert_eq!((off.api_url.as_str(), off.ca), ("http://h:1", None));
    }

    #[test]
    fn the_first_place_where_something_is_counts_whatever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name).join(FILE_NAME);
        for name in ["directory", "dangling", "loop", "file"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        std::fs::create_dir(place("directory")).unwrap();
        std::os::unix::fs::symlink("nothing", place("dangling")).unwrap();
        std::os::unix::fs::symlink(place("loop"), place("loop")).unwrap();
        std::fs::write(place("file"), "").unwrap();
        let absent = || vec![place("none"), place("file").join("below")];
        assert_eq!(find(absent()).unwrap(), None);
        for name in ["directory", "dangling", "loop"] {
            let found = find([absent(), vec![place(name), place("file")]].concat()).unwrap().unwrap();
            let error = read(&found).unwrap_err().to_string();
            assert!(error.starts_with(&format!("cannot read {}: ", place(name).display())), "{error}");
        }
    }

    #[test]
    fn a_wrong_key_is_an_error_with_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rok.yaml");
        std::fs::write(&path, "user: alice\ntls:\n  enabled: true\n  client_cart: x\n").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}:4: ", path.display())), "{error}");
        assert!(error.contains("client_cart") && error.contains("client_cert"), "{error}");
        let missing = read(&folder.path().join("none.yaml")).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read "), "{missing}");
    }
}
