//! Bad input: each is refused with an error that names the field, and nothing is stored.

use krake_integration::krake::Krake;
use krake_integration::ports;
use krake_integration::stack::{rok, state_server};
use serde_json::json;
use tempfile::TempDir;

/// An API server on a store in memory, and files to hand in.
struct World {
    url: String,
    folder: TempDir,
    _state: Krake,
}

impl World {
    async fn start() -> Self {
        let start = async || {
            let [api, admin] = ports::free::<2>()?;
            let state = state_server(&["--store", "memory"], api, admin).await?;
            Ok((format!("http://127.0.0.1:{api}"), state))
        };
        let (url, state) = ports::retry_on_clash(start).await.unwrap();
        World { url, folder: tempfile::tempdir().unwrap(), _state: state }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Runs `rok`, which must fail, and gives what it said.
    async fn refused(&self, args: &[&str]) -> String {
        let output = rok(&self.url, args).await.unwrap();
        assert!(!output.status.success(), "rok {args:?} was accepted");
        assert!(output.stdout.is_empty(), "errors go to stderr");
        String::from_utf8(output.stderr).unwrap()
    }

    async fn count(&self, list: &[&str]) -> usize {
        let output = rok(&self.url, &[list, &["-o", "json"]].concat()).await.unwrap();
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let items = value.as_array().or_else(|| value["items"].as_array());
        items.unwrap_or_else(|| panic!("no list: {value}")).len()
    }
}

const POD: &str =
    "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: i}]}\n";

#[tokio::test]
async fn applications() {
    let world = World::start().await;
    let good = world.file("good.yaml", POD);
    let no_kind = world.file("no-kind.yaml", &format!("{POD}---\napiVersion: v1\nmetadata: {{name: q}}\n"));
    let create = |file: &str| ["kube", "app", "create", "-f", file].map(str::to_owned);

    let args = create(&no_kind);
    let said = world.refused(&[&args.each_ref().map(String::as_str)[..], &["a"]].concat()).await;
    assert!(said.contains("document 2") && said.contains("kind is missing"), "{said}");

    let args = create(&good);
    let args = args.each_ref().map(String::as_str);
    let said = world.refused(&[&args[..], &["-L", "location in (DE", "a"]].concat()).await;
    assert!(said.contains("spec.constraints.cluster.labels[0]") && said.contains("column"), "{said}");

    let said = world.refused(&[&args[..], &["two words"]].concat()).await;
    assert!(said.contains("metadata.name"), "{said}");
    assert_eq!(world.count(&["kube", "app", "list", "-a"]).await, 0);
}

#[tokio::test]
async fn documents_that_are_too_deep_or_too_large() {
    let world = World::start().await;
    let pod = |extra: &str| {
        format!(r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "p"}}, "spec": {extra}}}"#)
    };
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let path = world.file("deep.json", &pod(&deep));
    let said = world.refused(&["kube", "app", "create", "-f", &path, "a"]).await;
    assert!(said.contains("deep") || said.contains("nested"), "{said}");
    let path = world.file("large.json", &pod(&format!("\"{}\"", "x".repeat(4 * 1024 * 1024))));
    let said = world.refused(&["kube", "app", "create", "-f", &path, "a"]).await;
    assert!(said.contains("larger than 4 MiB"), "{said}");
    assert_eq!(world.count(&["kube", "app", "list", "-a"]).await, 0);
    // As large as what operators bring.
    let map = |number: usize| {
        let text = "x".repeat(100_000);
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{number}}}\ndata: {{a: {text}}}\n")
    };
    let path = world.file("bundle.yaml", &(0..13).map(map).collect::<Vec<_>>().join("---\n"));
    let output = rok(&world.url, &["kube", "app", "create", "-f", &path, "a"]).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(world.count(&["kube", "app", "list", "-a"]).await, 1);
}

#[tokio::test]
async fn operators_ranges_and_intervals() {
    let world = World::start().await;
    let good = world.file("good.yaml", POD);
    let create = ["kube", "app", "create", "-f", &good];
    let said = world.refused(&[&create[..], &["-L", "location ~ DE", "a"]].concat()).await;
    assert!(said.contains("spec.constraints.cluster.labels[0]") && said.contains('~'), "{said}");
    let said = world.refused(&[&create[..], &["--backoff_delay=-5", "a"]].concat()).await;
    assert!(said.contains("spec.backoff_delay"), "{said}");
    let metric = ["core", "gm", "create", "--mp-name", "p", "--min", "5", "--max", "5", "m"];
    let said = world.refused(&metric).await;
    assert!(said.contains("spec.min"), "{said}");
    assert_eq!(world.count(&["kube", "app", "list", "-a"]).await, 0);
    assert_eq!(world.count(&["core", "gm", "list"]).await, 0);
}

#[tokio::test]
async fn clusters_with_two_contexts() {
    let world = World::start().await;
    let context = |name: &str| json!({"name": name, "context": {"cluster": "c", "user": "u"}});
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t0ps3cret"}}],
        "contexts": [context("first"), context("second")],
    });
    let path = world.file("kubeconfig", &config.to_string());
    let said = world.refused(&["kube", "cluster", "register", "-k", &path, "c"]).await;
    assert!(said.contains("2 contexts") && said.contains("first") && said.contains("second"), "{said}");
    assert!(!said.contains("t0ps3cret"), "secrets are not repeated");
    assert_eq!(world.count(&["kube", "cluster", "list", "-a"]).await, 0);
}

#[tokio::test]
async fn providers_of_an_unknown_type() {
    let world = World::start().await;
    let said =
        world.refused(&["core", "gmp", "create", "--type", "graphite", "--url", "http://h", "p"]).await;
    assert!(said.contains("graphite") && said.contains("prometheus"), "{said}");
    assert_eq!(world.count(&["core", "gmp", "list"]).await, 0);
}

#[tokio::test]
async fn stale_versions() {
    use krake_client::{Client, ConnectOptions, Mask};
    use krake_proto::krake::core::v1::Metric;
    let world = World::start().await;
    let create = ["core", "gm", "create", "--mp-name", "p", "--min", "0", "--max", "1", "m"];
    assert!(rok(&world.url, &create).await.unwrap().status.success());
    let api = Client::new(&ConnectOptions::new(world.url.as_str())).unwrap().api::<Metric>();
    let first = api.get("", "m").await.unwrap();
    let mut newer = first.clone();
    newer.spec.as_mut().unwrap().max = Some(2.0);
    let newer = api.update(&newer, Mask::All).await.unwrap();
    let mut stale = first;
    stale.spec.as_mut().unwrap().max = Some(3.0);
    let error = api.update(&stale, Mask::All).await.unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("metadata.resource_version"), "{error}");
    assert_eq!(api.get("", "m").await.unwrap(), newer);
}
