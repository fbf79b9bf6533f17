//! Rules for kubeconfigs: one context, one cluster, one user, and nothing that reads files or starts programs here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use crate::admission::Findings;

const FIELD: &str = "spec.kubeconfig";

/// Settings that the adapter refuses: it reads no files, runs no programs and uses no proxies for a stored kubeconfig.
const FOREIGN: [(&str, &str); 8] = [
    ("certificate-authority", "inline it as certificate-authority-data"),
    ("client-certificate", "inline it as client-certificate-data"),
    ("client-key", "inline it as client-key-data"),
    ("tokenFile", "inline it as token"),
    ("token-file", "inline it as token"),
    ("exec", "use a token or a client certificate"),
    ("auth-provider", "use a token or a client certificate"),
    ("proxy-url", "proxies are not supported; the API server must be reachable directly"),
];

/// Settings in base64.
const ENCODED: [&str; 3] = ["certificate-authority-data", "client-certificate-data", "client-key-data"];

/// What a setting holds.
#[derive(Debug, Clone, Copy)]
enum Form {
    Text,
    Switch,
    Texts,
    TextsByName,
    Extensions,
}

impl Form {
    fn is_of(self, value: &Json) -> bool {
        match self {
            Form::Text => value.is_string(),
            Form::Switch => value.is_boolean(),
            Form::Texts => value.as_array().is_some_and(|items| items.iter().all(Json::is_string)),
            Form::TextsByName => {
                value.as_object().is_some_and(|lists| lists.values().all(|list| Form::Texts.is_of(list)))
            }
            Form::Extensions => value.as_array().is_some_and(|items| {
                items.iter().all(|item| item["name"].is_string() && item.get("extension").is_some())
            }),
        }
    }

    fn description(self) -> &'static str {
        match self {
            Form::Text => "is not a string; write it in quotes",
            Form::Switch => "is neither true nor false",
            Form::Texts => "is not a list of strings",
            Form::TextsByName => "is not a map of lists of strings",
            Form::Extensions => "is not a list of extensions, each with name and extension",
        }
    }
}

/// Forms of the settings that the adapter reads, beside those that are refused or checked more closely.
const CONFIG: [(&str, Form); 4] = [
    ("apiVersion", Form::Text),
    ("kind", Form::Text),
    ("current-context", Form::Text),
    ("extensions", Form::Extensions),
];
const PREFERENCES: [(&str, Form); 2] = [("colors", Form::Switch), ("extensions", Form::Extensions)];
const CLUSTER: [(&str, Form); 4] = [
    ("insecure-skip-tls-verify", Form::Switch),
    ("disable-compression", Form::Switch),
    ("tls-server-name", Form::Text),
    ("extensions", Form::Extensions),
];
const CONTEXT: [(&str, Form); 2] = [("namespace", Form::Text), ("extensions", Form::Extensions)];
const USER: [(&str, Form); 8] = [
    ("token", Form::Text),
    ("username", Form::Text),
    ("password", Form::Text),
    ("as", Form::Text),
    ("as-uid", Form::Text),
    ("as-groups", Form::Texts),
    ("as-user-extra", Form::TextsByName),
    ("extensions", Form::Extensions),
];

pub(super) fn validate(config: &Json, findings: &mut Findings) {
    if !config.is_object() {
        findings.add(FIELD, "is not an object");
        return;
    }
    formed("", config, &CONFIG, findings);
    match config.get("preferences") {
        None | Some(Json::Null) => {}
        Some(preferences) if preferences.is_object() => {
            formed(".preferences", preferences, &PREFERENCES, findings);
        }
        Some(_) => findings.add(format!("{FIELD}.preferences"), "is not an object"),
    }
    let cluster = single(config, "clusters", "cluster", findings);
    let user = single(config, "users", "user", findings);
    let context = single(config, "contexts", "context", findings);
    if let Some((_, cluster)) = &cluster {
        server(cluster, findings);
        foreign("clusters[0].cluster", cluster, findings);
        encoded("clusters[0].cluster", cluster, findings);
        formed(".clusters[0].cluster", cluster, &CLUSTER, findings);
        let authority = cluster.get("certificate-authority-data").and_then(Json::as_str).unwrap_or_default();
        if cluster.get("insecure-skip-tls-verify") == Some(&Json::Bool(true)) && !authority.is_empty() {
            findings.add(
                format!("{FIELD}.clusters[0].cluster.insecure-skip-tls-verify"),
                "cannot be used together with certificate-authority-data: leave one of them out",
            );
        }
    }
    if let Some((_, user)) = &user {
        foreign("users[0].user", user, findings);
        encoded("users[0].user", user, findings);
        formed(".users[0].user", user, &USER, findings);
        token(user, findings);
    }
    let Some((context_name, context)) = context else { return };
    formed(".contexts[0].context", context, &CONTEXT, findings);
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
    let host = server.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
    let address = host.and_then(|host| host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().ok());
    if address.is_some_and(|address| address.is_unspecified()) {
        findings.add(field, "is no address of a machine; give one by which Krake reaches the cluster");
    } else if !fine {
        // It may hold a password, which an error must not repeat.
        findings.add(field, "is not an http or https URL");
    }
}

/// Refuses a token that cannot be sent. White space around it does no harm: the adapter leaves it out.
fn token(user: &Json, findings: &mut Findings) {
    let token = user.get("token").and_then(Json::as_str).unwrap_or_default().trim();
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let text = "holds white space or characters that no token has; write it in one line";
        findings.add(format!("{FIELD}.users[0].user.token"), text);
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

/// Refuses what the adapter could not read, without a word of what it holds.
fn formed(place: &str, settings: &Json, forms: &[(&str, Form)], findings: &mut Findings) {
    for (name, form) in forms {
        if settings.get(name).is_some_and(|value| !value.is_null() && !form.is_of(value)) {
            findings.add(format!("{FIELD}{place}.{name}"), form.description());
        }
    }
}

/// Without a word of what they hold.
fn encoded(place: &str, settings: &Json, findings: &mut Findings) {
    for name in ENCODED {
        let fine = match settings.get(name) {
            None | Some(Json::Null) => true,
            // Line breaks are what `base64` without `-w0` writes.
            Some(Json::String(text)) => {
                let text: String = text.chars().filter(|text| !text.is_ascii_whitespace()).collect();
                STANDARD.decode(text).is_ok()
            }
            Some(_) => false,
        };
        if !fine {
            findings.add(format!("{FIELD}.{place}.{name}"), "is not base64");
        }
    }
}
