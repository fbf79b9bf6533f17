//! What `rok` says when it is pointed at the wrong port, with the wrong scheme, or without the right certificate.

use std::path::Path;
use std::process::Output;

use krake_integration::krake::{self, Krake, Ready};
use krake_integration::wait::HANG_GUARD;
use krake_integration::{folder, ports};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::standalone::Standalone;

/// A state service that speaks TLS, and an authority that signed its certificate; `ca.pem` and `other.pem` are in `folder`.
async fn state_with_tls(folder: &Path) -> (Krake, u16) {
    for name in ["other", "ca"] {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), issuer.pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("cert.pem"), server.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    }
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let start = async || {
        let [api, admin] = ports::free::<2>()?;
        let (listen, admin) = (format!("127.0.0.1:{api}"), format!("127.0.0.1:{admin}"));
        let base = ["--store", "memory", "--allow-anonymous", "--listen", &listen, "--admin-listen", &admin];
        let (cert, key) = (file("cert.pem"), file("key.pem"));
        let tls = ["--tls-cert", &cert, "--tls-key", &key];
        let ready = Ready::Http(format!("http://{admin}/readyz"));
        Ok((Krake::spawn("krake-state", &[base.as_slice(), &tls].concat(), ready).await?, api))
    };
    ports::retry_on_clash(start).await.unwrap()
}

/// Lists applications in a folder, with a `rok.yaml` of this text.
async fn list(folder: &Path, config: &str) -> Output {
    let path = folder.join("rok.yaml");
    std::fs::write(&path, config).unwrap();
    let args = ["kube", "app", "list", "--config", path.to_str().unwrap()];
    krake::run("rok", &args, &[], HANG_GUARD).await.unwrap()
}

/// What is said of a configuration with which nothing can be listed.
async fn refused(folder: &Path, config: &str) -> String {
    let output = list(folder, config).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is missing in {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_port_or_scheme_is_said_with_the_right_one() {
    let folder = folder::create("connection").unwrap();
    let folder = folder.path();
    let krake = Standalone::start("krake", &folder.join("data"), folder).await;
    let port = |url: &str| url.rsplit(':').next().unwrap().to_owned();
    let (api, rest) = (port(&krake.api), port(&krake.rest));

    let said = refused(folder, &format!("api_url: http://127.0.0.1:{rest}")).await;
    assert_says(
        &said,
        &[&format!("port {rest}"), "REST gateway", "speak gRPC", "http://127.0.0.1:7700", "api_url"],
    );
    let said = refused(folder, &format!("api_url: https://127.0.0.1:{rest}")).await;
    assert_says(&said, &["REST gateway"]);
    let said = refused(folder, &format!("api_url: https://127.0.0.1:{api}")).await;
    assert_says(&said, &["does not speak TLS", &format!("http://127.0.0.1:{api}")]);
    assert!(list(folder, &format!("api_url: http://127.0.0.1:{api}")).await.status.success());

    let said = refused(folder, "api_url: http://127.0.0.1:1").await;
    assert_says(&said, &["nothing listens on 127.0.0.1:1", "`krake` starts it"]);
    let said = refused(folder, &format!("api_url: http://{}:7700", "a".repeat(64))).await;
    assert_says(&said, &["host name", "is not known"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_tls_is_recognised_and_its_certificate_explained() {
    let folder = folder::create("connection").unwrap();
    let folder = folder.path();
    let (_state, port) = state_with_tls(folder).await;
    let tls = |host: &str, ca: &str| {
        format!("api_url: https://{host}:{port}\ntls: {{enabled: true, client_ca: {ca}}}")
    };

    let said = refused(folder, &format!("api_url: http://localhost:{port}")).await;
    assert_says(&said, &["speaks TLS", &format!("https://localhost:{port}"), "api_url"]);
    let said = refused(folder, &format!("api_url: https://localhost:{port}")).await;
    assert_says(&said, &["an authority that this machine does not know", "--client-ca"]);
    let said = refused(folder, &tls("localhost", "other.pem")).await;
    assert_says(&said, &["certificate", "--client-ca"]);
    let said = refused(folder, &tls("127.0.0.1", "ca.pem")).await;
    assert_says(&said, &["not valid for \"127.0.0.1\"", "only for localhost"]);
    assert!(list(folder, &tls("localhost", "ca.pem")).await.status.success());
}
