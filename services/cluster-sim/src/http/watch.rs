//! Watches: changes as lines of JSON, with bookmarks, until the client's deadline or a fault ends them.

use std::io;
use std::ops::Bound;
use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::api::failure::Failure;
use crate::cluster::Cluster;
use crate::faults::{Down, Faults};
use crate::request::Request;
use crate::store::{Change, Event, Form};

/// Between two bookmarks; real servers send one a minute.
const BOOKMARKS: Duration = Duration::from_secs(60);
/// Before its end a watch gets a last bookmark.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// Duration of a watch for which the client names none.
const LONGEST: Duration = Duration::from_secs(45 * 60);

struct Watch {
    cluster: Cluster,
    form: Form,
    /// Everything up to here was told.
    told: u64,
    /// What is there at the start, if it is to be told.
    start: Option<String>,
    bookmarks: Option<Instant>,
    begun: Instant,
    end: Instant,
    changes: Receiver<u64>,
    faults: Receiver<Faults>,
    shutdown: CancellationToken,
    over: bool,
}

/// Begins a watch.
pub(super) fn open(
    cluster: &Cluster,
    request: &Request,
    shutdown: CancellationToken,
) -> Result<Response, Failure> {
    let changes = cluster.changes();
    let store = cluster.store();
    let kind = store.kind(&request.target)?;
    let form = Form::of(&kind, request)?;
    let version = request.query.resource_version.as_str();
    let from_start = matches!(version, "" | "0");
    let told = if from_start {
        store.version()
    } else {
        version
            .parse()
            .map_err(|_| Failure::internal(format!("resourceVersion: Invalid value: \"{version}\"")))?
    };
    let start = from_start.then(|| {
        let lines =
            store.select(&form, Bound::Unbounded).map(|(_, object)| line("ADDED", &form.object(object)));
        lines.collect::<String>()
    });
    drop(store);
    let begun = Instant::now();
    let lasts =
        request.query.timeout_seconds.filter(|seconds| *seconds > 0).map_or(LONGEST, Duration::from_secs);
    let end = begun + lasts;
    let first_bookmark = begun + BOOKMARKS.min(lasts.saturating_sub(LAST_BOOKMARK));
    let watch = Watch {
        cluster: cluster.clone(),
        form,
        told,
        start,
        bookmarks: request.query.bookmarks.then_some(first_bookmark),
        begun,
        end,
        changes,
        faults: cluster.watch_faults(),
        shutdown,
        over: false,
    };
    let stream = futures::stream::unfold(watch, async |mut watch| {
        let next = watch.next().await?;
        Some((next, watch))
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(stream)).into_response())
}

impl Watch {
    /// The next lines; an error cuts the connection, and nothing ends it well.
    async fn next(&mut self) -> Option<io::Result<String>> {
        if self.over {
            return None;
        }
        loop {
            let faults = self.faults.borrow_and_update().clone();
            let cut_at = faults.cut_watches_after_ms.map(|age| self.begun + Duration::from_millis(age));
            match faults.down {
                Some(Down::Refuse) => return Some(Err(cut())),
                Some(Down::Unavailable) => return None,
                Some(Down::Lost) => {
                    self.shutdown.cancelled().await;
                    return None;
                }
                Some(Down::Hang) => {
                    tokio::select! {
                        changed = self.faults.changed() => changed.ok()?,
                        () = self.shutdown.cancelled() => return None,
                    }
                    continue;
                }
                None => {}
            }
            if cut_at.is_some_and(|at| at <= Instant::now()) {
                return Some(Err(cut()));
            }
            if faults.expire_watches {
                self.over = true;
                return Some(Ok(expired(&Failure::expired("too old resource version (an injected fault)"))));
            }
            // An empty piece would end the stream's encoding, so each must hold an event.
            let lines = self.start.take().filter(|lines| !lines.is_empty()).or_else(|| self.lines());
            if let Some(lines) = lines {
                sleep(faults.delay()).await;
                return Some(Ok(lines));
            }
            let bookmark = self.bookmarks.unwrap_or(self.end);
            let wake =
                [Some(self.end), Some(bookmark), cut_at].into_iter().flatten().min().unwrap_or(self.end);
            tokio::select! {
                changed = self.changes.changed() => changed.ok()?,
                changed = self.faults.changed() => changed.ok()?,
                () = self.shutdown.cancelled() => return None,
                () = sleep_until(wake) => {
                    let now = Instant::now();
                    if now >= self.end {
                        return None;
                    }
                    if self.bookmarks.is_some_and(|at| at <= now) {
                        let last = self.end.checked_sub(LAST_BOOKMARK).filter(|last| *last > now);
                        self.bookmarks = Some(last.map_or(self.end, |last| last.min(now + BOOKMARKS)));
                        return Some(Ok(self.bookmark()));
                    }
                }
            }
        }
    }

    /// What has changed since it was last told.
    fn lines(&mut self) -> Option<String> {
        self.changes.mark_unchanged();
        let store = self.cluster.store();
        let events = match store.events_after(self.told) {
            Ok(events) => events,
            Err(gone) => {
                self.over = true;
                return Some(expired(&gone));
            }
        };
        let resource = self.form.kind.resource();
        let ours = events.filter(|event| *event.resource == *resource);
        let lines: String = ours.filter_map(|event| told(&self.form, event)).collect();
        self.told = self.told.max(store.version());
        (!lines.is_empty()).then_some(lines)
    }

    fn bookmark(&self) -> String {
        let version = self.told.to_string();
        let object = json!({"kind": self.form.kind.kind, "apiVersion": self.form.kind.api_version(),
            "metadata": {"resourceVersion": version, "creationTimestamp": null}});
        line("BOOKMARK", &object.to_string())
    }
}

/// How a change looks to who sees only what is asked for.
fn told(form: &Form, event: &Event) -> Option<String> {
    let is = event.change != Change::Deleted && form.selects(&event.object);
    let was = event.before.as_ref().is_some_and(|before| form.selects(before));
    let kind = match (was, is) {
        (false, true) => "ADDED",
        (true, true) => "MODIFIED",
        (true, false) => "DELETED",
        (false, false) => return None,
    };
    match &event.before {
        // An object that leaves the selection is reported in its last form inside it.
        Some(before) if kind == "DELETED" && event.change != Change::Deleted => {
            Some(line(kind, &form.object(&before.at(event.version))))
        }
        _ => Some(line(kind, &form.object(&event.object))),
    }
}

fn line(kind: &str, object: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

fn expired(failure: &Failure) -> String {
    line("ERROR", &failure.status().to_string())
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "an injected fault cuts this watch")
}
