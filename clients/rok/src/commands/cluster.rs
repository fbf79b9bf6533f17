//! `rok kube cluster register` and `update`.

use krake_client::Mask;
use krake_proto::json::document;
use krake_proto::krake::core::v1::MetricRef;
use krake_proto::krake::kubernetes::v1::{Cluster, ClusterSpec};
use krake_proto::krake::meta::v1::Metadata;

use super::application::backoff_mask;
use super::{Session, file};
use crate::args::{DescribeCluster, RegisterCluster, UpdateCluster};
use crate::failure::Failure;
use crate::kubeconfig::{self, Selected};
use crate::output;
use crate::progress::Goal;
use crate::wait;

pub(super) async fn register(session: &Session, args: RegisterCluster) -> Result<String, Failure> {
    let selected = select(&args.kubeconfig, args.context.as_deref())?;
    let (mut cluster, _) = describe(args.cluster)?;
    let metadata = cluster.metadata.get_or_insert_default();
    metadata.namespace = session.namespace(&args.namespace);
    metadata.name = args.name.unwrap_or(selected.cluster);
    cluster.spec.get_or_insert_default().kubeconfig = Some(document(&selected.document));
    let api = session.api::<Cluster>();
    let mut cluster = api.create(&cluster).await?;
    if let Some(state) = args.wait {
        let reached = wait::until(&api, cluster.clone(), Goal::from(state), args.timeout.timeout).await?;
        cluster = reached.unwrap_or(cluster);
    }
    output::object(&cluster, args.output)
}

pub(super) async fn update(session: &Session, args: UpdateCluster) -> Result<String, Failure> {
    let (mut cluster, mut mask) = describe(args.cluster)?;
    let metadata = cluster.metadata.get_or_insert_default();
    metadata.namespace = session.namespace(&args.object.namespace);
    metadata.name = args.object.name;
    if let Some(path) = &args.kubeconfig {
        let selected = select(path, args.context.as_deref())?;
        cluster.spec.get_or_insert_default().kubeconfig = Some(document(&selected.document));
        mask.push("spec.kubeconfig");
    }
    if mask.is_empty() {
        return Err(Failure::Usage("nothing to update: say what is to change".to_owned()));
    }
    let cluster = session.api::<Cluster>().update(&cluster, Mask::fields(mask)).await?;
    output::object(&cluster, args.object.output)
}

fn select(path: &str, context: Option<&str>) -> Result<Selected, Failure> {
    let source = file::read(path)?;
    kubeconfig::select(&source.text, context, |path| source.beside(path))
        .map_err(|problem| source.failure(&[problem]))
}

/// A cluster with what the options say, and the paths of that.
fn describe(args: DescribeCluster) -> Result<(Cluster, Vec<&'static str>), Failure> {
    let metrics = args.metrics().map_err(Failure::Usage)?;
    let lists = [
        ("metadata.labels", args.labels.is_empty()),
        ("spec.metrics", metrics.is_empty()),
        ("spec.custom_resources", args.custom_resources.is_empty()),
        ("spec.allowed_namespaces", args.allowed_namespaces.is_empty()),
    ];
    let given = lists.into_iter().filter(|(_, absent)| !absent).map(|(path, _)| path);
    let mask = given.chain(backoff_mask(&args.backoff)).collect();
    let metadata = Metadata {
        labels: args.labels.into_iter().map(|label| (label.key, label.value)).collect(),
        ..Metadata::default()
    };
    let metric = |metric: crate::args::WeightedMetric| MetricRef {
        name: metric.name,
        weight: metric.weight,
        namespaced: metric.namespaced,
    };
    let spec = ClusterSpec {
        metrics: metrics.into_iter().map(metric).collect(),
        custom_resources: args.custom_resources,
        allowed_namespaces: args.allowed_namespaces,
        backoff: args.backoff.backoff,
        backoff_delay: args.backoff.delay,
        backoff_limit: args.backoff.limit,
        ..ClusterSpec::default()
    };
    Ok((Cluster { metadata: Some(metadata), spec: Some(spec), status: None }, mask))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Backoff, Label};

    #[test]
    fn a_description_knows_what_was_given() {
        assert!(describe(DescribeCluster::default()).unwrap().1.is_empty());
        let args = DescribeCluster {
            labels: vec![Label { key: "location".into(), value: "DE".into() }],
            allowed_namespaces: vec!["*".into()],
            backoff: Backoff { limit: Some(-1), ..Backoff::default() },
            ..DescribeCluster::default()
        };
        let (cluster, mask) = describe(args).unwrap();
        assert_eq!(mask, ["metadata.labels", "spec.allowed_namespaces", "spec.backoff_limit"]);
        assert_eq!(cluster.metadata.unwrap().labels["location"], "DE");
        let spec = cluster.spec.unwrap();
        assert_eq!(
            (spec.allowed_namespaces, spec.backoff, spec.backoff_limit),
            (vec!["*".into()], None, Some(-1))
        );
    }

    #[test]
    fn errors_name_the_file_and_never_quote_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, "contexts: [{name: a}, {name: b}]\nusers: [{token: s3cret}]\n").unwrap();
        let path = path.to_str().unwrap();
        let error = select(path, None).unwrap_err().to_string();
        assert_eq!(error, format!("{path}: kubeconfig has 2 contexts (a, b): choose one with --context"));
        std::fs::write(path, "users: [{token: s3cret\n").unwrap();
        let error = select(path, None).unwrap_err().to_string();
        assert!(error.starts_with(path) && !error.contains("s3cret"), "{error}");
    }
}
