//! One trace from the command to the objects on the cluster, through every service, in a real collector.

use std::collections::{BTreeSet, HashMap};

use krake_integration::binaries::{Component, require};
use krake_integration::etcd::Etcd;
use krake_integration::otlp::{Collector, ReceivedSpan};
use krake_integration::stack::Stack;
use krake_integration::wait::{self, HANG_GUARD};

use crate::world::{SETTINGS, ground, repository};

/// The spans from one up to its root, itself first.
fn ancestry<'a>(span: &'a ReceivedSpan, spans: &'a [ReceivedSpan]) -> Vec<&'a ReceivedSpan> {
    let by_id: HashMap<&str, &ReceivedSpan> = spans.iter().map(|span| (span.id.as_str(), span)).collect();
    let mut chain = vec![span];
    while let Some(parent) = chain.last().and_then(|last| by_id.get(last.parent_id.as_str())) {
        assert!(chain.len() <= spans.len(), "spans are their own ancestors: {chain:#?}");
        chain.push(parent);
    }
    chain
}

/// The span that applied an object of this kind and name.
fn applied<'a>(spans: &'a [ReceivedSpan], object: &str) -> Option<&'a ReceivedSpan> {
    let names = |span: &&ReceivedSpan| {
        span.name == "apply" && span.attributes.get("object").is_some_and(|text| text.contains(object))
    };
    spans.iter().find(names)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_the_command_to_the_objects_on_the_cluster() {
    let Some(binaries) = require(&[Component::Otlp]) else { return };
    let Some((ground, _turn)) = ground().await else { return };
    let (etcd, collector) = tokio::try_join!(Etcd::start(&binaries), Collector::start(&binaries)).unwrap();
    let export = ["--otlp-endpoint", collector.endpoint()];
    let stack = Stack::start_with(&etcd, SETTINGS, &export).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, ground.one.kubeconfig().to_string()).unwrap();
    let register = ["kube", "cluster", "register", "-k", kubeconfig.to_str().unwrap(), "one", "--wait"];
    stack.rok_ok(&register).await.unwrap();

    let example = repository().join("examples/echo-demo.yaml");
    let create = ["kube", "app", "create", "-f", example.to_str().unwrap(), "echo-demo", "--wait"];
    stack.rok_ok(&[&create[..], &export].concat()).await.unwrap();

    // Processes send their spans every few seconds.
    let complete = async || {
        let spans = collector.spans().unwrap();
        let root = spans.iter().find(|span| span.name == "rok kube app create")?;
        let of_trace: Vec<_> = spans.iter().filter(|span| span.trace_id == root.trace_id).cloned().collect();
        let services: BTreeSet<&str> = of_trace.iter().map(|span| span.service.as_str()).collect();
        let all = ["krake-kubernetes", "krake-scheduler", "krake-state", "rok"];
        (services.is_superset(&all.into()) && applied(&of_trace, "Service").is_some()).then_some(of_trace)
    };
    let of_trace = wait::until("one trace with spans of every process", HANG_GUARD, complete).await.unwrap();

    for object in ["Deployment", "Service"] {
        let applied = applied(&of_trace, object).unwrap();
        let way = ancestry(applied, &of_trace);
        let services: Vec<&str> = way.iter().map(|span| span.service.as_str()).collect();
        assert_eq!(services.first(), Some(&"krake-kubernetes"), "{way:#?}");
        assert!(services.contains(&"krake-scheduler"), "{way:#?}");
        assert_eq!(way.last().unwrap().name, "rok kube app create", "{way:#?}");
    }
    let stored = "krake.kubernetes.v1.ApplicationService/CreateApplication";
    let stored = of_trace.iter().find(|span| span.name == stored).unwrap();
    assert_eq!(ancestry(stored, &of_trace).last().unwrap().service, "rok");

    let printed = collector.printed().unwrap();
    for user in ground.one.kubeconfig()["users"].as_array().unwrap() {
        for secret in user["user"].as_object().unwrap().values().filter_map(|value| value.as_str()) {
            assert!(!printed.contains(secret), "spans hold a credential");
        }
    }
    stack.rok_ok(&["kube", "app", "delete", "echo-demo", "--wait"]).await.unwrap();
    stack.rok_ok(&["kube", "cluster", "delete", "one", "--wait"]).await.unwrap();
}
