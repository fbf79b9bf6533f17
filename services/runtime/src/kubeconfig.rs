//! What a stored kubeconfig may hold: one judgement, for the state service that admits it and the adapter that uses it.
//!
//! Stored kubeconfigs come from users: exactly one context, one cluster and one user, and nothing that would make the
//! adapter read its own files or start programs. What kubectl reads is read; what Krake cannot use is refused with the
//! reason. No problem quotes a value: it could be a credential.

mod certificates;
mod x509;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use serde_json::Value as Json;

pub use certificates::Identity;

/// What is wrong with a field of a kubeconfig.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {text}")]
pub struct Problem {
    /// Path of the field, as `clusters[0].cluster.server`; empty for the whole.
    pub field: String,
    /// What is wrong with it, and what to do.
    pub text: String,
}

/// A kubeconfig that can be used.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The kubeconfig, without what makes no difference: base64 in one line, no white space around the token, no empty
    /// fields for certificates.
    pub document: Json,
    /// Name of its only context.
    pub context: String,
    /// The client certificate, if it has one.
    pub identity: Option<Identity>,
}

/// Judges a kubeconfig.
///
/// # Errors
/// All that is wrong with it.
pub fn judge(document: &Json) -> Result<Judged, Vec<Problem>> {
    let mut findings = Findings::default();
    let context = structure(document, &mut findings);
    let mut document = document.clone();
    normalise(&mut document);
    let identity = certificates::judge(&document, &mut findings);
    match context {
        Some(context) if findings.0.is_empty() => Ok(Judged { document, context, identity }),
        _ => Err(findings.0),
    }
}

/// Problems that were found so far.
#[derive(Default)]
struct Findings(Vec<Problem>);

impl Findings {
    fn add(&mut self, field: impl Into<String>, text: impl Into<String>) {
        self.0.push(Problem { field: field.into(), text: text.into() });
    }
}

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

/// Judges all but certificates. Returns the name of the only context.
fn structure(config: &Json, findings: &mut Findings) -> Option<String> {
    if !config.is_object() {
        findings.add("", "is not an object");
        return None;
    }
    formed("", config, &CONFIG, findings);
    match config.get("preferences") {
        None | Some(Json::Null) => {}
        Some(preferences) if preferences.is_object() => {
            formed("preferences.", preferences, &PREFERENCES, findings);
        }
        Some(_) => findings.add("preferences", "is not an object"),
    }
    let cluster = single(config, "clusters", "cluster", findings);
    let user = single(config, "users", "user", findings);
    let context = single(config, "contexts", "context", findings);
    if let Some((_, cluster)) = &cluster {
        server(cluster, findings);
        foreign("clusters[0].cluster", cluster, findings);
        encoded("clusters[0].cluster", cluster, findings);
        formed("clusters[0].cluster.", cluster, &CLUSTER, findings);
        server_name(cluster, findings);
        let authority = cluster.get("certificate-authority-data").and_then(Json::as_str).unwrap_or_default();
        if cluster.get("insecure-skip-tls-verify") == Some(&Json::Bool(true)) && !authority.is_empty() {
            findings.add(
                "clusters[0].cluster.insecure-skip-tls-verify",
                "cannot be used together with certificate-authority-data: leave one of them out",
            );
        }
    }
    if let Some((_, user)) = &user {
        foreign("users[0].user", user, findings);
        encoded("users[0].user", user, findings);
        formed("users[0].user.", user, &USER, findings);
        token(user, findings);
        impersonation(user, findings);
    }
    let (context_name, context) = context?;
    formed("contexts[0].context.", context, &CONTEXT, findings);
    for (field, found) in [("cluster", &cluster), ("user", &user)] {
        if let Some((name, _)) = found
            && context.get(field).and_then(Json::as_str) != Some(name.as_str())
        {
            findings
                .add(format!("contexts[0].context.{field}"), format!("is not {name:?}, the only {field}"));
        }
    }
    if let Some(current) = config.get("current-context").and_then(Json::as_str)
        && !current.is_empty()
        && current != context_name
    {
        findings.add("current-context", format!("is not {context_name:?}, the only context"));
    }
    Some(context_name)
}

/// Brings texts into the form that the client understands, as kubectl does.
fn normalise(document: &mut Json) {
    for place in ["/clusters/0/cluster", "/users/0/user"] {
        let Some(Json::Object(settings)) = document.pointer_mut(place) else { continue };
        for name in ENCODED {
            if let Some(Json::String(text)) = settings.get_mut(name) {
                text.retain(|character| !character.is_ascii_whitespace());
            }
            if settings.get(name).is_some_and(|value| value.is_null() || value == "") {
                settings.remove(name);
            }
        }
        if let Some(Json::String(token)) = settings.get_mut("token") {
            *token = token.trim().to_owned();
        }
    }
}

/// The only entry of a list, with its name.
fn single<'a>(
    config: &'a Json,
    list: &str,
    inner: &str,
    findings: &mut Findings,
) -> Option<(String, &'a Json)> {
    let entries = config.get(list).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let [entry] = entries else {
        let names: Vec<&str> = entries.iter().filter_map(|entry| entry.get("name")?.as_str()).collect();
        let text = if names.is_empty() {
            format!("must hold exactly one {inner}, has {}", entries.len())
        } else {
            format!("must hold exactly one {inner}, has {} ({}): keep one", entries.len(), names.join(", "))
        };
        findings.add(list, text);
        return None;
    };
    let name = entry.get("name").and_then(Json::as_str).unwrap_or_default().to_owned();
    if name.is_empty() {
        findings.add(format!("{list}[0].name"), "is missing");
    }
    let Some(value) = entry.get(inner).filter(|value| value.is_object()) else {
        findings.add(format!("{list}[0].{inner}"), "is missing");
        return None;
    };
    Some((name, value))
}

fn server(cluster: &Json, findings: &mut Findings) {
    let field = "clusters[0].cluster.server";
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

/// Refuses a name that no certificate can prove.
fn server_name(cluster: &Json, findings: &mut Findings) {
    let name = cluster.get("tls-server-name").and_then(Json::as_str).unwrap_or_default();
    if !name.is_empty() && ServerName::try_from(name).is_err() {
        findings.add("clusters[0].cluster.tls-server-name", "is neither a DNS name nor an IP address");
    }
}

/// Refuses a token that cannot be sent. White space around it does no harm: the adapter leaves it out.
fn token(user: &Json, findings: &mut Findings) {
    let token = user.get("token").and_then(Json::as_str).unwrap_or_default().trim();
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let text = "holds white space or characters that no token has; write it in one line";
        findings.add("users[0].user.token", text);
    }
}

/// Refuses whom no request could name.
fn impersonation(user: &Json, findings: &mut Findings) {
    let texts = |name: &str| match user.get(name) {
        Some(Json::String(text)) => vec![text.as_str()],
        Some(Json::Array(texts)) => texts.iter().filter_map(Json::as_str).collect(),
        Some(Json::Object(lists)) => {
            lists.values().filter_map(Json::as_array).flatten().filter_map(Json::as_str).collect()
        }
        _ => Vec::new(),
    };
    for name in ["as", "as-uid", "as-groups", "as-user-extra"] {
        if texts(name).into_iter().any(|text| http::HeaderValue::from_str(text).is_err()) {
            findings.add(
                format!("users[0].user.{name}"),
                "holds characters that no header of a request may have",
            );
        }
    }
}

fn foreign(place: &str, settings: &Json, findings: &mut Findings) {
    for (name, advice) in FOREIGN {
        if settings.get(name).is_some_and(|value| !value.is_null()) {
            findings
                .add(format!("{place}.{name}"), format!("is not allowed in a stored kubeconfig: {advice}"));
        }
    }
}

/// Refuses what the adapter could not read, without a word of what it holds.
fn formed(place: &str, settings: &Json, forms: &[(&str, Form)], findings: &mut Findings) {
    for (name, form) in forms {
        if settings.get(name).is_some_and(|value| !value.is_null() && !form.is_of(value)) {
            findings.add(format!("{place}{name}"), form.description());
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
            findings.add(format!("{place}.{name}"), "is not base64");
        }
    }
}

#[cfg(test)]
mod tests;
