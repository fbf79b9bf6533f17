//! What the demo writes by the public API. All of it may be there already, from a run before that was killed anywhere.

use std::time::Duration;

use anyhow::Context;
use krake_client::{Api, Client, Mask};
use krake_proto::Resource;
use krake_proto::json::document;
use krake_proto::krake::core::v1::metrics_provider_spec::Type;
use krake_proto::krake::core::v1::{
    Metric, MetricRef, MetricSource, MetricSpec, MetricsProvider, MetricsProviderSpec, PrometheusProvider,
};
use krake_proto::krake::kubernetes::v1::{
    Application, ApplicationSpec, Cluster, ClusterConstraints, ClusterSpec, Constraints, Manifest,
};
use krake_proto::krake::meta::v1::Metadata;
use serde_json::Value;

use super::regions::Region;
use super::wind::Wind;

/// Where `rok` looks by itself.
pub(crate) const NAMESPACE: &str = "system:admin";
/// The application.
pub(crate) const APPLICATION: &str = "echo-demo";
/// Which clusters are eligible.
pub(crate) const CONSTRAINT: &str = "location in (DE, FR)";
const EXAMPLE: &str = include_str!("../../../../examples/echo-demo.yaml");
const PROVIDER: &str = "simulated-wind";
/// An object that is being deleted is waited for so long.
const DELETION: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(200);

/// The metrics provider at this address, and a metric for each region.
pub(crate) async fn metrics(client: &Client, regions: &[Region], url: &str) -> anyhow::Result<()> {
    let provider = MetricsProvider {
        metadata: Some(Metadata { name: PROVIDER.to_owned(), ..Metadata::default() }),
        spec: Some(MetricsProviderSpec {
            r#type: Some(Type::Prometheus(PrometheusProvider { url: url.to_owned() })),
        }),
    };
    ensure(&client.api(), &provider, &["spec"]).await?;
    for region in regions {
        let source = MetricSource { name: PROVIDER.to_owned(), metric: Wind::query(region.location) };
        let spec =
            MetricSpec { min: Some(0.0), max: Some(1.0), provider: Some(source), ..MetricSpec::default() };
        let metadata = Metadata { name: region.metric(), ..Metadata::default() };
        ensure(&client.api(), &Metric { metadata: Some(metadata), spec: Some(spec) }, &["spec"]).await?;
    }
    Ok(())
}

/// A region's cluster. It refers to no metric until [`ranking`]; one of an earlier run keeps its metrics.
pub(crate) async fn cluster(client: &Client, region: &Region, kubeconfig: &Value) -> anyhow::Result<()> {
    // After a restart the simulated cluster may be found at another address.
    let fields = ["metadata.labels", "spec.kubeconfig"];
    ensure(&client.api(), &cluster_object(region, kubeconfig, Vec::new()), &fields).await
}

/// Ranks a region's cluster by the region's wind.
pub(crate) async fn ranking(client: &Client, region: &Region, kubeconfig: &Value) -> anyhow::Result<()> {
    let metric = MetricRef { name: region.metric(), weight: 1.0, namespaced: false };
    ensure(&client.api(), &cluster_object(region, kubeconfig, vec![metric]), &["spec.metrics"]).await
}

fn cluster_object(region: &Region, kubeconfig: &Value, metrics: Vec<MetricRef>) -> Cluster {
    let labels = [("location".to_owned(), region.location.to_owned())].into();
    let kubeconfig = Some(document(kubeconfig));
    Cluster {
        metadata: Some(Metadata { labels, ..metadata(region.cluster) }),
        spec: Some(ClusterSpec { kubeconfig, metrics, ..ClusterSpec::default() }),
        ..Cluster::default()
    }
}

/// The example application. One that is there already stays as it is.
pub(crate) async fn application(client: &Client) -> anyhow::Result<()> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(EXAMPLE).context("examples/echo-demo.yaml")?;
    let manifest =
        objects.iter().map(|object| Manifest { document: Some(document(object)), ..Manifest::default() });
    let cluster = ClusterConstraints { labels: vec![CONSTRAINT.to_owned()], ..ClusterConstraints::default() };
    let spec = ApplicationSpec {
        manifest: manifest.collect(),
        constraints: Some(Constraints { cluster: Some(cluster), ..Constraints::default() }),
        ..ApplicationSpec::default()
    };
    let application =
        Application { metadata: Some(metadata(APPLICATION)), spec: Some(spec), ..Application::default() };
    ensure(&client.api(), &application, &[]).await
}

fn metadata(name: &str) -> Metadata {
    Metadata { namespace: NAMESPACE.to_owned(), name: name.to_owned(), ..Metadata::default() }
}

/// Creates an object, or writes these fields of the one that is there. One that is being deleted is waited for.
async fn ensure<K: Resource>(api: &Api<K>, object: &K, fields: &[&str]) -> anyhow::Result<()> {
    let wanted = object.metadata().cloned().unwrap_or_default();
    let name = format!("{} {}", K::KIND.kind, wanted.name);
    let work = async {
        loop {
            let present = api.get_opt(&wanted.namespace, &wanted.name).await?;
            let written = match present.as_ref().and_then(Resource::metadata) {
                None => api.create(object).await,
                Some(metadata) if metadata.deleted.is_some() => {
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
                Some(_) if fields.is_empty() => return Ok(()),
                Some(_) => api.update(object, Mask::fields(fields.iter().copied())).await,
            };
            match written {
                Ok(_) => return Ok(()),
                // Somebody was faster; what is there now decides.
                Err(error) if error.is_already_exists() || error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
    };
    let result = tokio::time::timeout(DELETION, work).await;
    result
        .with_context(|| format!("{name} is still being deleted"))?
        .with_context(|| format!("cannot write {name}"))
}
