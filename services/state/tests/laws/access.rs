//! Laws of the access to etcd: TLS, users, and what becomes of wrong ones.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use krake_proto::krake::core::v1::Metric;
use krake_state::store::{EtcdAccess, EtcdOptions, EtcdStore, Key, Revision, Store, StoreError, Txn};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::store::put;
use crate::support::server::{Server, metric};
use crate::support::{ETCD_3_5, Etcd, PATIENCE, Tls, etcd_is_3_4, have_etcd, have_etcd_3_5};

/// An authority that has issued a certificate for a server and one for a client.
struct Pki {
    folder: TempDir,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let pki = Self { folder: TempDir::new().unwrap() };
        pki.write("ca.pem", &issuer.pem());
        for name in ["server", "client"] {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
            params.distinguished_name.push(DnType::CommonName, name);
            let key = KeyPair::generate().unwrap();
            pki.write(&format!("{name}.pem"), &params.signed_by(&key, &issuer).unwrap().pem());
            pki.write(&format!("{name}.key"), &key.serialize_pem());
        }
        pki
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn tls(&self) -> Tls {
        let path = |name| self.folder.path().join(name);
        Tls { ca: path("ca.pem"), cert: path("client.pem"), key: path("client.key") }
    }

    async fn etcd(&self) -> Etcd {
        let path = |name| self.folder.path().join(name).to_str().unwrap().to_owned();
        let options = [
            ("--cert-file", path("server.pem")),
            ("--key-file", path("server.key")),
            ("--trusted-ca-file", path("ca.pem")),
        ];
        let options = options.into_iter().flat_map(|(option, value)| [option.to_owned(), value]);
        Etcd::start_with_tls(options.chain(["--client-cert-auth".to_owned()]).collect(), self.tls()).await
    }
}

async fn connect(options: EtcdOptions) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(EtcdStore::connect(options).await?))
}

/// The same options with a user.
fn as_user(options: EtcdOptions, password: &str) -> EtcdOptions {
    let user = Some(("krake".to_owned(), password.to_owned().into()));
    EtcdOptions { access: EtcdAccess { user, ..options.access }, ..options }
}

/// Gives etcd a user who may use the keys of Krake below a prefix and no others, and closes it to everybody else.
fn with_users(etcd: &Etcd, prefix: &str) {
    etcd.ctl(&["user", "add", "root:r00t"]);
    etcd.ctl(&["user", "grant-role", "root", "root"]);
    etcd.ctl(&["user", "add", "krake:s3cret"]);
    etcd.ctl(&["role", "add", "krake"]);
    let prefix = format!("{prefix}/krake/");
    etcd.ctl(&["role", "grant-permission", "krake", "readwrite", "--prefix=true", &prefix]);
    etcd.ctl(&["user", "grant-role", "krake", "krake"]);
    etcd.ctl(&["auth", "enable"]);
}

/// Waits until a store answers.
async fn answers(store: &Arc<dyn Store>) {
    let answered = async {
        while let Err(error) = store.revision().await {
            assert!(error.retryable(), "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, answered).await.expect("the store answers");
}

#[tokio::test]
async fn an_etcd_with_tls_is_used_by_those_who_have_certificates_of_its_authority() {
    if !have_etcd() {
        return;
    }
    let (pki, other) = (Pki::new(), Pki::new());
    let etcd = pki.etcd().await;
    let server = Server::start(etcd.store("/tls").await).await;
    server.client.api::<Metric>().create(&metric("demo", "a", 1.0)).await.unwrap();

    let options = || EtcdOptions { request_timeout: Duration::from_secs(2), ..etcd.options("/tls") };
    let stranger = Etcd::options_with(options(), &other.tls());
    let nobody = EtcdOptions { access: EtcdAccess { identity: None, ..options().access }, ..options() };
    let distrustful = EtcdOptions { access: EtcdAccess { ca: None, ..options().access }, ..options() };
    for refused in [stranger, nobody, distrustful] {
        let error = connect(refused).await.unwrap().revision().await.unwrap_err();
        assert!(error.retryable(), "{error}");
    }
    let plain = EtcdOptions { endpoints: vec![etcd.endpoint().replace("https", "http")], ..options() };
    assert!(matches!(connect(plain).await.err(), Some(StoreError::Invalid { .. })));
}

#[tokio::test]
async fn a_user_of_etcd_needs_krakes_own_keys_and_nothing_else() {
    if !have_etcd() {
        return;
    }
    let compacted = serves_a_user(Etcd::start().await).await;
    assert!(compacted.is_ok() || !etcd_is_3_4(), "{compacted:?}");
}

#[tokio::test]
async fn a_user_of_an_etcd_that_lets_only_root_compact_is_told_so() {
    if !have_etcd_3_5() {
        return;
    }
    let refused = serves_a_user(Etcd::start_release(ETCD_3_5).await).await.unwrap_err();
    assert!(
        refused.contains("permission denied") && refused.contains("--auto-compaction-retention"),
        "{refused}"
    );
}

/// A user with the documented rights does all that Krake does. Returns how a compaction ended.
async fn serves_a_user(mut etcd: Etcd) -> Result<(), String> {
    with_users(&etcd, "/auth");
    let store = connect(as_user(etcd.options("/auth"), "s3cret")).await.unwrap();
    // Reads, writes, watches and leases.
    let server = Server::start(store.clone()).await;
    let metrics = server.client.api::<Metric>();
    let created = metrics.create(&metric("demo", "a", 1.0)).await.unwrap();
    assert_eq!(metrics.get("demo", "a").await.unwrap(), created);
    let bid = krake_state::store::Bid {
        key: "/krake/_elections/e".into(),
        holder: "me".into(),
        ttl: Duration::from_secs(60),
    };
    assert!(store.campaign(bid).await.unwrap().kept.is_some());
    store.resign("/krake/_elections/e".into(), "me".into()).await.unwrap();
    let at = store.revision().await.unwrap();
    let compacted = store.compact(at).await.map_err(|error| error.to_string());
    let other = store.commit(Txn::new().put("/other", "x")).await.unwrap_err();
    assert!(other.to_string().contains("permission denied"), "{other}");

    // etcd forgets who is logged in when it is restarted.
    etcd.kill();
    etcd.restart().await;
    answers(&store).await;
    put(&store, "/krake/x", "y").await;
    // Reads wait for the watch, which has to log in again, too.
    let later = metrics.create(&metric("demo", "b", 1.0)).await.unwrap();
    let read = async {
        loop {
            match metrics.get("demo", "b").await {
                Ok(found) => return found,
                Err(error) => assert!(error.retryable(), "{error}"),
            }
        }
    };
    assert_eq!(timeout(PATIENCE, read).await.expect("the watch is back"), later);
    let nobody = connect(etcd.options("/auth")).await.unwrap();
    assert!(nobody.get(&Key::from("/krake/x")).await.unwrap_err().retryable());
    compacted
}

#[tokio::test]
async fn a_member_that_is_down_does_not_hide_from_a_user_that_another_one_reports_progress() {
    if !have_etcd_3_5() {
        return;
    }
    let etcd = Etcd::start_release(ETCD_3_5).await;
    with_users(&etcd, "/auth");
    let options = as_user(etcd.options("/auth"), "s3cret");
    let (store, _dead) = etcd.store_with_dead_member(options).await;
    let mut changes = store.watch_progress(&Key::from("/krake/"), Revision(0));
    let reports = async {
        while !store.request_progress().await.unwrap() {
            // The watch works only while it is read.
            let _ = timeout(Duration::from_millis(20), changes.next()).await;
        }
    };
    timeout(PATIENCE, reports).await.expect("the watch is trusted");
}

#[tokio::test]
async fn a_wrong_user_is_refused_at_once_and_an_etcd_that_comes_later_is_waited_for() {
    if !have_etcd() {
        return;
    }
    let mut etcd = Etcd::start().await;
    let early = connect(as_user(etcd.options("/auth"), "s3cret")).await.err().unwrap();
    assert!(early.to_string().contains("authentication is off"), "{early}");
    with_users(&etcd, "/auth");
    let wrong = connect(as_user(etcd.options("/auth"), "wr0ng")).await.err().unwrap();
    assert!(matches!(wrong, StoreError::Invalid { .. }), "{wrong}");
    assert!(wrong.to_string().contains("authentication failed") && !wrong.to_string().contains("wr0ng"));
    etcd.kill();
    let store = connect(as_user(etcd.options("/auth"), "s3cret")).await.unwrap();
    assert!(store.revision().await.unwrap_err().retryable());
    etcd.restart().await;
    answers(&store).await;
}

#[tokio::test]
async fn the_commands_reach_an_etcd_with_tls_and_users_and_show_no_secret() {
    if !have_etcd() {
        return;
    }
    let pki = Pki::new();
    let etcd = pki.etcd().await;
    let store = etcd.store("/auth").await;
    for key in ["/krake/_installation", "/krake/_epoch"] {
        put(&store, key, "1-2-3").await;
    }
    with_users(&etcd, "/auth");
    let folder = TempDir::new().unwrap();
    let (to, password) = (folder.path().join("backup"), folder.path().join("password"));
    std::fs::write(&password, "s3cret\n").unwrap();
    let tls = pki.tls();
    let files = [("--etcd-ca", &tls.ca), ("--etcd-cert", &tls.cert), ("--etcd-key", &tls.key), ("--to", &to)];
    let command = |password: (&str, &Path)| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_krake-state"));
        command.arg("backup").args(["--etcd-endpoints", &etcd.endpoint(), "--etcd-prefix", "/auth"]);
        command.args(["--etcd-user", "krake", "--log-level", "trace"]).arg(password.0).arg(password.1);
        for (option, path) in files {
            command.arg(option).arg(path);
        }
        let done = command.output().unwrap();
        let shown = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
        assert!(!shown.contains("s3cret") && !shown.contains("wr0ng"), "{shown}");
        assert!(!shown.contains("PRIVATE KEY"), "{shown}");
        (done.status.success(), shown)
    };
    let (done, shown) = command(("--etcd-password-file", &password));
    assert!(done && shown.contains("2 entries"), "{shown}");
    std::fs::write(&password, "wr0ng").unwrap();
    std::fs::remove_file(&to).unwrap();
    let (done, shown) = command(("--etcd-password-file", &password));
    assert!(!done && shown.contains("authentication failed"), "{shown}");
}
