//! The demo: Krake as it is, beside simulated clusters and simulated wind, and a narrator who watches the API.

mod fleet;
mod places;
mod regions;
mod register;
mod story;
mod view;
mod wind;

use anyhow::Context;
use krake_client::{Client, ConnectOptions};
use krake_runtime::process::ProcessConfig;
use krake_runtime::shutdown::Shutdown;
use krake_runtime::telemetry::TelemetryConfig;
use tokio::sync::oneshot;

use crate::interrupt;
use crate::ready::{Endpoints, say};
use places::Places;
use regions::Region;
use register::APPLICATION;
use story::{Narrator, Story};
use wind::Wind;

/// The settings in force.
#[derive(Debug, Clone)]
pub struct Config {
    /// Those of Krake.
    pub krake: crate::Config,
    /// Whether to end after the story.
    pub exit: bool,
}

impl ProcessConfig for Config {
    fn telemetry(&self) -> &TelemetryConfig {
        &self.krake.telemetry
    }
}

const TITLE: [&str; 4] = [
    "Krake's main job: an application runs on the best of several Kubernetes clusters, and moves when another one",
    "becomes better. Clusters, pods and wind are simulated; all else is Krake as it is. What follows is what its API",
    "shows.",
    "",
];

/// Runs Krake and tells the story; then stays up until shutdown is requested, unless `--exit` is set.
///
/// # Errors
/// As [`crate::serve`], and when something of the story does not happen in time.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    say(&TITLE.map(str::to_owned));
    let narrator = Narrator::begin();
    let (places, memory) = Places::find(&config.krake.data_dir).await?;
    let (wind, wind_url) = (Wind::default(), wind::url(places.wind.local_addr()?));
    let (fleet, kubeconfigs) = fleet::clusters(places.clusters.local_addr()?)?;

    // Krake ends before what it looks at.
    let (krake_stop, around_stop) = (shutdown.child(), Shutdown::new());
    let (tell_ready, ready) = oneshot::channel();
    let on_ready = |endpoints: &Endpoints| {
        // The story may have ended already.
        let _ = tell_ready.send(endpoints.clone());
    };
    let krake = Box::pin(crate::serve(config.krake, on_ready, krake_stop.clone()));
    let story = async {
        let Ok(endpoints) = ready.await else { return std::future::pending().await };
        memory.keep()?;
        let client = Client::new(&ConnectOptions::new(endpoints.api_url()))?;
        let wind = wind.clone();
        let story = Story { narrator, client, wind, wind_url, kubeconfigs, endpoints: &endpoints };
        let mut applications = story.tell().await?;
        if config.exit {
            return Ok(());
        }
        say(&next(&endpoints, &story.wind_url, applications.elsewhere()));
        Err(applications.go_on().await)
    };
    let krake_and_story = async {
        tokio::pin!(krake);
        let told = tokio::select! {
            ended = &mut krake => return ended,
            told = story => told,
        };
        let asked_to_end = shutdown.is_requested();
        krake_stop.request();
        let ended = krake.await;
        // Who is asked to end does not finish the story.
        if asked_to_end { ended } else { told.and(ended) }
    };
    tokio::select! {
        ended = krake_and_story => ended,
        ended = fleet.serve(places.clusters, around_stop.clone()) => ended.context("the simulated clusters broke down"),
        ended = wind.clone().serve(places.wind, around_stop) => ended.context("the simulated wind broke down"),
        ended = interrupt::end_at_once_on_the_second(shutdown.clone()) => ended.context("cannot listen for signals"),
    }
}

/// What to try while it stays up.
fn next(endpoints: &Endpoints, wind_url: &str, elsewhere: &Region) -> Vec<String> {
    let (rok, rest, data) = (endpoints.rok(), endpoints.rest_url(), endpoints.data_dir.display());
    let api = endpoints.api_url();
    let api = api.trim_start_matches("http://");
    let mut lines = vec![String::new(), "Krake stays up until Ctrl-C. It listens on".to_owned()];
    lines.extend(endpoints.addresses().iter().map(|line| format!("  {line}")));
    lines.extend([
        format!("  wind       {wind_url} (simulated)"),
        "Try, in another terminal:".to_owned(),
        format!("  {rok} kube app get {APPLICATION}                  where it runs, and why"),
        format!("  {rok} kube cluster list"),
        format!(
            "  curl -X POST {wind_url}/wind/{}/0.95       let the wind blow elsewhere",
            elsewhere.location
        ),
        format!("  curl {rest}/kubernetes/namespaces/{}/applications/{APPLICATION}", register::NAMESPACE),
        format!("  grpcurl -plaintext {api} list"),
        format!("  {rok} kube app delete {APPLICATION} --wait"),
        format!("To start over: stop it and remove {data}."),
        String::new(),
    ]);
    lines
}
