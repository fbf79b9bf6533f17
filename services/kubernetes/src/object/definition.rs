//! Custom resource definitions: which kinds a manifest brings along, and whether a cluster serves them yet. Pure.

use kube::core::{ApiResource, GroupVersion};
use serde_json::Value;

use crate::cluster::discovery::ResolvedKind;
use crate::object::{ObjectKey, field, text};

const GROUP: &str = "apiextensions.k8s.io/";

/// Whether the object is a custom resource definition.
pub(crate) fn is_definition(key: &ObjectKey) -> bool {
    key.kind == "CustomResourceDefinition" && key.api_version.starts_with(GROUP)
}

/// A kind that the cluster does not serve yet, if a definition in the same manifest promises it.
pub(crate) fn promised(manifest: &[Value], api_version: &str, kind: &str) -> Option<ResolvedKind> {
    let wanted: GroupVersion = api_version.parse().ok()?;
    let mut definitions = manifest.iter().filter(|document| {
        text(document, &["kind"]) == Some("CustomResourceDefinition")
            && text(document, &["apiVersion"]).is_some_and(|version| version.starts_with(GROUP))
    });
    definitions.find_map(|definition| {
        let spec = field(definition, &["spec"])?;
        let fits = text(spec, &["group"])? == wanted.group
            && text(spec, &["names", "kind"])? == kind
            && serves(spec, &wanted.version);
        let resource = ApiResource {
            group: wanted.group.clone(),
            version: wanted.version.clone(),
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            plural: text(spec, &["names", "plural"])?.to_owned(),
        };
        // Version v1beta1 of definitions takes namespaces for granted.
        let namespaced = text(spec, &["scope"]) != Some("Cluster");
        fits.then_some(ResolvedKind { resource, namespaced, watchable: true, promised: true })
    })
}

/// The kind of a live definition, in the first version that is served of it.
pub(crate) fn served_kind(definition: &Value) -> Option<ResolvedKind> {
    let spec = field(definition, &["spec"])?;
    let versions = field(spec, &["versions"])?.as_array()?;
    let mut names = versions.iter().filter_map(|version| text(version, &["name"]));
    let version = names.find(|name| serves(spec, name))?;
    let group = text(spec, &["group"])?;
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: format!("{group}/{version}"),
        kind: text(spec, &["names", "kind"])?.to_owned(),
        plural: text(spec, &["names", "plural"])?.to_owned(),
    };
    let namespaced = text(spec, &["scope"]) != Some("Cluster");
    Some(ResolvedKind { resource, namespaced, watchable: true, promised: false })
}

fn serves(spec: &Value, version: &str) -> bool {
    let versions = field(spec, &["versions"]).and_then(Value::as_array).into_iter().flatten();
    let mut served =
        versions.filter(|entry| field(entry, &["served"]).and_then(Value::as_bool).unwrap_or(true));
    served.any(|entry| text(entry, &["name"]) == Some(version)) || text(spec, &["version"]) == Some(version)
}

/// Whether the cluster serves what a live definition defines.
pub(crate) fn established(definition: &Value) -> bool {
    condition(definition, "Established") == Some("True")
}

/// Whether the cluster does not serve what a live definition defines, and never did, as others have its names.
pub(crate) fn has_no_names(definition: &Value) -> bool {
    condition(definition, "NamesAccepted") == Some("False")
        && condition(definition, "Established") == Some("False")
}

/// The status of a condition.
fn condition<'a>(definition: &'a Value, name: &str) -> Option<&'a str> {
    let conditions = field(definition, &["status", "conditions"])?.as_array()?;
    let found = conditions.iter().find(|condition| text(condition, &["type"]) == Some(name));
    text(found?, &["status"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn definition(scope: &str) -> Value {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "tubs.example.org"},
            "spec": {"group": "example.org", "scope": scope, "names": {"kind": "Tub", "plural": "tubs"},
                "versions": [{"name": "v1", "served": true}, {"name": "v0", "served": false}]}})
    }

    #[test]
    fn a_manifest_promises_the_kinds_that_it_defines() {
        let manifest = [json!({"apiVersion": "v1", "kind": "ConfigMap"}), definition("Namespaced")];
        let tub = promised(&manifest, "example.org/v1", "Tub").unwrap();
        assert_eq!((tub.resource.plural.as_str(), tub.namespaced, tub.promised), ("tubs", true, true));
        assert!(!promised(&[definition("Cluster")], "example.org/v1", "Tub").unwrap().namespaced);
        for (version, kind) in
            [("example.org/v0", "Tub"), ("example.org/v1", "Pot"), ("other.org/v1", "Tub"), ("v1", "Tub")]
        {
            assert_eq!(promised(&manifest, version, kind), None, "{version} {kind}");
        }
    }

    #[test]
    fn established_only_by_its_condition() {
        let with =
            |status: &str| json!({"status": {"conditions": [{"type": "Established", "status": status}]}});
        assert!(established(&with("True")));
        assert!(!established(&with("False")) && !established(&json!({})));
        let named = |names: &str, established: &str| {
            let named = json!({"type": "NamesAccepted", "status": names});
            let served = json!({"type": "Established", "status": established});
            json!({"status": {"conditions": [named, served]}})
        };
        assert!(has_no_names(&named("False", "False")));
        // It is being installed, or was before its names were disputed.
        let others = [named("True", "False"), named("False", "True"), with("False"), json!({})];
        assert!(!others.iter().any(has_no_names));
    }
}
