//! Kubeconfigs, from the file to the connection: what `rok` picks has one context, what the state service admits the
//! adapter can use but for its address, and no error tells a secret.

use std::sync::LazyLock;

use krake_kubernetes::KubeconfigError;
use krake_kubernetes::cluster::address::AddressPolicy;
use krake_kubernetes::cluster::connection::{Connection, Deadlines};
use krake_proto::krake::kubernetes::v1::ClusterSpec;
use krake_proto::{KINDS, POOL, json};
use prost::Message;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::pick;

/// Words of kubeconfigs.
pub const WORDS: &[&str] = &[
    "clusters",
    "contexts",
    "users",
    "cluster",
    "context",
    "user",
    "name",
    "server",
    "token",
    "tokenFile",
    "exec",
    "auth-provider",
    "certificate-authority",
    "certificate-authority-data",
    "client-key-data",
    "client-certificate-data",
    "insecure-skip-tls-verify",
    "tls-server-name",
    "proxy-url",
    "current-context",
    "namespace",
    "username",
    "password",
    "as",
    "extensions",
    "https://",
    "[::1]",
    "null",
    "true",
    "7",
    "[]",
    "{}",
    "Zg==",
    "\": ",
    ", \"",
    ": ",
    "\n  ",
];

/// In place of secrets, to be found again.
const SECRET: &str = "s3cret0451";

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
});

/// See the module.
pub fn target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(document) = rok::fuzz::kubeconfig(text, None, b"content") {
        for list in ["clusters", "contexts", "users"] {
            assert_eq!(document[list].as_array().map(Vec::len), Some(1), "{list}");
        }
        assert_eq!(rok::fuzz::kubeconfig(&document.to_string(), None, b"other"), Ok(document.clone()));
        admit_and_open(document);
    }
    if let Ok(document) = serde_json::from_str(text) {
        admit_and_open(document);
    }
}

fn admit_and_open(mut document: Value) {
    if document.to_string().contains(SECRET) {
        return;
    }
    for field in ["token", "password", "client-key-data"] {
        if let Some(value) = document.pointer_mut(&format!("/users/0/user/{field}"))
            && (value.is_string() || value.is_number())
        {
            *value = SECRET.into();
        }
    }
    let admitted = admitted(&document);
    let _inside = RUNTIME.enter();
    let opened = Connection::open(&document, Deadlines::default(), &AddressPolicy::default());
    if let Err(error) = &opened {
        assert!(!error.to_string().contains(SECRET), "the adapter's error: {error}");
    }
    match (admitted, opened) {
        (Ok(()), Ok(_) | Err(KubeconfigError::Unusable(_))) => {}
        (Ok(()), Err(error)) => panic!("admitted, but the adapter refuses it: {error}: {document}"),
        (Err(refused), _) => assert!(!refused.contains(SECRET), "admission's error: {refused}"),
    }
}

fn admitted(document: &Value) -> Result<(), String> {
    let kind = KINDS.iter().find(|kind| kind.kind == "Cluster").unwrap();
    let descriptor = POOL.get_message_by_name("krake.kubernetes.v1.ClusterSpec").unwrap();
    let spec = ClusterSpec { kubeconfig: Some(json::document(document)), ..Default::default() };
    let admitted = krake_state::fuzz::admit(kind, &descriptor, &spec.encode_to_vec());
    admitted.map(|_| ()).map_err(|violations| krake_proto::error::joined(&violations))
}

/// See [`crate::Target::case`].
pub fn case(random: &mut StdRng) -> Vec<u8> {
    let server = *pick(
        random,
        &[
            "https://c:6443",
            "http://[::1]:6443",
            "https://u:p@c",
            "https://",
            "c:6443",
            "https://c/a?b#c",
            "",
        ],
    );
    let user = pick(
        random,
        &[
            json!({"token": "t"}),
            json!({"client-certificate-data": "Zg==", "client-key-data": "Zg=="}),
            json!({"username": "u", "password": "p"}),
            json!({"exec": null, "token": "t"}),
            json!({"token": 7}),
            json!({"tokenFile": ""}),
            json!({"tokenFile": "f"}),
            json!({"as": "x", "as-groups": ["g"], "token": "t"}),
            json!({}),
        ],
    )
    .clone();
    let mut cluster = json!({"server": server});
    let settings = [
        ("certificate-authority-data", json!("Zg==")),
        ("insecure-skip-tls-verify", json!(true)),
        ("insecure-skip-tls-verify", json!("true")),
        ("tls-server-name", json!("c")),
        ("proxy-url", json!("http://p")),
        ("proxy-url", json!("")),
        ("disable-compression", json!(true)),
        ("extensions", json!([{"name": "e", "extension": {}}])),
        ("other", json!(1)),
    ];
    let (field, value) = pick(random, &settings);
    cluster[*field] = value.clone();
    let document = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": pick(random, &["", "x"]),
        "clusters": [{"name": "c", "cluster": cluster}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "ns"}}],
        "users": [{"name": "u", "user": user}],
    });
    match rand::Rng::random(random) {
        true => document.to_string().into_bytes(),
        false => rok::fuzz::yaml(&document).unwrap().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn many_cases_are_admitted() {
        let mut random = StdRng::seed_from_u64(0);
        let mut fine = 0;
        for _ in 0..400 {
            let text = String::from_utf8(case(&mut random)).unwrap();
            fine += i32::from(
                rok::fuzz::kubeconfig(&text, None, b"").is_ok_and(|found| admitted(&found).is_ok()),
            );
        }
        assert!(fine > 60, "{fine} of 400");
    }
}
