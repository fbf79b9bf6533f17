//! What was last seen of each copy, as it is reported: when it changed, and not too often.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use krake_client::Client;
use krake_proto::krake::kubernetes::v1::{Observation, ObservedObject, ReportObservationRequest};
use krake_proto::observer;
use prost::Message;
use serde_json::Value;
use tokio::time::Instant;

use super::judgement::Known;
use super::project::Application;
use super::view::Sighting;
use crate::cluster::cache::CachedObject;
use crate::object::rendering::{self, DocumentHash};
use crate::object::{ApplicationUid, ClusterUid, ObjectKey};

/// Shortest time between two reports of this adapter: at most 50 a second, whatever happens on all clusters at once.
const REPORT_SPACING: Duration = Duration::from_millis(20);
/// Pause after a report that the state service did not take.
const RETRY_PAUSE: Duration = Duration::from_secs(30);
/// Maximum size of the objects of one report in bytes: the uid and the hash beside them take less than what is left to the
/// limit.
const MAX_OBJECTS_BYTES: usize = observer::MAX_OBSERVATION - 1024;

/// Maximum nesting of what is told of one object: the state service takes no more. A live object may have more where its
/// document has a single value.
const MAX_NESTING: usize = 64;

type Copy = (ApplicationUid, ClusterUid);

/// The objects of a copy at one look.
pub(super) struct Glance {
    applied: Known,
    live: BTreeMap<ObjectKey, Arc<CachedObject>>,
    /// The same for equal glances: of the set, and of the version of each object.
    print: u64,
}

impl Glance {
    /// Of the objects of a set that was applied, those that are there.
    pub(super) fn new(applied: Known, live: BTreeMap<ObjectKey, Arc<CachedObject>>) -> Self {
        let mut hasher = DefaultHasher::new();
        applied.set().hash.hash(&mut hasher);
        for (key, object) in &live {
            (key, &object.uid, &object.resource_version).hash(&mut hasher);
        }
        Self { applied, live, print: hasher.finish() }
    }

    /// What differs from the documents that were applied.
    fn observation(&self, cluster: &ClusterUid, documents: &[Value]) -> Observation {
        let unseen = |index: usize| ObservedObject { index: as_index(index), fields: None };
        // Each object that is still to come can be told at least as one that was not seen.
        let least = (0..documents.len()).map(|index| size(&unseen(index))).sum();
        let mut room = MAX_OBJECTS_BYTES.saturating_sub(least);
        let mut objects = Vec::new();
        for (index, document) in documents.iter().enumerate() {
            room += size(&unseen(index));
            let live = rendering::key(document).and_then(|key| self.live.get(&key));
            let seen = live.map(|live| observer::observed(document, &live.value()));
            if seen.as_ref() == Some(&observer::as_applied(document)) {
                continue;
            }
            let object = fitting(as_index(index), document, seen, room);
            room = room.saturating_sub(size(&object));
            objects.push(object);
        }
        let sha256 = self.applied.set().hash.as_bytes().to_vec().into();
        Observation { cluster_uid: cluster.as_str().to_owned(), sha256, objects }
    }
}

/// An object as it was seen, or its names alone if it does not fit into what room is left, or is nested too deep; where not
/// even they fit, it is told as one that was not seen.
fn fitting(index: u32, document: &Value, seen: Option<Value>, room: usize) -> ObservedObject {
    let forms = seen.into_iter().flat_map(|seen| [seen, observer::names(document)]);
    let texts = forms.filter(|form| nesting(form) <= MAX_NESTING).map(|form| form.to_string());
    let mut objects = texts.map(|fields| ObservedObject { index, fields: Some(fields) });
    objects.find(|object| size(object) <= room).unwrap_or(ObservedObject { index, fields: None })
}

/// How deep the lists and maps of a value are nested.
fn nesting(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(nesting).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(nesting).max().unwrap_or(0),
        _ => 0,
    }
}

/// Bytes that an object takes in a report: its key, its length and itself.
fn size(object: &ObservedObject) -> usize {
    let length = object.encoded_len();
    1 + prost::length_delimiter_len(length) + length
}

fn as_index(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// What was reported of each copy.
#[derive(Debug, Default)]
pub(super) struct Observations {
    interval: Duration,
    reports: Mutex<Reports>,
}

#[derive(Debug, Default)]
struct Reports {
    /// From when on another report may be sent.
    next: Option<Instant>,
    /// The turns of the copies that wait.
    turns: HashMap<Copy, Instant>,
    copies: HashMap<Copy, Told>,
}

/// What was told of a copy.
#[derive(Clone, Debug)]
struct Told {
    set: DocumentHash,
    print: u64,
    /// Hash of the report, if it was taken.
    content: Option<DocumentHash>,
    /// Before this nothing more is told, unless another set was applied.
    until: Instant,
}

/// Whether something is to be told of a copy.
#[derive(Debug, PartialEq)]
enum Due {
    /// It is as it was told.
    No,
    /// After this time.
    Later(Duration),
    /// Now; the content that was told last.
    Now(Option<DocumentHash>),
}

impl Reports {
    /// Whether a glance is to be told. It gets its turn when that is first asked.
    fn due(&mut self, copy: &Copy, set: DocumentHash, print: u64, now: Instant) -> Due {
        let told = self.copies.get(copy);
        match told {
            Some(told) if told.print == print => {
                self.turns.remove(copy);
                return Due::No;
            }
            Some(told) if told.set == set && told.until > now => return Due::Later(told.until - now),
            _ => {}
        }
        let free = self.next.map_or(now, |next| next.max(now));
        let turn = match self.turns.get(copy) {
            Some(turn) => *turn,
            None => {
                self.next = free.checked_add(REPORT_SPACING);
                free
            }
        };
        if turn > now {
            self.turns.insert(copy.clone(), turn);
            return Due::Later(turn - now);
        }
        self.turns.remove(copy);
        Due::Now(told.and_then(|told| told.content))
    }

    fn forget(&mut self, copy: &Copy) {
        self.copies.remove(copy);
        self.turns.remove(copy);
    }
}

impl Observations {
    /// Nothing reported yet. Two reports of one copy are at least `interval` apart.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, reports: Mutex::default() }
    }

    /// Tells what a glance shows, if it is another one than before. Returns when to look again. That nothing can be told is
    /// no trouble: nothing depends on it.
    pub(super) async fn tell(
        &self,
        client: &Client,
        application: &Application,
        cluster: &ClusterUid,
        sighting: &Sighting,
    ) -> Option<Duration> {
        let glance = sighting.glance.as_ref()?;
        let copy = (application.uid.clone(), cluster.clone());
        let set = glance.applied.set();
        if set.size > observer::MAX_OBSERVED_SET {
            // It need not be rendered.
            return None;
        }
        let former = match self.lock().due(&copy, set.hash, glance.print, Instant::now()) {
            Due::No => return None,
            Due::Later(wait) => return Some(wait),
            Due::Now(former) => former,
        };
        let rendering = match (&glance.applied, &sighting.wanted) {
            (Known::Read(rendering), _) => rendering.clone(),
            (Known::Wanted(_), Some(wanted)) => wanted.rendering(),
            (Known::Wanted(_), None) => return None,
        };
        let observation = match observer::is_observed(rendering.canonical()).then(|| rendering.documents()) {
            Some(Ok(documents)) => glance.observation(cluster, &documents),
            Some(Err(error)) => {
                tracing::debug!(application = %application.key, %error, "what was applied cannot be read");
                return None;
            }
            None => return None,
        };
        let content = DocumentHash::of(&observation.encode_to_vec());
        let taken = match former == Some(content) {
            true => true,
            false => send(client, application, observation).await,
        };
        let (now, pause) = (Instant::now(), if taken { self.interval } else { RETRY_PAUSE });
        let until = now.checked_add(pause).unwrap_or(now);
        // What was not taken is told again.
        let print = if taken { glance.print } else { glance.print.wrapping_add(1) };
        let content = taken.then_some(content);
        self.lock().copies.insert(copy, Told { set: set.hash, print, content, until });
        (!taken).then_some(pause)
    }

    /// Forgets a copy.
    pub(super) fn forget(&self, application: &ApplicationUid, cluster: &ClusterUid) {
        self.lock().forget(&(application.clone(), cluster.clone()));
    }

    /// Another process may have told of all copies since.
    pub(super) fn begin_term(&self) {
        self.lock().copies.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a report. False if it has to be sent again.
async fn send(client: &Client, application: &Application, observation: Observation) -> bool {
    let request = ReportObservationRequest {
        namespace: application.key.namespace.clone(),
        name: application.key.name.clone(),
        uid: application.uid.as_str().to_owned(),
        observation: Some(observation),
    };
    match client.applications().report_observation(request).await {
        Ok(_) => true,
        Err(status) => {
            let error = krake_client::Error::from(status);
            tracing::debug!(application = %application.key, %error, "cannot report what is seen");
            false
        }
    }
}

#[cfg(test)]
mod tests;
