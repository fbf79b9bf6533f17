//! Which kinds a cluster serves, and whether their objects live in namespaces.
//!
//! Asked per API version (`GET /apis/apps/v1`) and remembered. Whole-server discovery would be one failing aggregated API
//! (a broken metrics server, say) away from knowing nothing, and its aggregated form returns nothing on old servers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIResource, APIResourceList};
use kube::core::{ApiResource, GroupVersion};
use tokio::time::Instant;

use crate::cluster::connection::Connection;
use crate::error::ClusterError;

/// A kind that is missing is asked for again, but not more often than this.
const REFRESH: Duration = Duration::from_secs(2);
/// A question that failed is not repeated before this.
const REPEAT: Duration = Duration::from_secs(2);
/// Longest wait for an answer. An aggregated API that hangs must not use up the time for all other kinds.
const PATIENCE: Duration = Duration::from_secs(5);
/// The version of the core group.
const CORE: &str = "v1";
/// What is needed to deploy objects of a kind.
const NEEDED_VERBS: [&str; 4] = ["get", "create", "patch", "delete"];

/// A kind as a cluster serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedKind {
    /// Group, version, kind and plural name.
    pub resource: ApiResource,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether its objects can be listed and watched.
    pub watchable: bool,
    /// Not served yet: a custom resource definition that is applied together with the objects promises it.
    pub promised: bool,
}

/// A kind could not be resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// The cluster does not serve the kind, or not in a way that lets it be deployed.
    #[error("{kind} resources of {api_version} are not supported by the cluster{why}")]
    Unsupported {
        /// `apps/v1`, …
        api_version: String,
        /// `Deployment`, …
        kind: String,
        /// Empty, or what is missing.
        why: String,
    },
    /// It could not be found out. [`ClusterError::NotFound`]: the cluster says both that it serves the API version and that it
    /// does not, as one does for a moment in which a definition is new.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

type Kinds = HashMap<String, Served>;

#[derive(Clone, Debug)]
struct Served {
    kind: ResolvedKind,
    missing_verb: Option<&'static str>,
}

struct Asked {
    at: Instant,
    answer: Result<Arc<Kinds>, ClusterError>,
}

/// The kinds of one cluster, as far as anybody asked for them.
pub struct Discovery {
    connection: Connection,
    // One lock per API version: whoever waits for the same question shares its answer.
    versions: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<Asked>>>>>,
}

impl Discovery {
    /// Nothing known yet.
    pub fn new(connection: Connection) -> Self {
        Self { connection, versions: Mutex::default() }
    }

    /// The kind as the cluster serves it. A kind that is not there is looked for again at most every 2 s, so that a new
    /// custom resource definition is found.
    pub async fn resolve(&self, api_version: &str, kind: &str) -> Result<ResolvedKind, DiscoveryError> {
        let slot = {
            let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(versions.entry(api_version.to_owned()).or_default())
        };
        let mut asked = slot.lock().await;
        let valid = asked.as_ref().is_some_and(|asked| match &asked.answer {
            Ok(kinds) => kinds.contains_key(kind) || asked.at.elapsed() < REFRESH,
            Err(_) => asked.at.elapsed() < REPEAT,
        });
        if !valid {
            let answer = self.ask(api_version).await.map(Arc::new);
            *asked = Some(Asked { at: Instant::now(), answer });
        }
        let unsupported = |why: String| DiscoveryError::Unsupported {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            why,
        };
        let kinds = match asked.as_ref().map(|asked| &asked.answer) {
            Some(Ok(kinds)) => kinds,
            Some(Err(error)) => return Err(error.clone().into()),
            None => return Err(unsupported(String::new())),
        };
        match kinds.get(kind) {
            None => Err(unsupported(String::new())),
            Some(Served { missing_verb: Some(verb), .. }) => Err(unsupported(format!(": no `{verb}`"))),
            Some(Served { kind, .. }) => Ok(kind.clone()),
        }
    }

    /// The kind in this version or, if that is not served, in any other of its group: a cluster serves each object in all of
    /// them. For objects that exist already.
    pub async fn resolve_any_version(
        &self,
        api_version: &str,
        kind: &str,
    ) -> Result<ResolvedKind, DiscoveryError> {
        let unsupported = match self.resolve(api_version, kind).await {
            Err(unsupported @ DiscoveryError::Unsupported { .. }) => unsupported,
            answer => return answer,
        };
        let Some((group, _)) = api_version.rsplit_once('/') else { return Err(unsupported) };
        for version in self.versions_of(group).await? {
            match self.resolve(&version, kind).await {
                Err(DiscoveryError::Unsupported { .. }) => {}
                answer => return answer,
            }
        }
        Err(unsupported)
    }

    /// The API versions that are served of a group; none if it is not served.
    async fn versions_of(&self, group: &str) -> Result<Vec<String>, ClusterError> {
        let groups = self.connection.call(self.connection.client().list_api_groups()).await?;
        let found = groups.groups.into_iter().find(|served| served.name == group);
        let versions = found.into_iter().flat_map(|served| served.versions);
        Ok(versions.map(|version| version.group_version).collect())
    }

    /// Forgets what is known of an API version: it is about to change.
    pub fn forget(&self, api_version: &str) {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).remove(api_version);
    }

    /// Forgets what is known of an API version, unless it is being asked for, or was a moment ago: many may want that at once.
    pub fn renew(&self, api_version: &str) {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |asked: &Option<Asked>| asked.as_ref().is_none_or(|asked| asked.at.elapsed() >= REFRESH);
        if versions.get(api_version).is_some_and(|slot| slot.try_lock().is_ok_and(|asked| is_old(&asked))) {
            versions.remove(api_version);
        }
    }

    async fn ask(&self, api_version: &str) -> Result<Kinds, ClusterError> {
        let answer = tokio::time::timeout(PATIENCE, self.ask_at_length(api_version)).await;
        answer.unwrap_or_else(|_| {
            let seconds = PATIENCE.as_secs();
            Err(ClusterError::Unreachable(format!(
                "it does not tell within {seconds} s which kinds {api_version} has"
            )))
        })
    }

    async fn ask_at_length(&self, api_version: &str) -> Result<Kinds, ClusterError> {
        let Ok(version) = api_version.parse::<GroupVersion>() else {
            return Ok(Kinds::new());
        };
        let client = self.connection.client();
        let answer = if version.group.is_empty() {
            self.connection.call(client.list_core_api_resources(&version.version)).await
        } else {
            self.connection.call(client.list_api_group_resources(api_version)).await
        };
        match answer {
            Ok(list) if list.resources.is_empty() => Err(ClusterError::Unreachable(format!(
                "its list of the resources of {api_version} is empty, which no Kubernetes API answers"
            ))),
            Ok(list) => Ok(served(&version, list)),
            // What stands before the API server answers so, or one of several behind it that is no API server.
            Err(ClusterError::NotFound(_)) if api_version == CORE => Err(ClusterError::Unreachable(format!(
                "it answers that there is no {CORE}, which every Kubernetes API serves"
            ))),
            Err(ClusterError::NotFound(_)) if self.is_listed(&version).await? => Err(ClusterError::NotFound(
                format!("it lists {api_version} and answers that there is none").into(),
            )),
            Err(ClusterError::NotFound(_)) => Ok(Kinds::new()),
            Err(error) => Err(error),
        }
    }

    /// Whether the cluster says that it serves an API version of a named group.
    async fn is_listed(&self, version: &GroupVersion) -> Result<bool, ClusterError> {
        if version.group.is_empty() {
            return Ok(false);
        }
        Ok(self.versions_of(&version.group).await?.contains(&version.api_version()))
    }
}

fn served(version: &GroupVersion, list: APIResourceList) -> Kinds {
    let resources = list.resources.into_iter().filter(|resource| !resource.name.contains('/'));
    resources
        .map(|resource| {
            let missing_verb = NEEDED_VERBS.into_iter().find(|verb| !offers(&resource, verb));
            let kind = resolved(version, &resource);
            (resource.kind, Served { kind, missing_verb })
        })
        .collect()
}

/// The kinds of an API version whose objects can be listed and deleted.
pub(crate) fn listable(version: &GroupVersion, list: APIResourceList) -> Vec<ResolvedKind> {
    let resources = list.resources.into_iter().filter(|resource| !resource.name.contains('/'));
    let fit = resources.filter(|resource| offers(resource, "list") && offers(resource, "delete"));
    fit.map(|resource| resolved(version, &resource)).collect()
}

fn offers(resource: &APIResource, verb: &str) -> bool {
    resource.verbs.iter().any(|offered| offered == verb)
}

fn resolved(version: &GroupVersion, resource: &APIResource) -> ResolvedKind {
    ResolvedKind {
        namespaced: resource.namespaced,
        watchable: offers(resource, "list") && offers(resource, "watch"),
        promised: false,
        resource: ApiResource {
            group: version.group.clone(),
            version: version.version.clone(),
            api_version: version.api_version(),
            kind: resource.kind.clone(),
            plural: resource.name.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::recorded::{Recorded, releases};
    use crate::cluster::scripted::{Scripted, failure, not_served};
    use rstest::rstest;
    use serde_json::{Value, json};

    fn groups() -> (u16, Value) {
        (200, json!({"kind": "APIGroupList", "groups": []}))
    }

    /// What becomes of a kind while the server answers like this, but for the list of its groups.
    async fn resolved(
        answer: fn() -> (u16, Value),
        api_version: &str,
    ) -> Result<ResolvedKind, DiscoveryError> {
        let cluster = Scripted::new(move |asked| if asked.line == "GET /apis" { groups() } else { answer() });
        let discovery = Discovery::new(cluster.connection.clone());
        discovery.resolve_any_version(api_version, "ConfigMap").await
    }

    #[rstest]
    #[case::of_something_else(not_served)]
    #[case::with_a_status(|| failure(404, "NotFound", "not found"))]
    #[tokio::test]
    async fn that_the_core_group_is_not_found_is_trouble_and_not_absence(
        #[case] answer: fn() -> (u16, Value),
    ) {
        let error = resolved(answer, "v1").await.unwrap_err();
        let DiscoveryError::Cluster(trouble) = &error else { panic!("absent: {error}") };
        assert!(!trouble.answered(), "{trouble}");
        // Other groups, and versions of it that nobody serves, may be absent.
        for api_version in ["v2", "gone.example/v1"] {
            let error = resolved(answer, api_version).await.unwrap_err();
            assert!(matches!(error, DiscoveryError::Unsupported { .. }), "{api_version}: {error}");
        }
    }

    #[tokio::test]
    async fn a_group_that_is_listed_and_not_found_is_trouble_and_not_absence() {
        let listed = || {
            let version = json!({"groupVersion": "apps/v1", "version": "v1"});
            let group = json!({"name": "apps", "versions": [version], "preferredVersion": version});
            (200, json!({"kind": "APIGroupList", "groups": [group]}))
        };
        let cluster =
            Scripted::new(move |asked| if asked.line == "GET /apis" { listed() } else { not_served() });
        let discovery = Discovery::new(cluster.connection.clone());
        let error = discovery.resolve_any_version("apps/v1", "Deployment").await.unwrap_err();
        assert!(matches!(error, DiscoveryError::Cluster(ClusterError::NotFound(_))), "{error}");
        let error = discovery.resolve_any_version("apps/v1beta1", "Deployment").await.unwrap_err();
        assert!(matches!(error, DiscoveryError::Cluster(ClusterError::NotFound(_))), "{error}");
        let error = discovery.resolve("gone.example/v1", "Deployment").await.unwrap_err();
        assert!(matches!(error, DiscoveryError::Unsupported { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_kind_that_the_core_group_does_not_list_is_absent() {
        let list = || {
            let pods = json!({"name": "pods", "kind": "Pod", "namespaced": true, "singularName": "pod", "verbs": []});
            (200, json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": [pods]}))
        };
        let error = resolved(list, "v1").await.unwrap_err();
        assert!(matches!(error, DiscoveryError::Unsupported { .. }), "{error}");
    }

    /// A cluster that answers discovery as a release did; its other API versions are not served.
    fn release(recorded: &Recorded) -> Discovery {
        let (groups, apps) = (recorded.groups.clone(), recorded.apps.clone());
        let cluster = Scripted::new(move |asked| match asked.line.as_str() {
            "GET /apis" => (200, groups.clone()),
            "GET /apis/apps/v1" => (200, apps.clone()),
            _ => not_served(),
        });
        Discovery::new(cluster.connection.clone())
    }

    #[tokio::test]
    async fn recorded_answers_of_all_releases() {
        for recorded in releases() {
            let (discovery, release) = (release(&recorded), &recorded.version);
            for api_version in ["apps/v1", "apps/v1beta1"] {
                let kind = discovery.resolve_any_version(api_version, "Deployment").await.unwrap();
                assert_eq!(
                    (kind.resource.api_version.as_str(), kind.resource.plural.as_str()),
                    ("apps/v1", "deployments"),
                    "{release}"
                );
                assert!(kind.namespaced && kind.watchable && !kind.promised, "{release}");
            }
            // Autoscalers of version 2 are there from 1.23 on: listed, and here without an answer.
            let scaler = discovery.resolve("autoscaling/v2", "HorizontalPodAutoscaler").await.unwrap_err();
            let is_trouble = matches!(scaler, DiscoveryError::Cluster(ClusterError::NotFound(_)));
            assert_eq!(is_trouble, release != "v1.20.2", "{release}: {scaler}");
            let gone = discovery.resolve("extensions/v1beta1", "Deployment").await.unwrap_err();
            let is_absent = matches!(gone, DiscoveryError::Unsupported { .. });
            assert_eq!(is_absent, release != "v1.20.2", "{release}: {gone}");
        }
    }
}
