//! The controllers against a fake API server, in simulated time: what is written, when, and how often.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use krake_proto::condition::types;
use krake_proto::krake::core::v1::{self as core, metrics_provider_spec};
use krake_proto::krake::kubernetes::v1 as api;
use krake_proto::krake::meta::v1::{Condition, ConditionStatus, Metadata, ResourceRef};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::fake_api::{Behaviour, FakeApi, Write};
use super::*;

mod attempts;
mod load;
mod metrics;
mod moves;

const SECOND: Duration = Duration::from_secs(1);

/// A clock that follows Tokio's: seconds since the test began, and how often it was asked.
fn clock() -> (Clock, Arc<AtomicUsize>) {
    let (begin, asked) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let count = asked.clone();
    let clock = move || {
        count.fetch_add(1, Ordering::Relaxed);
        Timestamp::UNIX_EPOCH.checked_add(begin.elapsed()).unwrap()
    };
    (Arc::new(clock), asked)
}

/// A fake API and a scheduler that works on it.
struct Fixture {
    api: FakeApi,
    clock: Clock,
    asked: Arc<AtomicUsize>,
    scheduler: JoinHandle<anyhow::Result<()>>,
}

impl Fixture {
    async fn start(prepare: impl FnOnce(&FakeApi)) -> Self {
        let (clock, asked) = clock();
        let api = FakeApi::new(clock.clone());
        prepare(&api);
        let scheduler = Self::schedule(&api, &clock);
        Fixture { api, clock, asked, scheduler }
    }

    fn schedule(api: &FakeApi, clock: &Clock) -> JoinHandle<anyhow::Result<()>> {
        let settings = Settings {
            options: Options::default(),
            metrics_interval: SECOND * 10,
            metrics_addresses: AddressPolicy::default(),
            workers: 16,
            controller_metrics: ControllerMetrics::default(),
            clock: clock.clone(),
        };
        let leadership = Leadership::unopposed(&api.client(), "scheduler");
        tokio::spawn(schedule(leadership, settings, || (), Shutdown::new()))
    }

    /// Ends the scheduler as a crash does and starts another one after a while.
    async fn restart_after(&mut self, pause: Duration) {
        self.scheduler.abort();
        sleep(pause).await;
        self.scheduler = Self::schedule(&self.api, &self.clock);
    }

    fn second(&self) -> i64 {
        (self.clock)().as_second()
    }

    /// Waits until an application is as wanted.
    async fn until(&self, name: &str, wanted: impl Fn(&api::ApplicationStatus) -> bool) {
        for _ in 0..100_000 {
            if self.api.get::<api::Application>(name).status.as_ref().is_some_and(&wanted) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("never: {:#?}", self.api.get::<api::Application>(name).status);
    }

    fn status(&self, name: &str) -> api::ApplicationStatus {
        self.api.get::<api::Application>(name).status.unwrap_or_default()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.scheduler.abort();
    }
}

fn metadata(name: &str) -> Metadata {
    Metadata {
        namespace: "ns".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
        generation: 1,
        ..Default::default()
    }
}

fn application(name: &str) -> api::Application {
    api::Application {
        metadata: Some(metadata(name)),
        spec: Some(api::ApplicationSpec::default()),
        status: None,
    }
}

/// At most `limit` further attempts, the first after 3 s, each wait twice as long.
fn limited(name: &str, limit: i32) -> api::Application {
    let spec = api::ApplicationSpec {
        backoff: Some(2),
        backoff_delay: Some(3),
        backoff_limit: Some(limit),
        ..Default::default()
    };
    api::Application { spec: Some(spec), ..application(name) }
}

fn says(r#type: &str, status: ConditionStatus, second: i64) -> Condition {
    Condition {
        r#type: r#type.into(),
        status: status.into(),
        last_transition_time: Some(prost_types::Timestamp { seconds: second, nanos: 0 }),
        ..Default::default()
    }
}

/// A cluster that is ONLINE.
fn cluster(name: &str) -> api::Cluster {
    let conditions = vec![
        says(types::REACHABLE, ConditionStatus::True, 0),
        says(types::NODES_HEALTHY, ConditionStatus::True, 0),
    ];
    api::Cluster {
        metadata: Some(metadata(name)),
        spec: Some(api::ClusterSpec::default()),
        status: Some(api::ClusterStatus { conditions, ..Default::default() }),
    }
}

/// A cluster with one metric, whose name, value and query are those of the cluster.
fn measured(api: &FakeApi, name: &str) {
    let mut cluster = cluster(name);
    let reference = core::MetricRef { name: name.into(), weight: 1.0, namespaced: true };
    cluster.spec.get_or_insert_default().metrics = vec![reference];
    api.put(cluster);
    api.put(core::Metric {
        metadata: Some(metadata(name)),
        spec: Some(core::MetricSpec {
            min: Some(0.0),
            max: Some(1.0),
            provider: Some(core::MetricSource { name: "values".into(), metric: name.into() }),
            ..Default::default()
        }),
    });
}

/// Sets the values of all metrics.
fn values(api: &FakeApi, values: &[(&str, f64)]) {
    let metrics: BTreeMap<_, _> = values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    provider(api, metrics_provider_spec::Type::Static(core::StaticProvider { metrics }));
}

/// The provider of all metrics.
fn provider(api: &FakeApi, of: metrics_provider_spec::Type) {
    api.put(core::MetricsProvider {
        metadata: Some(metadata("values")),
        spec: Some(core::MetricsProviderSpec { r#type: Some(of) }),
    });
}

fn bound_to(status: &api::ApplicationStatus) -> Option<String> {
    status.bindings.first()?.cluster.clone().map(|cluster| cluster.name)
}

fn is_bound_to(name: &'static str) -> impl Fn(&api::ApplicationStatus) -> bool {
    move |status| bound_to(status).as_deref() == Some(name)
}

fn seconds(writes: &[Write]) -> Vec<i64> {
    writes.iter().map(|write| write.second).collect()
}

#[tokio::test(start_paused = true)]
async fn no_kubeconfig_is_asked_for() {
    let fixture = Fixture::start(|_| {}).await;
    sleep(SECOND).await;
    let views = fixture.api.views();
    assert!(views.contains(&(Cluster::KIND.service, View::Basic)), "{views:?}");
    let whole = views.iter().filter(|(_, view)| *view != View::Basic);
    let whole: Vec<&str> = whole.map(|(service, _)| *service).collect();
    assert_eq!(whole, [MetricsProvider::KIND.service], "it needs the credentials of what it queries");
}
