//! A metrics page whose values the test sets, for Prometheus to read.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use axum::{Router, routing::get};
use tokio::sync::oneshot;

/// A gauge's name and its labels, sorted.
type Series = (String, BTreeMap<String, String>);

/// Serves the values of gauges as they are now at `/metrics`, until dropped.
#[derive(Debug)]
pub struct Exporter {
    address: SocketAddr,
    values: Arc<Mutex<BTreeMap<Series, f64>>>,
    /// Its drop ends the server.
    _stop: oneshot::Sender<()>,
}

impl Exporter {
    /// Serves an empty page, on a thread of its own: tests that share it have a runtime each.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("listening for metrics")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let values = Arc::new(Mutex::new(BTreeMap::new()));
        let shown = Arc::clone(&values);
        let router = Router::new().route("/metrics", get(async move || page(&lock(&shown))));
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || runtime.block_on(serve(listener, router, stopped)));
        Ok(Self { address, values, _stop: stop })
    }

    /// Sets a gauge; it keeps the value until it is set again.
    pub fn set(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        lock(&self.values).insert(series(name, labels), value);
    }

    /// Takes a gauge off the page.
    pub fn remove(&self, name: &str, labels: &[(&str, &str)]) {
        lock(&self.values).remove(&series(name, labels));
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The test sees a failure in here as metrics that are missing.
async fn serve(listener: TcpListener, router: Router, stopped: oneshot::Receiver<()>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    tokio::select! {
        _ = axum::serve(listener, router) => {}
        _ = stopped => {}
    }
}

fn series(name: &str, labels: &[(&str, &str)]) -> Series {
    (name.into(), labels.iter().map(|(label, value)| ((*label).into(), (*value).into())).collect())
}

fn lock(values: &Mutex<BTreeMap<Series, f64>>) -> MutexGuard<'_, BTreeMap<Series, f64>> {
    values.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prometheus' text format.
fn page(values: &BTreeMap<Series, f64>) -> String {
    let mut text = String::new();
    let mut last = None;
    for ((name, labels), value) in values {
        if last.replace(name) != Some(name) {
            let _ = writeln!(text, "# TYPE {name} gauge"); // writing to a String cannot fail
        }
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escape(value))).collect();
        let _ = writeln!(text, "{name}{{{}}} {value}", labels.join(","));
    }
    text
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_names_each_gauge_once_and_escapes_labels() {
        let values = BTreeMap::from([
            (series("load", &[("zone", "b"), ("cluster", "x\"y\\z")]), 0.5),
            (series("load", &[]), 2.0),
            (series("heat", &[("cluster", "one")]), -1.0),
        ]);
        let expected = "# TYPE heat gauge\nheat{cluster=\"one\"} -1\n# TYPE load gauge\nload{} 2\n\
                        load{cluster=\"x\\\"y\\\\z\",zone=\"b\"} 0.5\n";
        assert_eq!(page(&values), expected);
    }
}
