//! Where the executables of real components are, and what happens when one is missing.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A real component that a test may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The key-value store.
    Etcd,
    /// The key-value store in version 3.5, beside the other one.
    Etcd35,
    /// The metrics server.
    Prometheus,
    /// kube-apiserver, kube-controller-manager, kube-scheduler and kubemark. Their data is in etcd: [`Component::Etcd35`].
    Kubernetes,
    /// The command line client of Kubernetes.
    Kubectl,
    /// The general gRPC client, by reflection.
    Grpcurl,
    /// The OpenTelemetry collector.
    Otlp,
    /// Python with upstream's client library and a validator of OpenAPI documents.
    Python,
}

impl Component {
    fn executables(self) -> &'static [&'static str] {
        match self {
            Self::Etcd => &["etcd", "etcdctl"],
            Self::Etcd35 => &["etcd-3.5"],
            Self::Prometheus => &["prometheus"],
            // openssl makes the key pair for service account tokens.
            Self::Kubernetes => {
                &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubemark", "openssl"]
            }
            Self::Kubectl => &["kubectl"],
            Self::Grpcurl => &["grpcurl"],
            Self::Otlp => &["rotel-agent"],
            Self::Python => &["krake-test-python"],
        }
    }

    fn set_up(self) -> &'static str {
        match self {
            Self::Etcd35 => "tests/setup/etcd.sh",
            Self::Kubernetes => "tests/setup/kubernetes.sh",
            Self::Python => "tests/setup/python-client.sh",
            _ => "tests/setup/install.sh",
        }
    }
}

/// Proof that the components asked for are on this machine.
#[derive(Debug, Clone)]
pub struct Binaries {
    folders: Vec<PathBuf>,
}

/// Finds `components` in `$KUBEBUILDER_ASSETS`, the cache folder and on `PATH`, in this order.
///
/// Without one of them: panics if `KRAKE_REQUIRE_REAL` is set, so that no test passes by not running; else says on
/// standard error that the test is skipped and why, and answers `None`.
pub fn require(components: &[Component]) -> Option<Binaries> {
    let may_skip = std::env::var_os("KRAKE_REQUIRE_REAL").is_none();
    Binaries { folders: folders() }.holding(components, may_skip)
}

impl Binaries {
    /// The path of an executable by its name.
    pub fn path(&self, executable: &str) -> Result<PathBuf> {
        self.find(executable)
            .with_context(|| format!("no executable {executable}; was its component required?"))
    }

    fn holding(self, components: &[Component], may_skip: bool) -> Option<Self> {
        let Some(missing) = self.first_missing(components) else { return Some(self) };
        assert!(may_skip, "KRAKE_REQUIRE_REAL is set and {missing}");
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        eprintln!("SKIPPED {test}: {missing}");
        None
    }

    fn find(&self, executable: &str) -> Option<PathBuf> {
        self.folders.iter().map(|folder| folder.join(executable)).find(|path| is_executable(path))
    }

    /// What is missing and how to get it.
    fn first_missing(&self, components: &[Component]) -> Option<String> {
        components.iter().find_map(|component| {
            let executable =
                component.executables().iter().find(|executable| self.find(executable).is_none())?;
            let set_up = component.set_up();
            Some(format!(
                "{executable} is not in $KUBEBUILDER_ASSETS, the cache folder or PATH; run {set_up}"
            ))
        })
    }
}

fn folders() -> Vec<PathBuf> {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let cache = std::env::var_os("KRAKE_TEST_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/krake-test")))
        .map(|cache| cache.join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    assets.into_iter().chain(cache).chain(std::env::split_paths(&path)).collect()
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder;

    fn put(folder: &Path, executable: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.join(executable);
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn earlier_folder_wins_and_data_files_do_not_count() {
        let (first, second) = (folder::create("first").unwrap(), folder::create("second").unwrap());
        put(first.path(), "etcd", 0o755);
        put(second.path(), "etcd", 0o755);
        put(second.path(), "etcdctl", 0o755);
        put(first.path(), "prometheus", 0o644);
        put(second.path(), "prometheus", 0o755);
        let binaries = Binaries { folders: vec![first.path().into(), second.path().into()] };
        assert_eq!(binaries.path("etcd").unwrap(), first.path().join("etcd"));
        assert_eq!(binaries.path("prometheus").unwrap(), second.path().join("prometheus"));
        assert_eq!(binaries.first_missing(&[Component::Etcd, Component::Prometheus]), None);
    }

    #[test]
    fn a_test_without_its_components_is_skipped() {
        assert!(Binaries { folders: vec![] }.holding(&[Component::Etcd], true).is_none());
        assert!(Binaries { folders: vec![] }.holding(&[], true).is_some());
    }

    #[test]
    #[should_panic(expected = "etcd is not in")]
    fn where_real_components_are_required_nothing_is_skipped() {
        Binaries { folders: vec![] }.holding(&[Component::Etcd], false);
    }

    #[test]
    fn one_missing_executable_is_named_with_the_cure() {
        let folder = folder::create("some").unwrap();
        for executable in ["kube-apiserver", "kube-scheduler", "openssl", "kubemark"] {
            put(folder.path(), executable, 0o755);
        }
        let missing =
            Binaries { folders: vec![folder.path().into()] }.first_missing(&[Component::Kubernetes]).unwrap();
        assert!(missing.contains("kube-controller-manager") && missing.contains("tests/setup/kubernetes.sh"));
    }
}
