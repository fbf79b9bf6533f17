//! Reading a stored kubeconfig: exactly one context, and nothing that reaches outside of the document.
//!
//! Stored kubeconfigs come from users. One that names files or programs would make the adapter read its own disk or run
//! commands for them, so those fields are refused by name. No error quotes a value: it could be a credential.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::Kubeconfig;
use serde_json::Value;

/// A kubeconfig that cannot be used. Names the field, never its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KubeconfigError {
    /// Not exactly one context, cluster or user.
    #[error("kubeconfig: `{field}` must have exactly one entry, it has {found}")]
    NotOne {
        /// `contexts`, `clusters` or `users`.
        field: &'static str,
        /// How many there are.
        found: usize,
    },
    /// A field that reaches outside of the document.
    #[error("kubeconfig: `{field}` is not allowed in a stored kubeconfig; {instead}")]
    Outside {
        /// Path of the field.
        field: String,
        /// What to do.
        instead: &'static str,
    },
    /// A field is missing or of the wrong form.
    #[error("kubeconfig: `{field}` {problem}")]
    Invalid {
        /// Path of the field.
        field: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// Everything is there, but certificate, key or URL cannot be used.
    #[error("kubeconfig: {0}")]
    Unusable(String),
}

/// Fields of `clusters[0].cluster` that reach outside.
const CLUSTER_OUTSIDE: &[(&str, &str)] = &[
    ("certificate-authority", "use `certificate-authority-data`"),
    ("proxy-url", "proxies are not supported; the API server must be reachable directly"),
];

/// Fields of `users[0].user` that reach outside.
const USER_OUTSIDE: &[(&str, &str)] = &[
    ("client-certificate", "use `client-certificate-data`"),
    ("client-key", "use `client-key-data`"),
    ("tokenFile", "use `token`"),
    ("exec", "use a token or a client certificate, for example of a service account"),
    ("auth-provider", "use a token or a client certificate, for example of a service account"),
];

/// Checks a kubeconfig and makes its only context the current one.
pub(crate) fn parse(document: &Value) -> Result<Kubeconfig, KubeconfigError> {
    let cluster = only(document, "clusters", "cluster")?;
    let user = only(document, "users", "user")?;
    let context = only(document, "contexts", "context")?;
    refuse("clusters[0].cluster", cluster.body, CLUSTER_OUTSIDE)?;
    refuse("users[0].user", user.body, USER_OUTSIDE)?;

    let server = cluster.body.get("server").and_then(Value::as_str).unwrap_or_default();
    let address = server.parse::<http::Uri>().ok();
    if !address.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
    {
        let problem = "must be the URL of an API server, for example https://cluster.example:6443";
        return Err(KubeconfigError::Invalid { field: "clusters[0].cluster.server", problem });
    }
    if context.body.get("cluster").and_then(Value::as_str) != Some(cluster.name) {
        let problem = "must name the only cluster";
        return Err(KubeconfigError::Invalid { field: "contexts[0].context.cluster", problem });
    }
    if context.body.get("user").and_then(Value::as_str) != Some(user.name) {
        let problem = "must name the only user";
        return Err(KubeconfigError::Invalid { field: "contexts[0].context.user", problem });
    }
    let current = document.get("current-context").and_then(Value::as_str).unwrap_or_default();
    if !current.is_empty() && current != context.name {
        let problem = "must name the only context, or be left out";
        return Err(KubeconfigError::Invalid { field: "current-context", problem });
    }

    let mut parsed: Kubeconfig = serde_json::from_value(document.clone()).map_err(|_| {
        KubeconfigError::Invalid { field: "kubeconfig", problem: "has a field of the wrong type" }
    })?;
    parsed.current_context = Some(context.name.to_owned());
    Ok(parsed)
}

/// The certificate authorities of a checked kubeconfig, as PEM.
pub(crate) fn authorities(config: &Kubeconfig) -> Option<Vec<u8>> {
    let cluster = config.clusters.first()?.cluster.as_ref()?;
    STANDARD.decode(cluster.certificate_authority_data.as_ref()?).ok()
}

struct Entry<'a> {
    name: &'a str,
    body: &'a Value,
}

fn only<'a>(document: &'a Value, list: &'static str, body: &str) -> Result<Entry<'a>, KubeconfigError> {
    let entries = document.get(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let [entry] = entries else {
        return Err(KubeconfigError::NotOne { field: list, found: entries.len() });
    };
    let missing = KubeconfigError::Invalid { field: list, problem: "has an entry without name or body" };
    match (entry.get("name").and_then(Value::as_str), entry.get(body)) {
        (Some(name), Some(body)) if body.is_object() => Ok(Entry { name, body }),
        _ => Err(missing),
    }
}

fn refuse(path: &str, body: &Value, outside: &[(&str, &'static str)]) -> Result<(), KubeconfigError> {
    for (name, instead) in outside {
        if body.get(name).is_some_and(|value| !value.is_null() && value != "") {
            return Err(KubeconfigError::Outside { field: format!("{path}.{name}"), instead });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn valid() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": "https://192.0.2.7:6443"}}],
            "users": [{"name": "u", "user": {"token": "s3cret"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "demo"}}]
        })
    }

    #[test]
    fn the_only_context_becomes_the_current_one() {
        assert_eq!(parse(&valid()).unwrap().current_context.as_deref(), Some("x"));
    }

    #[rstest]
    #[case("/clusters/0/cluster/certificate-authority", "clusters[0].cluster.certificate-authority")]
    #[case("/clusters/0/cluster/proxy-url", "clusters[0].cluster.proxy-url")]
    #[case("/users/0/user/client-certificate", "users[0].user.client-certificate")]
    #[case("/users/0/user/client-key", "users[0].user.client-key")]
    #[case("/users/0/user/tokenFile", "users[0].user.tokenFile")]
    #[case("/users/0/user/exec", "users[0].user.exec")]
    #[case("/users/0/user/auth-provider", "users[0].user.auth-provider")]
    fn what_reaches_outside_is_refused_by_name(#[case] pointer: &str, #[case] field: &str) {
        let mut document = valid();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        document.pointer_mut(parent).unwrap()[name] = json!("/etc/passwd");
        let Err(KubeconfigError::Outside { field: refused, .. }) = parse(&document) else {
            panic!("{field} accepted");
        };
        assert_eq!(refused, field);
    }

    #[rstest]
    #[case("contexts")]
    #[case("clusters")]
    #[case("users")]
    fn exactly_one_of_each(#[case] field: &'static str) {
        let mut two = valid();
        let entry = two[field][0].clone();
        two[field].as_array_mut().unwrap().push(entry);
        assert_eq!(parse(&two).unwrap_err(), KubeconfigError::NotOne { field, found: 2 });
        let mut none = valid();
        none[field] = json!([]);
        assert_eq!(parse(&none).unwrap_err(), KubeconfigError::NotOne { field, found: 0 });
    }

    #[rstest]
    #[case("/clusters/0/cluster/server", json!("file:///etc/passwd"), "clusters[0].cluster.server")]
    #[case("/clusters/0/cluster/server", json!(null), "clusters[0].cluster.server")]
    #[case("/contexts/0/context/cluster", json!("other"), "contexts[0].context.cluster")]
    #[case("/contexts/0/context/user", json!("other"), "contexts[0].context.user")]
    fn what_is_wrong_is_named(#[case] pointer: &str, #[case] value: Value, #[case] expected: &str) {
        let mut document = valid();
        *document.pointer_mut(pointer).unwrap() = value;
        let Err(KubeconfigError::Invalid { field, .. }) = parse(&document) else { panic!("accepted") };
        assert_eq!(field, expected);
    }

    #[test]
    fn errors_never_quote_values() {
        let mut document = valid();
        document["users"][0]["user"]["token"] = json!({"nested": "s3cret"});
        document["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = json!("s3cret");
        assert!(!parse(&document).unwrap_err().to_string().contains("s3cret"));
    }
}
