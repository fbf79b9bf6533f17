//! The story: what should happen, step by step, and what the API shows of it.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use futures::StreamExt;
use krake_client::{Client, Watch, WatchEvent, WatchOptions};
use krake_proto::condition::{find, types};
use krake_proto::krake::kubernetes::v1::{Application, Cluster, ClusterState, ClusterStatus};
use krake_proto::krake::meta::v1::ConditionStatus;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::regions::{REGIONS, Region, TURNED};
use super::register::{self, APPLICATION, CONSTRAINT, NAMESPACE};
use super::view::{View, short};
use super::wind::Wind;
use crate::ready::{Endpoints, say};

/// Longest duration of one step. All steps together take some ten seconds on an idle machine, and a step may take a
/// minute on one that is busy with other work; after two the story is stuck.
const STEP: Duration = Duration::from_secs(120);

/// Tells what happens, with the time since the beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Narrator {
    begun: Instant,
}

impl Narrator {
    /// Begins now.
    pub(crate) fn begin() -> Self {
        Narrator { begun: Instant::now() }
    }

    /// Tells one thing.
    pub(crate) fn tell(&self, text: &str) {
        say(&[format!("{:5.1} s  {text}", self.begun.elapsed().as_secs_f64())]);
    }

    /// Leaves a line out.
    pub(crate) fn pause(&self) {
        say(&[String::new()]);
    }
}

/// What the story works with.
pub(crate) struct Story<'a> {
    pub(crate) narrator: Narrator,
    pub(crate) client: Client,
    pub(crate) wind: Wind,
    /// Base URL of the wind's query API.
    pub(crate) wind_url: String,
    /// Of the regions' clusters, in their order.
    pub(crate) kubeconfigs: Vec<Value>,
    pub(crate) endpoints: &'a Endpoints,
}

impl Story<'_> {
    /// Tells the whole story. What the API shows of the application after it, [`Applications::go_on`] tells.
    ///
    /// # Errors
    /// When something does not happen in time; the text says what, and what the API shows instead.
    pub(crate) async fn tell(&self) -> anyhow::Result<Applications> {
        let Story { narrator, client, .. } = self;
        narrator.tell("Krake is ready");
        say(&self
            .endpoints
            .addresses()
            .iter()
            .map(|line| format!("             {line}"))
            .collect::<Vec<_>>());

        let mut applications = Applications::follow(client, *narrator);
        let found = applications.first().await?;
        let home = Region::home(found.as_ref().and_then(|view| view.bound.as_deref()));
        self.register_clusters(home).await?;
        narrator.pause();
        self.deploy(&mut applications, found, home).await?;
        narrator.pause();
        self.turn_the_wind(&mut applications, home).await?;
        narrator.pause();
        narrator.tell("that is Krake's main job");
        Ok(applications)
    }

    /// Registers the clusters, and ranks them so that the one of `home` is the best.
    async fn register_clusters(&self, home: &Region) -> anyhow::Result<()> {
        let Story { narrator, client, .. } = self;
        self.wind.begin(REGIONS.map(|region| (region.location.to_owned(), region.first_wind(home))));
        register::metrics(client, &REGIONS, &self.wind_url).await?;
        for (region, kubeconfig) in REGIONS.iter().zip(&self.kubeconfigs) {
            register::cluster(client, region, kubeconfig).await?;
        }
        let clusters = REGIONS.map(|region| format!("{} ({})", region.cluster, region.location)).join(", ");
        narrator.tell(&format!("registered three simulated clusters: {clusters}"));
        let online = |status: &ClusterStatus| status.state() == ClusterState::Online;
        let tell_online = |name: &str, status: &ClusterStatus| {
            narrator.tell(&format!("{name} is ONLINE: Kubernetes {}", status.kubernetes_version));
        };
        self.every_cluster("ONLINE", online, tell_online).await?;
        let winds =
            REGIONS.map(|region| format!("{} {:.0} %", region.location, region.first_wind(home) * 100.0));
        narrator.tell(&format!("they are ranked by wind power, simulated too: {}", winds.join(", ")));
        self.rank().await
    }

    /// Creates the application, or takes over the one that was `found`, and waits until it runs at `home`.
    async fn deploy(
        &self,
        applications: &mut Applications,
        found: Option<View>,
        home: &Region,
    ) -> anyhow::Result<()> {
        let Story { narrator, client, .. } = self;
        match found {
            None => narrator.tell(&format!(
                "creating {APPLICATION} (examples/echo-demo.yaml), for clusters with \"{CONSTRAINT}\""
            )),
            Some(view) => {
                narrator.tell(&format!(
                    "{APPLICATION} is there already, from an earlier run: {}",
                    view.summary()
                ));
                narrator.tell(
                    "the simulated clusters are new and empty: Krake deploys again what should run there",
                );
            }
        }
        register::application(client).await?;
        applications.until("a cluster to be chosen", |view| view.bound.is_some()).await?;
        // An application of an earlier run may be elsewhere at first, and then Krake moves it by itself.
        let at_home = |view: &View| view.settled() && view.bound.as_deref() == Some(home.cluster);
        applications.until(&format!("it to be RUNNING on {} alone", home.cluster), at_home).await?;
        Ok(())
    }

    /// Makes the other region the better one, and waits until the application has moved there.
    async fn turn_the_wind(&self, applications: &mut Applications, home: &Region) -> anyhow::Result<()> {
        let narrator = self.narrator;
        let (from, to) = (home, home.other());
        narrator.tell(&format!(
            "the wind turns: {} from {:.0} to {:.0} %, {} from {:.0} to {:.0} %",
            from.location,
            from.first_wind(home) * 100.0,
            TURNED.0 * 100.0,
            to.location,
            to.first_wind(home) * 100.0,
            TURNED.1 * 100.0,
        ));
        self.wind.turn(from.location, TURNED.0);
        self.wind.turn(to.location, TURNED.1);
        let chosen = |view: &View| view.bound.as_deref() == Some(to.cluster);
        applications.until(&format!("{} to be chosen", to.cluster), chosen).await?;
        let available = |view: &View| view.copy_on(to.cluster).is_some_and(|copy| copy.phase == "RUNNING");
        let view =
            applications.until(&format!("the new copy to be available on {}", to.cluster), available).await?;
        if view.copy_on(from.cluster).is_none() {
            bail!("the copy on {} went before the new one was available: {}", from.cluster, view.summary());
        }
        narrator.tell(&format!("{} has taken over, and {} was there until now", to.cluster, from.cluster));
        let moved = |view: &View| chosen(view) && view.settled();
        applications.until(&format!("it to be RUNNING on {} alone", to.cluster), moved).await?;
        Ok(())
    }

    /// Gives every cluster its metric, and waits until the scheduler has read it.
    ///
    /// The scheduler sees changes of clusters in the order in which they were made. Clusters get their metrics only
    /// after all are ONLINE, so a scheduler that reports on the metrics has seen that too. Its first decision then
    /// compares all clusters, on a machine of any speed.
    async fn rank(&self) -> anyhow::Result<()> {
        for (region, kubeconfig) in REGIONS.iter().zip(&self.kubeconfigs) {
            register::ranking(&self.client, region, kubeconfig).await?;
        }
        self.every_cluster("ranked", has_metrics, |_, _| {}).await
    }

    /// Waits until `holds` has been true of every cluster's status; `met` is called as it becomes true of each.
    async fn every_cluster(
        &self,
        what: &str,
        holds: impl Fn(&ClusterStatus) -> bool,
        met: impl Fn(&str, &ClusterStatus),
    ) -> anyhow::Result<()> {
        let mut events = self.client.api::<Cluster>().watch(WatchOptions::namespace(NAMESPACE));
        let mut waiting: Vec<&str> = REGIONS.iter().map(|region| region.cluster).collect();
        let mut last = String::new();
        let deadline = Instant::now() + STEP;
        while !waiting.is_empty() {
            let Ok(event) = timeout_at(deadline, events.next()).await else {
                bail!("waited {} s for {} to be {what}: {last}", STEP.as_secs(), waiting.join(", "));
            };
            let WatchEvent::Applied { object, .. } = event.context("the watch of the clusters ended")??
            else {
                continue;
            };
            let name = object.metadata.unwrap_or_default().name;
            let status = object.status.unwrap_or_default();
            if holds(&status) {
                if waiting.contains(&name.as_str()) {
                    met(&name, &status);
                }
                waiting.retain(|waiting| *waiting != name);
            } else {
                let reason = status.reason.clone().unwrap_or_default().message;
                let state = short(status.state().as_str_name(), "CLUSTER_STATE_");
                last = format!("{name} is {state} {reason}");
            }
        }
        Ok(())
    }
}

/// What the API shows of the application, told as it comes.
pub(crate) struct Applications {
    narrator: Narrator,
    events: Watch<Application>,
    view: View,
}

impl Applications {
    fn follow(client: &Client, narrator: Narrator) -> Self {
        let events = client.api::<Application>().watch(WatchOptions::namespace(NAMESPACE));
        Applications { narrator, events, view: View::default() }
    }

    /// The application as it is at the beginning, if it is there. Prints nothing.
    async fn first(&mut self) -> anyhow::Result<Option<View>> {
        let deadline = Instant::now() + STEP;
        let mut found = None;
        loop {
            match timeout_at(deadline, self.events.next()).await.context("the API shows no applications")? {
                Some(Ok(WatchEvent::Synced { .. })) => break,
                Some(Ok(WatchEvent::Applied { object, .. })) if is_it(&object) => {
                    found = Some(View::of(&object))
                }
                Some(event) => drop(event?),
                None => bail!("the watch of the applications ended"),
            }
        }
        self.view = found.clone().unwrap_or_default();
        Ok(found)
    }

    /// Tells what happens until something holds, which may be at once.
    async fn until(&mut self, what: &str, holds: impl Fn(&View) -> bool) -> anyhow::Result<View> {
        let deadline = Instant::now() + STEP;
        while !holds(&self.view) {
            match timeout_at(deadline, self.next()).await {
                Ok(told) => told?,
                Err(_) => {
                    let seconds = STEP.as_secs();
                    return Err(anyhow!(
                        "waited {seconds} s for {what}, but {APPLICATION} is {}",
                        self.view.summary()
                    ));
                }
            }
        }
        Ok(self.view.clone())
    }

    /// Tells what happens, until the watch fails.
    pub(crate) async fn go_on(&mut self) -> anyhow::Error {
        loop {
            if let Err(error) = self.next().await {
                return error;
            }
        }
    }

    /// The region that the application could run in, and does not.
    pub(crate) fn elsewhere(&self) -> &'static Region {
        Region::home(self.view.bound.as_deref()).other()
    }

    /// Waits for one event and prints it.
    async fn next(&mut self) -> anyhow::Result<()> {
        let event = self.events.next().await.context("the watch of the applications ended")??;
        let after = match event {
            WatchEvent::Applied { object, .. } if is_it(&object) => View::of(&object),
            WatchEvent::Deleted(object) if is_it(&object) => {
                self.narrator.tell(&format!("{APPLICATION} is gone"));
                View::default()
            }
            _ => return Ok(()),
        };
        for line in after.told_after(&self.view) {
            self.narrator.tell(&line);
        }
        self.view = after;
        Ok(())
    }
}

/// Whether the scheduler has read all metrics of a cluster.
fn has_metrics(status: &ClusterStatus) -> bool {
    find(&status.conditions, types::METRICS_AVAILABLE)
        .is_some_and(|condition| condition.status() == ConditionStatus::True)
}

fn is_it(application: &Application) -> bool {
    application.metadata.as_ref().is_some_and(|metadata| metadata.name == APPLICATION)
}
