//! The wind: a number per region that changes, behind the query API of Prometheus. It is simulated, and says so.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use krake_runtime::shutdown::Shutdown;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// Name of the metric; its label `region` says where.
const METRIC: &str = "wind_power";
/// Wind takes its time to turn.
const TURN: Duration = Duration::from_secs(3);
/// Questions wait so long for the wind to begin.
const BEGIN: Duration = Duration::from_secs(3);
/// It never stands still: gusts of this height, as a share of the capacity, so long.
const GUST: f64 = 0.01;
const GUST_SECONDS: f64 = 7.0;

const ABOUT: &str = "\
This is no Prometheus. It is part of `krake demo` and makes up how much wind blows where: the share of the installed wind
power of a region that is delivered at this moment.

  GET  /api/v1/query?query=wind_power                  the regions, in Prometheus' form
  GET  /api/v1/query?query=wind_power{region=\"DE\"}     one of them
  POST /wind/DE/0.9                                    let the wind blow in DE
";

/// The share of the installed power that each region delivers. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wind {
    regions: Arc<watch::Sender<BTreeMap<String, Turning>>>,
}

/// From one share to another, in a few seconds.
#[derive(Clone, Copy, Debug)]
struct Turning {
    from: f64,
    to: f64,
    begun: Instant,
}

impl Turning {
    fn at(self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.begun);
        let way = (passed.as_secs_f64() / TURN.as_secs_f64()).min(1.0);
        let gust = GUST * (passed.as_secs_f64() / GUST_SECONDS * std::f64::consts::TAU).sin();
        (self.from + (self.to - self.from) * way + gust).clamp(0.0, 1.0)
    }
}

impl Wind {
    /// Lets the wind blow: so much in each region from now on. Questions before that wait for it.
    pub(crate) fn begin(&self, shares: impl IntoIterator<Item = (String, f64)>) {
        let begun = Instant::now();
        let regions =
            shares.into_iter().map(|(region, share)| (region, Turning { from: share, to: share, begun }));
        self.regions.send_replace(regions.collect());
    }

    /// Lets the wind of a region change to this share; `false` if there is no such region.
    pub(crate) fn turn(&self, region: &str, share: f64) -> bool {
        let now = Instant::now();
        self.regions.send_if_modified(|regions| {
            let turning = regions.get_mut(region);
            turning
                .map(|turning| *turning = Turning { from: turning.at(now), to: share, begun: now })
                .is_some()
        })
    }

    /// The wind of all regions, waited for if need be; `None` if it does not begin.
    async fn blowing(&self) -> Option<BTreeMap<String, Turning>> {
        let mut changes = self.regions.subscribe();
        // Krake's scheduler, which knows the provider from an earlier run, asks before the story has begun.
        let begun = timeout(BEGIN, changes.wait_for(|regions| !regions.is_empty())).await;
        begun.ok()?.ok().map(|regions| regions.clone())
    }

    /// The PromQL expression of a region's wind.
    pub(crate) fn query(region: &str) -> String {
        format!("{METRIC}{{region=\"{region}\"}}")
    }

    /// Serves it until shutdown is requested.
    pub(crate) async fn serve(self, listener: TcpListener, shutdown: Shutdown) -> anyhow::Result<()> {
        let router = Router::new()
            .route("/", get(async || ABOUT))
            .route("/api/v1/query", get(answer))
            .route("/wind/{region}/{share}", post(blow))
            .with_state(self);
        let server = axum::serve(listener, router);
        // Connections that are kept open end with the process.
        tokio::select! {
            result = async { server.await } => Ok(result?),
            () = shutdown.requested() => Ok(()),
        }
    }
}

/// Address of a provider at a listener.
pub(crate) fn url(listener: SocketAddr) -> String {
    format!("http://{listener}")
}

#[derive(Deserialize)]
struct Question {
    query: String,
}

async fn answer(State(wind): State<Wind>, Query(question): Query<Question>) -> Response {
    let regions = match wind.blowing().await {
        Some(regions) => regions,
        None => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
    };
    let now = Instant::now();
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let asked = |region: &str| question.query == METRIC || question.query == Wind::query(region);
    let series: Vec<_> = regions
        .iter()
        .filter(|(region, _)| asked(region))
        .map(|(region, turning)| {
            let labels = json!({"__name__": METRIC, "region": region, "source": "simulated"});
            json!({"metric": labels, "value": [time, turning.at(now).to_string()]})
        })
        .collect();
    if series.is_empty() {
        let regions: Vec<_> = regions.keys().map(|region| Wind::query(region)).collect();
        let error =
            format!("simulated wind is no Prometheus: it knows only {METRIC}, {}", regions.join(", "));
        let body = json!({"status": "error", "errorType": "bad_data", "error": error});
        return (StatusCode::BAD_REQUEST, Json(body)).into_response();
    }
    Json(json!({
        "status": "success",
        "data": {"resultType": "vector", "result": series},
        "warnings": ["simulated by krake demo: nothing was measured"],
    }))
    .into_response()
}

async fn blow(State(wind): State<Wind>, Path((region, share)): Path<(String, f64)>) -> Response {
    if !(0.0..=1.0).contains(&share) {
        return (StatusCode::BAD_REQUEST, "the share must be from 0 to 1\n").into_response();
    }
    if !wind.turn(&region, share) {
        return (StatusCode::NOT_FOUND, format!("no region {region}\n")).into_response();
    }
    format!("the wind turns: {region} will deliver {:.0} % in {} s\n", share * 100.0, TURN.as_secs())
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn wind_turns_in_its_time_and_stays_a_share() {
        let wind = Wind::default();
        assert!(!wind.turn("DE", 0.5), "there is none yet");
        wind.begin([("DE".to_owned(), 0.2)]);
        let now = |region: &str| wind.regions.borrow()[region].at(Instant::now());
        assert!((now("DE") - 0.2).abs() <= GUST);
        assert!(wind.turn("DE", 1.0) && !wind.turn("SE", 1.0));
        tokio::time::advance(TURN / 2).await;
        assert!((now("DE") - 0.6).abs() <= GUST, "halfway: {}", now("DE"));
        for _ in 0..100 {
            tokio::time::advance(TURN / 10).await;
            assert!((0.2..=1.0).contains(&now("DE")));
        }
        assert!((now("DE") - 1.0).abs() <= GUST);
    }

    async fn ask(url: &str, path: &str) -> (u16, String) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
        let request = format!("{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        (text[9..12].parse().unwrap(), text)
    }

    #[tokio::test]
    async fn it_answers_as_prometheus_does_and_says_what_it_is() {
        let wind = Wind::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = url(listener.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let server = tokio::spawn(wind.clone().serve(listener, shutdown.clone()));
        let early = ask(&url, "GET /api/v1/query?query=wind_power%7Bregion%3D%22DE%22%7D");
        let begin = async { wind.begin([("DE".to_owned(), 0.5), ("FR".to_owned(), 0.25)]) };
        let ((status, text), ()) = tokio::join!(early, begin);
        assert_eq!(status, 200);
        assert!(
            text.contains("\"region\":\"DE\"") && text.contains("simulated") && !text.contains("FR"),
            "{text}"
        );
        let (_, text) = ask(&url, "GET /api/v1/query?query=wind_power").await;
        assert!(text.contains("\"DE\"") && text.contains("\"FR\""), "{text}");
        let (status, text) = ask(&url, "GET /api/v1/query?query=up").await;
        assert!(status == 400 && text.contains("knows only wind_power"), "{text}");
        for (path, expected) in [("DE/0.9", 200), ("DE/1.9", 400), ("SE/0.1", 404), ("DE/x", 400)] {
            assert_eq!(ask(&url, &format!("POST /wind/{path}")).await.0, expected, "{path}");
        }
        assert!(ask(&url, "GET /").await.1.contains("This is no Prometheus"));
        shutdown.request();
        server.await.unwrap().unwrap();
    }
}
