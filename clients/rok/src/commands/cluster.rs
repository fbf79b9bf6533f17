//! `rok kube cluster register`, `update` and `lost`.

use krake_proto::json::document;
use krake_proto::krake::core::v1::MetricRef;
use krake_proto::krake::kubernetes::v1::{AcceptClusterIdentityRequest, Cluster, DeclareClusterLostRequest};
use krake_proto::krake::meta::v1::Metadata;

use super::application::backoff;
use super::modify::{Fields, modify, something};
use super::{Session, file};
use crate::args::{
    ClusterRemovals, DescribeCluster, LostCluster, RegisterCluster, Target, UpdateCluster, WeightedMetric,
};
use crate::failure::Failure;
use crate::kubeconfig::{self, Selected};
use crate::output;
use crate::progress::Goal;
use crate::wait;

pub(super) async fn register(session: &Session, args: RegisterCluster) -> Result<String, Failure> {
    let selected = select(&args.kubeconfig, args.context.as_deref())?;
    let name = args.name.unwrap_or_else(|| selected.cluster.clone());
    let metadata = Metadata { namespace: session.namespace(&args.namespace), name, ..Metadata::default() };
    let change = Change::new(Some(selected), args.cluster, ClusterRemovals::default())?;
    let mut cluster = Cluster { metadata: Some(metadata), ..Cluster::default() };
    change.apply(&mut cluster);
    let api = session.api::<Cluster>();
    let mut cluster = api.create(&cluster).await?;
    if let Some(state) = args.wait {
        let reached = wait::until(&api, cluster.clone(), Goal::from(state), args.timeout.timeout).await?;
        cluster = reached.unwrap_or(cluster);
    }
    output::object(&cluster, args.output)
}

pub(super) async fn update(session: &Session, args: UpdateCluster) -> Result<String, Failure> {
    let context = args.context.as_deref();
    let selected = args.kubeconfig.map(|path| select(&path, context)).transpose()?;
    let change = Change::new(selected, args.cluster, args.removals)?;
    let changed = change.apply(&mut Cluster::default());
    let namespace = session.namespace(&args.object.namespace);
    let name = &args.object.target.name;
    let mut cluster = if args.accept_new_identity && changed.is_empty() {
        session.api::<Cluster>().get(&namespace, name).await?
    } else {
        something(changed)?;
        modify(&session.api(), &namespace, name, |cluster: &mut Cluster| Ok(change.apply(cluster))).await?
    };
    if args.accept_new_identity {
        cluster = accept_identity(session, &cluster).await?;
    }
    output::object(&cluster, args.object.target.output)
}

/// Ends the registration of the cluster as it was, and begins one of what answers now.
async fn accept_identity(session: &Session, cluster: &Cluster) -> Result<Cluster, Failure> {
    let metadata = cluster.metadata.clone().unwrap_or_default();
    let request = AcceptClusterIdentityRequest {
        namespace: metadata.namespace,
        name: metadata.name,
        uid: metadata.uid,
    };
    let begun = session.client.clusters().accept_cluster_identity(request).await;
    Ok(begun.map_err(krake_client::Error::from)?.into_inner())
}

pub(super) async fn lost(session: &Session, args: LostCluster) -> Result<String, Failure> {
    let Target { namespace, target } = args.object;
    let request = DeclareClusterLostRequest {
        namespace: session.namespace(&namespace),
        name: target.name,
        uid: String::new(),
    };
    let declared = session.client.clusters().declare_cluster_lost(request).await;
    let cluster = declared.map_err(krake_client::Error::from)?.into_inner();
    output::object(&cluster, target.output)
}

fn select(path: &str, context: Option<&str>) -> Result<Selected, Failure> {
    let source = file::read(path)?;
    kubeconfig::select(&source.text, context, |path| source.beside(path))
        .map_err(|problem| source.failure(&[problem]))
}

/// What the options say about a cluster.
struct Change {
    kubeconfig: Option<Selected>,
    described: DescribeCluster,
    metrics: Vec<WeightedMetric>,
    removals: ClusterRemovals,
}

impl Change {
    fn new(
        kubeconfig: Option<Selected>,
        described: DescribeCluster,
        removals: ClusterRemovals,
    ) -> Result<Self, Failure> {
        let metrics = described.metrics().map_err(Failure::Usage)?;
        Ok(Change { kubeconfig, described, metrics, removals })
    }

    /// Changes a cluster; which fields were written.
    fn apply(&self, cluster: &mut Cluster) -> Vec<&'static str> {
        let mut fields = Fields::default();
        let (given, removals) = (&self.described, &self.removals);
        let labels = given.labels.iter().map(|label| (label.key.clone(), label.value.clone()));
        let metadata = cluster.metadata.get_or_insert_default();
        fields.put("metadata.labels", &mut metadata.labels, labels, removals.labels);
        let spec = cluster.spec.get_or_insert_default();
        let kubeconfig = self.kubeconfig.as_ref().map(|selected| Some(document(&selected.document)));
        fields.set("spec.kubeconfig", &mut spec.kubeconfig, kubeconfig);
        // A metric that is there already gets its new weight.
        let is_given = |old: &MetricRef| {
            self.metrics.iter().any(|new| new.name == old.name && new.namespaced == old.namespaced)
        };
        spec.metrics.retain(|old| !is_given(old));
        let metrics: Vec<MetricRef> = self.metrics.iter().cloned().map(reference).collect();
        fields.add("spec.metrics", &mut spec.metrics, &metrics, removals.metrics);
        fields.add(
            "spec.custom_resources",
            &mut spec.custom_resources,
            &given.custom_resources,
            removals.custom_resources,
        );
        fields.add(
            "spec.allowed_namespaces",
            &mut spec.allowed_namespaces,
            &given.allowed_namespaces,
            removals.allowed_namespaces,
        );
        fields.set("spec.allow_duplicate", &mut spec.allow_duplicate, given.allow_duplicate);
        backoff(
            &mut fields,
            &given.backoff,
            [&mut spec.backoff, &mut spec.backoff_delay, &mut spec.backoff_limit],
        );
        fields.paths()
    }
}

fn reference(metric: WeightedMetric) -> MetricRef {
    MetricRef { name: metric.name, weight: metric.weight, namespaced: metric.namespaced }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Backoff, Label};

    fn change(described: DescribeCluster, removals: ClusterRemovals) -> Change {
        Change::new(None, described, removals).unwrap()
    }

    #[test]
    fn a_description_knows_what_was_given() {
        let nothing = change(DescribeCluster::default(), ClusterRemovals::default());
        assert!(nothing.apply(&mut Cluster::default()).is_empty());
        let args = DescribeCluster {
            labels: vec![Label { key: "location".into(), value: "DE".into() }],
            allowed_namespaces: vec!["*".into()],
            backoff: Backoff { limit: Some(-1), ..Backoff::default() },
            ..DescribeCluster::default()
        };
        let mut cluster = Cluster::default();
        let fields = change(args, ClusterRemovals::default()).apply(&mut cluster);
        assert_eq!(fields, ["metadata.labels", "spec.allowed_namespaces", "spec.backoff_limit"]);
        assert_eq!(cluster.metadata.unwrap().labels["location"], "DE");
        let spec = cluster.spec.unwrap();
        assert_eq!(
            (spec.allowed_namespaces, spec.backoff, spec.backoff_limit),
            (vec!["*".into()], None, Some(-1))
        );
    }

    #[test]
    fn metrics_are_added_or_get_a_new_weight_unless_the_old_ones_are_removed() {
        let metrics = |pairs: &[&str]| DescribeCluster {
            namespaced_pairs: pairs.iter().map(|word| (*word).to_owned()).collect(),
            ..DescribeCluster::default()
        };
        let shown = |cluster: &Cluster| {
            let metrics = cluster.spec.clone().unwrap().metrics;
            metrics.into_iter().map(|metric| (metric.name, metric.weight)).collect::<Vec<_>>()
        };
        let mut cluster = Cluster::default();
        change(metrics(&["heat", "1", "load", "2"]), ClusterRemovals::default()).apply(&mut cluster);
        change(metrics(&["heat", "3", "cost", "4"]), ClusterRemovals::default()).apply(&mut cluster);
        assert_eq!(shown(&cluster), [("load".into(), 2.0), ("heat".into(), 3.0), ("cost".into(), 4.0)]);
        let removals = ClusterRemovals { metrics: true, ..ClusterRemovals::default() };
        change(metrics(&["heat", "5"]), removals).apply(&mut cluster);
        assert_eq!(shown(&cluster), [("heat".into(), 5.0)]);
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
