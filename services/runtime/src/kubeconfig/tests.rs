//! What is admitted, and what is refused with which words.

use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;

fn valid() -> Json {
    json!({
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://192.0.2.7:6443"}}],
        "users": [{"name": "u", "user": {"token": "s3cret"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "demo"}}]
    })
}

/// A valid kubeconfig with other settings for cluster and user.
fn with(cluster: Json, user: Json) -> Json {
    let mut document = valid();
    let mut set = |pointer: &str, settings: Json| {
        let place = document.pointer_mut(pointer).and_then(Json::as_object_mut).unwrap();
        place.extend(settings.as_object().unwrap().clone());
    };
    set("/clusters/0/cluster", cluster);
    set("/users/0/user", user);
    document
}

/// Fields and texts of what is wrong.
fn problems(document: &Json) -> Vec<String> {
    judge(document).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

fn base64(content: &str) -> String {
    STANDARD.encode(content)
}

const CA: &str = include_str!("samples/ca.pem");
const LEAF: &str = include_str!("samples/leaf.pem");
const LEAF_KEY: &str = include_str!("samples/leaf.key.pem");
const V1: &str = include_str!("samples/v1.pem");
const V1_KEY: &str = include_str!("samples/v1.key.pem");
const P521: &str = include_str!("samples/p521.pem");
const P521_KEY: &str = include_str!("samples/p521.key.pem");

#[rstest]
#[case::an_authority(CA, "")]
#[case::of_version_1(V1, "")]
#[case::a_leaf_beside_its_authority(&format!("{LEAF}{CA}"), "")]
#[case::a_leaf(LEAF, "is the certificate of a server, and of no certificate authority")]
#[case::nothing_in_pem("MIIB", "holds no certificate in PEM")]
#[case::a_broken_one(
    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    "holds a certificate that cannot be read"
)]
fn authorities(#[case] pem: &str, #[case] expected: &str) {
    let found = problems(&with(json!({"certificate-authority-data": base64(pem)}), json!({})));
    match expected {
        "" => assert_eq!(found, [""; 0]),
        text => {
            assert!(found[0].contains(text) && found[0].contains("certificate-authority-data"), "{found:?}")
        }
    }
}

#[rstest]
#[case::usual(LEAF, LEAF_KEY, "")]
#[case::of_version_1(V1, V1_KEY, "")]
#[case::p521(P521, P521_KEY, "client-key-data is a key of the curve P-521 that Krake cannot use")]
#[case::of_another(LEAF, V1_KEY, "client-key-data is not the key of client-certificate-data")]
#[case::no_key(LEAF, LEAF, "client-key-data holds no private key in PEM")]
#[case::no_certificate(LEAF_KEY, LEAF_KEY, "client-certificate-data holds no certificate in PEM")]
#[case::encrypted(
    LEAF,
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    "client-key-data is encrypted"
)]
#[case::alone(LEAF, "", "client-key-data is missing")]
#[case::keyless("", LEAF_KEY, "client-certificate-data is missing")]
fn identities(#[case] certificate: &str, #[case] key: &str, #[case] expected: &str) {
    let user = json!({"client-certificate-data": base64(certificate), "client-key-data": base64(key)});
    let document = with(json!({}), user);
    let found = problems(&document);
    match expected {
        "" => assert!(judge(&document).unwrap().identity.is_some()),
        text => assert!(found[0].contains(text), "{found:?}"),
    }
    let shown = format!("{found:?} {:?}", judge(&document).map(|judged| judged.identity));
    assert!(!shown.contains("PRIVATE"), "{shown}");
}

#[test]
fn what_kubectl_reads_is_read() {
    let broken = |text: &str| {
        text.as_bytes()
            .chunks(20)
            .map(|line| format!("{}\r\n", String::from_utf8_lossy(line)))
            .collect::<String>()
    };
    let judged = judge(&with(
        json!({"certificate-authority-data": broken(&base64(CA)), "tls-server-name": "example.org"}),
        json!({"token": " s3cret\r\n", "client-certificate-data": "", "client-key-data": null}),
    ))
    .unwrap();
    let at = |pointer: &str| judged.document.pointer(pointer);
    assert_eq!(at("/clusters/0/cluster/certificate-authority-data"), Some(&json!(base64(CA))));
    assert_eq!(
        (at("/users/0/user/token"), at("/users/0/user/client-key-data")),
        (Some(&json!("s3cret")), None)
    );
    assert_eq!((judged.context.as_str(), judged.identity.is_none()), ("x", true));
}

#[rstest]
#[case(json!({"server": "file:///etc/passwd"}), json!({}), "clusters[0].cluster.server")]
#[case(json!({"server": null}), json!({}), "clusters[0].cluster.server")]
#[case(json!({"server": "https://0.0.0.0"}), json!({}), "clusters[0].cluster.server")]
#[case(json!({"proxy-url": "http://p:3128"}), json!({}), "clusters[0].cluster.proxy-url")]
#[case(json!({"certificate-authority": "/ca"}), json!({}), "clusters[0].cluster.certificate-authority")]
#[case(json!({"tls-server-name": "no name"}), json!({}), "clusters[0].cluster.tls-server-name")]
#[case(json!({"certificate-authority-data": base64(CA), "insecure-skip-tls-verify": true}), json!({}), "clusters[0].cluster.insecure-skip-tls-verify")]
#[case(json!({}), json!({"client-certificate": "/c"}), "users[0].user.client-certificate")]
#[case(json!({}), json!({"client-key": "/k"}), "users[0].user.client-key")]
#[case(json!({}), json!({"tokenFile": "/t"}), "users[0].user.tokenFile")]
#[case(json!({}), json!({"exec": {}}), "users[0].user.exec")]
#[case(json!({}), json!({"auth-provider": {}}), "users[0].user.auth-provider")]
#[case(json!({}), json!({"token": "s3 cret"}), "users[0].user.token")]
#[case(json!({}), json!({"token": {"nested": "s3cret"}}), "users[0].user.token")]
fn what_is_wrong_is_named(#[case] cluster: Json, #[case] user: Json, #[case] field: &str) {
    let found = problems(&with(cluster, user));
    assert!(found[0].starts_with(&format!("{field} ")), "{found:?}");
    assert!(!found.concat().contains("cret"), "{found:?}");
}

#[rstest]
#[case("contexts")]
#[case("clusters")]
#[case("users")]
fn exactly_one_of_each(#[case] list: &str) {
    let mut two = valid();
    let entry = two[list][0].clone();
    two[list].as_array_mut().unwrap().push(entry);
    assert!(problems(&two)[0].starts_with(list), "{:?}", problems(&two));
    two[list] = json!([]);
    assert!(problems(&two)[0].starts_with(list));
}

proptest! {
    #[test]
    fn no_certificate_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..600usize, value: u8) {
        let _ = x509::facts(&bytes);
        for pem in [LEAF, V1, CA] {
            use rustls::pki_types::pem::PemObject;
            let der = rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            let mut der = der.to_vec();
            let facts = x509::facts(&der).unwrap();
            prop_assert_eq!((facts.is_v1, facts.is_authority), (pem == V1, pem == CA));
            let index = at % der.len();
            der[index] = value;
            let _ = x509::facts(&der);
            let _ = x509::facts(&der[..index]);
        }
    }
}
