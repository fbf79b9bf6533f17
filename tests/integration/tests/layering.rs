//! The crates depend on each other, and on heavy crates of others, in the one direction that the design gives.
#![allow(clippy::unwrap_used, reason = "in a test, its helpers included, a panic is the verdict")]

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// A crate of this workspace, one that it depends on directly, and what for.
type Edge = (String, String, Use);

/// What a crate depends on another for; its build script does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Product,
    Tests,
}

/// Where in the order `proto ← client ← runtime ← services` a crate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Proto,
    Client,
    Runtime,
    /// One process of the system; never sees another.
    Service,
    /// Everything in one process, and the tests: sees all.
    Whole,
    /// The command line client: a caller of the API, and no more than that.
    CommandLine,
}

/// Crates that only these crates of the workspace may depend on; the tests may use the HTTP client too, and make
/// fake clusters.
const CONFINED: [(&str, &[&str]); 6] = [
    ("kube", &["krake-kubernetes", "krake-simulation"]),
    ("k8s-openapi", &["krake-kubernetes"]),
    ("etcd-client", &["krake-state", "krake-bench"]),
    ("rusqlite", &["krake-state", "krake-bench"]),
    ("cel", &["krake-scheduler"]),
    ("reqwest", &["krake-scheduler", "krake-integration"]),
];

/// Services whose tests may run another one beside them. The adapter is tested against the simulated API servers that the
/// platform suite compares with real ones: an API server of the tests' own would agree with what no real one answers. The
/// adapter itself depends on no simulator, and the simulator on no adapter.
const TESTED_WITH: [(&str, &str); 1] = [("krake-kubernetes", "krake-cluster-sim")];

fn layer(name: &str) -> Layer {
    match name {
        "krake-proto" => Layer::Proto,
        "krake-client" => Layer::Client,
        "krake-runtime" => Layer::Runtime,
        "rok" => Layer::CommandLine,
        "krake" | "krake-fuzz" | "krake-integration" | "krake-simulation" | "krake-bench" => Layer::Whole,
        _ => Layer::Service,
    }
}

/// Every edge that goes against the order, with the reason.
fn violations(members: &[String], edges: &[Edge]) -> Vec<String> {
    let is_member = |name: &String| members.contains(name);
    let wrong = |(from, to, purpose): &Edge| {
        if *purpose == Use::Tests && TESTED_WITH.contains(&(from.as_str(), to.as_str())) {
            return None;
        }
        if !is_member(to) {
            let (_, allowed) = CONFINED.iter().find(|(confined, _)| confined == to)?;
            let reason = format!("{from} depends on {to}, which is confined to {}", allowed.join(" and "));
            return (!allowed.contains(&from.as_str())).then_some(reason);
        }
        let allowed = match (layer(from), layer(to)) {
            (Layer::Whole, _) => true,
            (Layer::CommandLine, to) => to <= Layer::Client,
            (Layer::Service, to) => to <= Layer::Runtime,
            (from, to) => to < from,
        };
        (!allowed).then(|| format!("{from} ({:?}) depends on {to} ({:?})", layer(from), layer(to)))
    };
    edges.iter().filter_map(wrong).collect()
}

/// The workspace's members and the edges that begin at them.
fn workspace() -> (Vec<String>, Vec<Edge>) {
    let mut command = MetadataCommand::new();
    command.manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml")).no_deps();
    let metadata = command.exec().unwrap();
    let members = metadata.packages.iter().map(|package| package.name.to_string()).collect();
    let edges = metadata.packages.iter().flat_map(|package| {
        let dependencies = package.dependencies.iter();
        // What a crate needs to test itself is bound by the same order: tests of several crates are in one place.
        dependencies.filter_map(|dependency| {
            let purpose = match dependency.kind {
                DependencyKind::Build => return None,
                DependencyKind::Development => Use::Tests,
                _ => Use::Product,
            };
            Some((package.name.to_string(), dependency.name.clone(), purpose))
        })
    });
    (members, edges.collect())
}

#[test]
fn workspace_keeps_the_order() {
    let (members, edges) = workspace();
    assert!(violations(&members, &edges).is_empty(), "{:#?}", violations(&members, &edges));
    // The rules bite on something: each layer is there, and the confined crates are where they belong.
    let has = |from: &str, to: &str| edges.contains(&(from.to_owned(), to.to_owned(), Use::Product));
    assert!(
        has("krake-client", "krake-proto")
            && has("krake-state", "krake-runtime")
            && has("rok", "krake-client")
    );
    assert!(
        has("krake-kubernetes", "kube")
            && has("krake-state", "etcd-client")
            && has("krake-scheduler", "reqwest")
    );
}

#[test]
fn each_kind_of_violation_is_found() {
    let members: Vec<String> = [
        "krake-proto",
        "krake-client",
        "krake-runtime",
        "krake-state",
        "krake-gc",
        "rok",
        "krake",
        "krake-fuzz",
    ]
    .map(str::to_owned)
    .to_vec();
    let verdicts = BTreeMap::from([
        (("krake-client", "krake-proto"), true),
        (("krake-proto", "krake-client"), false),
        (("krake-runtime", "krake-client"), true),
        (("krake-client", "krake-runtime"), false),
        (("krake-state", "krake-runtime"), true),
        (("krake-runtime", "krake-state"), false),
        (("krake-state", "krake-gc"), false),
        (("krake-gc", "krake-gc"), false),
        (("rok", "krake-client"), true),
        (("rok", "krake-runtime"), false),
        (("rok", "krake-state"), false),
        (("krake-gc", "rok"), false),
        (("krake-gc", "krake"), false),
        (("krake", "krake-state"), true),
        (("krake-fuzz", "krake-state"), true),
        (("krake-state", "krake-fuzz"), false),
        (("krake-state", "etcd-client"), true),
        (("krake-gc", "etcd-client"), false),
        (("krake", "rusqlite"), false),
        (("krake-gc", "kube"), false),
        (("krake-state", "reqwest"), false),
        (("krake-state", "serde"), true),
    ]);
    for ((from, to), allowed) in verdicts {
        for purpose in [Use::Product, Use::Tests] {
            let found = violations(&members, &[(from.to_owned(), to.to_owned(), purpose)]);
            assert_eq!(found.is_empty(), allowed, "{from} on {to}: {found:?}");
        }
    }
}

#[test]
fn a_simulator_is_for_the_tests_of_the_adapter_alone() {
    let members = ["krake-kubernetes", "krake-cluster-sim", "krake-gc"].map(str::to_owned);
    let is_allowed = |from: &str, to: &str, purpose| {
        violations(&members, &[(from.to_owned(), to.to_owned(), purpose)]).is_empty()
    };
    assert!(is_allowed("krake-kubernetes", "krake-cluster-sim", Use::Tests));
    assert!(!is_allowed("krake-kubernetes", "krake-cluster-sim", Use::Product));
    assert!(!is_allowed("krake-cluster-sim", "krake-kubernetes", Use::Tests));
    assert!(!is_allowed("krake-gc", "krake-cluster-sim", Use::Tests));
}
