//! Rules for kubeconfigs: one context, one cluster, one user, and nothing that reads files or starts programs here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use crate::admission::Findings;

const FIELD: &str = "spec.kubeconfig";

/// Settings that would make the adapter read its own files or run programs on its own machine.
const FOREIGN: [(&str, &str); 7] = [
    ("certificate-authority", "inline it as certificate-authority-data"),
    ("client-certificate", "inline it as client-certificate-data"),
    ("client-key", "inline it as client-key-data"),
    ("tokenFile", "inline it as token"),
    ("token-file", "inline it as token"),
    ("exec", "use a token or a client certificate"),
    ("auth-provider", "use a token or a client certificate"),
];

/// Settings in base64.
const ENCODED: [&str; 3] = ["certificate-authority-data", "client-certificate-data", "client-key-data"];

pub(super) fn validate(config: &Json, findings: &mut Findings) {
    if !config.is_object() {
        findings.add(FIELD, "is not an object");
        return;
    }
    let cluster = single(config, "clusters", "cluster", findings);
    let user = single(config, "users", "user", findings);
    let context = single(config, "contexts", "context", findings);
    if let Some((_, cluster)) = &cluster {
        server(cluster, findings);
        foreign("clusters[0].cluster", cluster, findings);
        encoded("clusters[0].cluster", cluster, findings);
    }
    if let Some((_, user)) = &user {
        foreign("users[0].user", user, findings);
        encoded("users[0].user", user, findings);
    }
    let Some((context_name, context)) = context else { return };
    for (field, found) in [("cluster", &cluster), ("user", &user)] {
        if let Some((name, _)) = found
            && context.get(field).and_then(Json::as_str) != Some(name.as_str())
        {
            findings.add(
                format!("{FIELD}.contexts[0].context.{field}"),
                format!("is not {name:?}, the only {field}"),
            );
        }
    }
    if let Some(current) = config.get("current-context").and_then(Json::as_str)
        && !current.is_empty()
        && current != context_name
    {
        findings
            .add(format!("{FIELD}.current-context"), format!("is not {context_name:?}, the only context"));
    }
}

/// The only entry of a list, with its name.
fn single<'a>(
    config: &'a Json,
    list: &str,
    inner: &str,
    findings: &mut Findings,
) -> Option<(String, &'a Json)> {
    let field = format!("{FIELD}.{list}");
    let entries = config.get(list).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let [entry] = entries else {
        let names: Vec<&str> = entries.iter().filter_map(|entry| entry.get("name")?.as_str()).collect();
        let text = if names.is_empty() {
            format!("must hold exactly one {inner}, has {}", entries.len())
        } else {
            format!("must hold exactly one {inner}, has {} ({}): keep one", entries.len(), names.join(", "))
        };
        findings.add(field, text);
        return None;
    };
    let name = entry.get("name").and_then(Json::as_str).unwrap_or_default().to_owned();
    if name.is_empty() {
        findings.add(format!("{field}[0].name"), "is missing");
    }
    let Some(value) = entry.get(inner).filter(|value| value.is_object()) else {
        findings.add(format!("{field}[0].{inner}"), "is missing");
        return None;
    };
    Some((name, value))
}

fn server(cluster: &Json, findings: &mut Findings) {
    let field = format!("{FIELD}.clusters[0].cluster.server");
    let Some(server) = cluster.get("server").and_then(Json::as_str) else {
        findings.add(field, "is missing");
        return;
    };
    let uri = server.parse::<http::Uri>().ok();
    let fine =
        uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
    if !fine {
        // It may hold a password, which an error must not repeat.
        findings.add(field, "is not an http or https URL");
    }
}

fn foreign(place: &str, settings: &Json, findings: &mut Findings) {
    for (name, advice) in FOREIGN {
        if settings.get(name).is_some_and(|value| !value.is_null()) {
            findings.add(
                format!("{FIELD}.{place}.{name}"),
                format!("is not allowed in a stored kubeconfig: {advice}"),
            );
        }
    }
}

/// Without a word of what they hold.
fn encoded(place: &str, settings: &Json, findings: &mut Findings) {
    for name in ENCODED {
        let fine = match settings.get(name) {
            None | Some(Json::Null) => true,
            Some(Json::String(text)) => STANDARD.decode(text).is_ok(),
            Some(_) => false,
        };
        if !fine {
            findings.add(format!("{FIELD}.{place}.{name}"), "is not base64 in one line");
        }
    }
}
