//! What is admitted can be used, and nothing panics.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::cluster::address::AddressPolicy;
use crate::cluster::connection::{Connection, Deadlines};

#[test]
fn the_only_context_becomes_the_current_one() {
    let document = json!({
        "clusters": [{"name": "c", "cluster": {"server": "https://192.0.2.7:6443"}}],
        "users": [{"name": "u", "user": {"token": "s3cret\n"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "demo"}}]
    });
    let parts = read(&document).ok().unwrap();
    assert_eq!(parts.config.default_namespace, "demo");
    assert!(parts.identity.is_none() && parts.authorities.is_none());
}

/// Texts that a field may hold: certificates and keys of all kinds, and anything.
fn text() -> impl Strategy<Value = Value> {
    let samples = [
        include_str!("../../../../runtime/src/kubeconfig/samples/ca.pem"),
        include_str!("../../../../runtime/src/kubeconfig/samples/leaf.pem"),
        include_str!("../../../../runtime/src/kubeconfig/samples/leaf.key.pem"),
        include_str!("../../../../runtime/src/kubeconfig/samples/v1.pem"),
        include_str!("../../../../runtime/src/kubeconfig/samples/v1.key.pem"),
        include_str!("../../../../runtime/src/kubeconfig/samples/p521.pem"),
        include_str!("../../../../runtime/src/kubeconfig/samples/p521.key.pem"),
    ];
    prop_oneof![
        8 => prop::sample::select(samples.map(|pem| json!(STANDARD.encode(pem))).to_vec()),
        2 => prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| json!(STANDARD.encode(bytes))),
        2 => "\\PC{0,12}".prop_map(|text| json!(text)),
        1 => "[a-z0-9.-]{1,12}[\r\n ]?".prop_map(|text| json!(text)),
        1 => prop::sample::select(vec![json!(null), json!(true), json!(7), json!([]), json!({}), json!(["a"]), json!("")]),
    ]
}

fn settings(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop::collection::btree_map(prop::sample::select(names), text(), 0..4)
        .prop_map(|settings| settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn kubeconfigs() -> impl Strategy<Value = Value> {
    let cluster = settings(&[
        "certificate-authority-data",
        "insecure-skip-tls-verify",
        "tls-server-name",
        "proxy-url",
        "disable-compression",
        "extensions",
        "server",
    ]);
    let user = settings(&[
        "client-certificate-data",
        "client-key-data",
        "token",
        "username",
        "password",
        "as",
        "as-groups",
        "as-uid",
        "exec",
    ]);
    let server = prop::sample::select(vec![
        "https://192.0.2.7:6443",
        "https://c.example/a",
        "http://[::1]",
        "https://u:p@c",
    ]);
    (cluster, user, server, text()).prop_map(|(mut cluster, user, server, namespace)| {
        if cluster.get("server").is_none() {
            cluster["server"] = json!(server);
        }
        json!({
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": namespace}}]
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// What is admitted can be used, but for its address; and whatever it is, nothing panics.
    #[test]
    fn what_is_admitted_can_be_used(document in kubeconfigs()) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let admitted = judge(&document);
        match Connection::open(&document, Deadlines::default(), &AddressPolicy::default()) {
            Ok(_) => prop_assert!(admitted.is_ok()),
            Err(KubeconfigError::Refused(_)) => prop_assert!(admitted.is_err()),
            Err(KubeconfigError::Unusable(why)) => {
                prop_assert!(admitted.is_ok() && why.contains("--allow-cluster-address"), "{} {}", why, document);
            }
        }
    }
}
