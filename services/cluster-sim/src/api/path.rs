//! What a path of the Kubernetes API names.

/// The meaning of a path below a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// `/version`
    Version,
    /// `/healthz`, `/livez`, `/readyz`
    Health,
    /// `/openapi/v2`
    OpenApi,
    /// `/api`
    CoreVersions,
    /// `/apis`
    Groups,
    /// `/apis/<group>`
    Group(String),
    /// `/api/v1`, `/apis/<group>/<version>`
    Resources { group: String, version: String },
    /// A collection, an object, or a part of one.
    Objects(Target),
}

impl Path {
    /// The collection or object that it names.
    pub(crate) fn target(&self) -> Option<&Target> {
        match self {
            Self::Objects(target) => Some(target),
            _ => None,
        }
    }

    /// The group, empty for the core group, and version that it is below.
    pub(crate) fn group_version(&self) -> Option<(&str, &str)> {
        match self {
            Self::Objects(Target { group, version, .. }) | Self::Resources { group, version } => {
                Some((group, version))
            }
            _ => None,
        }
    }
}

/// A collection or an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Empty for the core group.
    pub(crate) group: String,
    pub(crate) version: String,
    /// Absent for cluster-wide objects, and for collections over all namespaces.
    pub(crate) namespace: Option<String>,
    pub(crate) plural: String,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

/// Understands a path; `None` if no API server has such paths.
pub(crate) fn parse(path: &str) -> Option<Path> {
    let steps: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match steps.as_slice() {
        ["version"] => return Some(Path::Version),
        ["healthz" | "livez" | "readyz"] => return Some(Path::Health),
        ["openapi", "v2"] => return Some(Path::OpenApi),
        ["api"] => return Some(Path::CoreVersions),
        ["apis"] => return Some(Path::Groups),
        ["apis", group] => return Some(Path::Group((*group).to_owned())),
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let target = |namespace: Option<&str>, plural: &str, rest: &[&str]| Target {
        group: group.to_owned(),
        version: version.to_owned(),
        namespace: namespace.map(str::to_owned),
        plural: plural.to_owned(),
        name: rest.first().map(|name| (*name).to_owned()),
        subresource: (rest.len() > 1).then(|| rest[1..].join("/")),
    };
    Some(match rest {
        [] => Path::Resources { group: group.to_owned(), version: version.to_owned() },
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => {
            Path::Objects(target(None, rest[0], &rest[1..]))
        }
        ["namespaces", namespace, plural, rest @ ..] => Path::Objects(target(Some(namespace), plural, rest)),
        [plural, rest @ ..] => Path::Objects(target(None, plural, rest)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(path: &str) -> (Option<String>, String, Option<String>, Option<String>) {
        match parse(path) {
            Some(Path::Objects(Target { namespace, plural, name, subresource, .. })) => {
                (namespace, plural, name, subresource)
            }
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn namespaces_are_a_place_and_objects_themselves() {
        let some = |text: &str| Some(text.to_owned());
        let name = "namespaces".to_owned();
        assert_eq!(objects("/api/v1/namespaces"), (None, name.clone(), None, None));
        assert_eq!(objects("/api/v1/namespaces/a"), (None, name.clone(), some("a"), None));
        assert_eq!(objects("/api/v1/namespaces/a/status"), (None, name, some("a"), some("status")));
        assert_eq!(objects("/api/v1/namespaces/a/pods"), (some("a"), "pods".into(), None, None));
        let scale = "/apis/apps/v1/namespaces/a/deployments/d/scale";
        assert_eq!(objects(scale), (some("a"), "deployments".into(), some("d"), some("scale")));
        assert_eq!(objects("/apis/apps/v1/deployments"), (None, "deployments".into(), None, None));
    }

    #[test]
    fn discovery_has_paths_of_its_own() {
        let apps = Path::Resources { group: "apps".into(), version: "v1".into() };
        assert_eq!(parse("/apis/apps/v1"), Some(apps));
        assert_eq!(parse("/api/v1"), Some(Path::Resources { group: String::new(), version: "v1".into() }));
        assert_eq!(parse("/apis/"), Some(Path::Groups));
        assert_eq!(parse("/readyz"), Some(Path::Health));
        assert_eq!(parse("/nope"), None);
    }
}
