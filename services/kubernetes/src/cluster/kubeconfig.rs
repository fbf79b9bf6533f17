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

    check_authority(cluster.body)?;
    let context_name = context.name.to_owned();
    let mut document = document.clone();
    normalise(&mut document)?;
    let mut parsed: Kubeconfig = serde_json::from_value(document).map_err(|_| KubeconfigError::Invalid {
        field: "kubeconfig",
        problem: "has a field of the wrong type",
    })?;
    parsed.current_context = Some(context_name);
    Ok(parsed)
}

/// The certificate authorities of a checked kubeconfig, as PEM.
pub(crate) fn authorities(config: &Kubeconfig) -> Option<Vec<u8>> {
    let cluster = config.clusters.first()?.cluster.as_ref()?;
    STANDARD.decode(cluster.certificate_authority_data.as_ref()?).ok()
}

/// Refuses an authority that would not be heeded.
fn check_authority(cluster: &Value) -> Result<(), KubeconfigError> {
    let given = |name: &str| cluster.get(name).is_some_and(|value| !value.is_null() && *value != "");
    if cluster.get("insecure-skip-tls-verify") == Some(&Value::Bool(true))
        && given("certificate-authority-data")
    {
        let problem = "cannot be used together with `certificate-authority-data`; leave one of them out";
        return Err(KubeconfigError::Invalid {
            field: "clusters[0].cluster.insecure-skip-tls-verify",
            problem,
        });
    }
    Ok(())
}

/// Brings texts into the form that the client understands, as kubectl does: base64 without line breaks, and a token
/// without white space around it.
fn normalise(document: &mut Value) -> Result<(), KubeconfigError> {
    for (part, names) in [
        ("/clusters/0/cluster", &["certificate-authority-data"][..]),
        ("/users/0/user", &["client-certificate-data", "client-key-data"][..]),
    ] {
        for name in names {
            if let Some(Value::String(text)) = document.pointer_mut(part).and_then(|part| part.get_mut(*name))
            {
                text.retain(|character| !character.is_ascii_whitespace());
            }
        }
    }
    if let Some(Value::String(token)) = document.pointer_mut("/users/0/user/token") {
        *token = token.trim().to_owned();
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let problem = "holds white space or characters that no token has; write it in one line";
            return Err(KubeconfigError::Invalid { field: "users[0].user.token", problem });
        }
    }
    Ok(())
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

    #[rstest]
    #[case("s3cret\n", Some("s3cret"))]
    #[case("  s3cret\r\n", Some("s3cret"))]
    #[case("s3\ncret", None)]
    #[case("s3 cret", None)]
    #[case("s3cret\u{0}", None)]
    fn a_token_is_one_word(#[case] token: &str, #[case] expected: Option<&str>) {
        let mut document = valid();
        document["users"][0]["user"]["token"] = json!(token);
        let parsed = parse(&document);
        assert!(parsed.as_ref().err().is_none_or(|error| !error.to_string().contains("s3")));
        let user = parsed.ok().map(|config| serde_json::to_value(&config.auth_infos[0]).unwrap());
        assert_eq!(user.is_some(), expected.is_some());
        let shown = user.map(|user| user["user"]["token"].as_str().unwrap().to_owned());
        assert!(shown.is_none_or(|shown| Some(shown.as_str()) == expected || shown.contains("REDACTED")));
    }

    #[test]
    fn base64_may_have_line_breaks() {
        let mut document = valid();
        document["clusters"][0]["cluster"]["certificate-authority-data"] = json!("AAAA\nAAAA\n");
        assert_eq!(authorities(&parse(&document).unwrap()), Some(vec![0; 6]));
    }

    #[test]
    fn an_authority_that_would_not_be_heeded_is_refused() {
        let mut document = valid();
        document["clusters"][0]["cluster"]["certificate-authority-data"] = json!("AAAA");
        document["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = json!(true);
        let error = parse(&document).unwrap_err();
        assert!(error.to_string().contains("insecure-skip-tls-verify"), "{error}");
    }

    #[test]
    fn errors_never_quote_values() {
        let mut document = valid();
        document["users"][0]["user"]["token"] = json!({"nested": "s3cret"});
        document["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = json!("s3cret");
        assert!(!parse(&document).unwrap_err().to_string().contains("s3cret"));
    }
}
