//! From a kubeconfig file to the one context that a cluster is registered with, credentials inlined.

use std::io;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use crate::yaml;

/// Fields of clusters and users that name a file, and those that hold its content in base64.
const FILES: [(&str, &str); 3] = [
    ("certificate-authority", "certificate-authority-data"),
    ("client-certificate", "client-certificate-data"),
    ("client-key", "client-key-data"),
];

/// One context of a kubeconfig, complete in itself.
#[derive(PartialEq)]
pub(crate) struct Selected {
    /// Name of the context's cluster.
    pub(crate) cluster: String,
    /// A kubeconfig with one context, one cluster and one user. Secret.
    pub(crate) document: Value,
}

impl std::fmt::Debug for Selected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Selected").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// Picks a context; without a name the only one. `read_file` reads what the file names, relative to its folder.
/// Errors never quote the file.
pub(crate) fn select(
    text: &str,
    context: Option<&str>,
    read_file: impl Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<Selected, String> {
    let config: Value = yaml::read(text).map_err(|error| error.to_string())?;
    if !config.is_object() {
        return Err("it is no kubeconfig: expected an object with clusters, contexts and users".to_owned());
    }
    let name = context_name(&config, context)?;
    let context = named(&config, "contexts", &name, "context")
        .ok_or_else(|| format!("context {name:?} has no field `context`"))?;
    let part_of = |part: &str| {
        let value = context.get(part).and_then(Value::as_str);
        value.ok_or_else(|| format!("context {name:?} names no {part}"))
    };
    let (cluster_name, user_name) = (part_of("cluster")?, part_of("user")?);
    let find = |list: &str, name: &str, what: &str| {
        let found = named(&config, list, name, what).cloned();
        found.ok_or_else(|| format!("there is no {what} {name:?} in {list}"))
    };
    let cluster = inlined(find("clusters", cluster_name, "cluster")?, &read_file)?;
    let user = inlined(find("users", user_name, "user")?, &read_file)?;
    Ok(Selected {
        document: json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": cluster_name, "cluster": cluster}],
            "contexts": [{"name": name, "context": context}],
            "users": [{"name": user_name, "user": user}],
        }),
        cluster: cluster_name.to_owned(),
    })
}

fn context_name(config: &Value, wanted: Option<&str>) -> Result<String, String> {
    let contexts = config.get("contexts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let names: Vec<&str> =
        contexts.iter().filter_map(|context| context.get("name").and_then(Value::as_str)).collect();
    match (wanted, names.as_slice()) {
        (_, []) => Err("kubeconfig has no context".to_owned()),
        (Some(wanted), names) if names.contains(&wanted) => Ok(wanted.to_owned()),
        (Some(wanted), names) => {
            Err(format!("kubeconfig has no context {wanted:?}, only: {}", names.join(", ")))
        }
        (None, [only]) => Ok((*only).to_owned()),
        (None, names) => Err(format!(
            "kubeconfig has {} contexts ({}): choose one with --context",
            names.len(),
            names.join(", ")
        )),
    }
}

/// The entry of that name in a list of `{name, <part>}`.
fn named<'a>(config: &'a Value, list: &str, name: &str, part: &str) -> Option<&'a Map<String, Value>> {
    let entries = config.get(list)?.as_array()?;
    entries
        .iter()
        .find(|entry| entry.get("name").and_then(Value::as_str) == Some(name))?
        .get(part)?
        .as_object()
}

/// A cluster or user with the content of the files that it names.
fn inlined(
    mut entry: Map<String, Value>,
    read_file: impl Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<Map<String, Value>, String> {
    let read = |field: &str, path: &Value| {
        let path = path.as_str().ok_or_else(|| format!("{field}: expected the path of a file"))?;
        read_file(Path::new(path)).map_err(|error| format!("{field}: cannot read {path}: {error}"))
    };
    for (field, data) in FILES {
        // Data beside a file wins, as in kubectl.
        if let Some(path) = entry.remove(field)
            && !entry.contains_key(data)
        {
            entry.insert(data.to_owned(), BASE64_STANDARD.encode(read(field, &path)?).into());
        }
    }
    // Here the file wins.
    if let Some(path) = entry.remove("tokenFile") {
        let token = String::from_utf8(read("tokenFile", &path)?);
        let token = token.map_err(|_| "tokenFile: the file holds no text".to_owned())?;
        entry.insert("token".to_owned(), token.trim().into());
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "
apiVersion: v1
kind: Config
current-context: a
clusters:
- {name: ca, cluster: {server: 'https://a:6443', certificate-authority: ca.pem}}
- {name: cb, cluster: {server: 'https://b:6443', certificate-authority-data: Qg==, certificate-authority: x}}
contexts:
- {name: a, context: {cluster: ca, user: ua, namespace: demo}}
- {name: b, context: {cluster: cb, user: ub}}
users:
- {name: ua, user: {client-certificate: cert.pem, client-key: key.pem}}
- {name: ub, user: {token: old, tokenFile: token.txt}}
";

    fn files(path: &Path) -> io::Result<Vec<u8>> {
        match path.to_str() {
            Some("x") => Err(io::ErrorKind::NotFound.into()),
            Some("token.txt") => Ok(b"s3cret\n".to_vec()),
            Some(name) => Ok(name.as_bytes().to_vec()),
            None => unreachable!(),
        }
    }

    #[test]
    fn one_context_is_kept_with_its_files_inlined() {
        let selected = select(TWO, Some("a"), files).unwrap();
        assert_eq!(selected.cluster, "ca");
        let document = &selected.document;
        assert_eq!(document["current-context"], "a");
        assert_eq!(
            document["clusters"],
            json!([{"name": "ca", "cluster": {
                "server": "https://a:6443", "certificate-authority-data": BASE64_STANDARD.encode("ca.pem")}}])
        );
        assert_eq!(
            document["users"],
            json!([{"name": "ua", "user": {
                "client-certificate-data": BASE64_STANDARD.encode("cert.pem"),
                "client-key-data": BASE64_STANDARD.encode("key.pem")}}])
        );
        assert_eq!(
            document["contexts"],
            json!([{"name": "a", "context": {"cluster": "ca", "user": "ua", "namespace": "demo"}}])
        );
        assert!(!format!("{selected:?}").contains("key"));
    }

    #[test]
    fn data_wins_over_files_and_token_files_over_tokens() {
        let document = select(TWO, Some("b"), files).unwrap().document;
        assert_eq!(document["clusters"][0]["cluster"]["certificate-authority-data"], "Qg==");
        assert_eq!(document["clusters"][0]["cluster"].get("certificate-authority"), None);
        assert_eq!(document["users"][0]["user"], json!({"token": "s3cret"}));
    }

    #[test]
    fn errors_say_what_to_do() {
        let error = |text: &str, context| select(text, context, files).unwrap_err();
        assert_eq!(error(TWO, None), "kubeconfig has 2 contexts (a, b): choose one with --context");
        assert_eq!(error(TWO, Some("c")), "kubeconfig has no context \"c\", only: a, b");
        assert_eq!(error("kind: Config", None), "kubeconfig has no context");
        let dangling = "contexts: [{name: a, context: {cluster: gone, user: u}}]";
        assert_eq!(error(dangling, None), "there is no cluster \"gone\" in clusters");
        let several = format!("---\n{TWO}---\n{TWO}");
        let text = error(&several, Some("a"));
        assert!(text.contains("the file holds 2 documents") && text.contains("give one"), "{text}");
        assert!(
            select(&format!("---\n{TWO}---\n# nothing\n"), Some("a"), files).is_ok(),
            "an empty document is none"
        );
        let unreadable = "
contexts: [{name: a, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {certificate-authority: x}}]
users: [{name: u, user: {}}]";
        assert!(error(unreadable, None).starts_with("certificate-authority: cannot read x: "));
    }
}
