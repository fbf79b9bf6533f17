//! What the fake API server holds, and what writes do to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use krake_proto::Resource;
use krake_proto::condition::{reasons, types};
use krake_proto::envelope::{Event, UpdateStatusRequest, WatchResponse};
use krake_proto::error::{self, ErrorReason};
use krake_proto::krake::kubernetes::v1::{
    Application, BindApplicationRequest, Cluster, ClusterStatus, Decision, PlacementRecord,
};
use krake_proto::krake::meta::v1::{Condition, ConditionStatus, EventType, Metadata, View};
use prost::Message;
use tokio::sync::mpsc;
use tonic::{Code, Status};

#[derive(Default)]
pub(super) struct State {
    pub(super) revision: i64,
    pub(super) objects: BTreeMap<(&'static str, String, String), Vec<u8>>,
    pub(super) watchers: Vec<Watcher>,
    pub(super) views: BTreeSet<(&'static str, View)>,
    pub(super) erased: BTreeSet<String>,
    pub(super) settings: Behaviour,
    pub(super) writes: Vec<Write>,
    pub(super) in_flight: usize,
    pub(super) peak: usize,
}

/// How the fake behaves.
#[derive(Clone, Copy, Default)]
pub(crate) struct Behaviour {
    /// So many writes are answered by a conflict.
    pub(crate) conflicts: usize,
    /// How long a write takes.
    pub(crate) write_takes: Duration,
    /// How late a watch tells.
    pub(crate) watch_lags: Duration,
}

/// A write that was asked for, and when.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Write {
    /// Seconds since the epoch of the test.
    pub(crate) second: i64,
    /// "Bind" or "Status", and the name of the object.
    pub(crate) what: String,
}

pub(super) struct Watcher {
    pub(super) service: &'static str,
    pub(super) namespace: String,
    pub(super) sender: mpsc::UnboundedSender<(tokio::time::Instant, WatchResponse)>,
}

impl Watcher {
    pub(super) fn sees(&self, service: &str, namespace: &str) -> bool {
        self.service == service && (self.namespace == "-") != namespace.is_empty()
    }
}

impl State {
    pub(super) fn get<K: Resource>(&self, namespace: &str, name: &str) -> Option<K> {
        let encoded = self.objects.get(&(K::KIND.service, namespace.to_owned(), name.to_owned()))?;
        Some(K::decode(encoded.as_slice()).unwrap())
    }

    pub(super) fn put<K: Resource>(&mut self, mut object: K, r#type: EventType) -> K {
        self.revision += 1;
        let metadata = object.metadata_mut();
        metadata.resource_version = self.revision;
        let (namespace, name) = (metadata.namespace.clone(), metadata.name.clone());
        let encoded = object.encode_to_vec();
        let change = WatchResponse {
            events: vec![Event { r#type: r#type.into(), object: encoded.clone().into() }],
            resource_version: self.revision,
            epoch: "epoch".to_owned(),
            synced: false,
            partial: false,
        };
        let time = tokio::time::Instant::now() + self.settings.watch_lags;
        self.watchers.retain(|watcher| {
            !watcher.sees(K::KIND.service, &namespace) || watcher.sender.send((time, change.clone())).is_ok()
        });
        self.objects.insert((K::KIND.service, namespace, name), encoded);
        object
    }

    pub(super) fn bind(
        &mut self,
        request: BindApplicationRequest,
        now: prost_types::Timestamp,
    ) -> Result<Application, Status> {
        let mut object: Application =
            self.get(&request.namespace, &request.name).ok_or_else(|| conflict("gone"))?;
        let generation = object.metadata.clone().unwrap_or_default().generation;
        let status = object.status.get_or_insert_default();
        let uid = |cluster: &Option<krake_proto::krake::meta::v1::ResourceRef>| {
            cluster.clone().unwrap_or_default().uid
        };
        let bound: Vec<_> = status.bindings.iter().map(|binding| uid(&binding.cluster)).collect();
        if request.generation != generation || (!request.replaces.is_empty() && request.replaces != bound) {
            return Err(conflict("generation or replaces"));
        }
        let wanted: Vec<_> = request.bindings.iter().map(|binding| uid(&binding.cluster)).collect();
        if wanted != bound {
            let Decision { reason, world_revision, .. } = request.decision.clone().unwrap_or_default();
            let from = status.bindings.first().and_then(|binding| binding.cluster.clone());
            let to = request.bindings.first().and_then(|binding| binding.cluster.clone());
            let record = PlacementRecord { from, to, time: Some(now), reason, world_revision };
            status.history.insert(0, record);
            status.bindings = request.bindings;
            status.bindings.iter_mut().for_each(|binding| binding.bound = Some(now));
        }
        status.decision = request.decision.or(status.decision.take());
        status.scheduled_generation = generation;
        if !wanted.is_empty() {
            let condition = Condition {
                r#type: types::SCHEDULED.into(),
                status: ConditionStatus::True.into(),
                reason: reasons::BOUND.into(),
                observed_generation: generation,
                ..Default::default()
            };
            upsert(&mut status.conditions, vec![condition], now);
        }
        Ok(self.put(object, EventType::Modified))
    }

    pub(super) fn application_status(
        &mut self,
        request: &UpdateStatusRequest,
        now: prost_types::Timestamp,
    ) -> Result<Application, Status> {
        let new = Application::decode(request.object.clone()).unwrap();
        let mut object: Application = self.current(request, new.metadata)?;
        let (status, new) = (object.status.get_or_insert_default(), new.status.unwrap_or_default());
        for path in paths(request) {
            match path {
                "status.conditions" => upsert(&mut status.conditions, new.conditions.clone(), now),
                "status.retries" => status.retries = new.retries,
                "status.scheduled_retry" => status.scheduled_retry = new.scheduled_retry,
                other => return Err(Status::invalid_argument(other)),
            }
        }
        Ok(self.put(object, EventType::Modified))
    }

    pub(super) fn cluster_status(
        &mut self,
        request: &UpdateStatusRequest,
        now: prost_types::Timestamp,
    ) -> Result<Cluster, Status> {
        let new = Cluster::decode(request.object.clone()).unwrap();
        let mut object: Cluster = self.current(request, new.metadata)?;
        let status: &mut ClusterStatus = object.status.get_or_insert_default();
        let new = new.status.unwrap_or_default();
        for path in paths(request) {
            match path {
                "status.conditions" => upsert(&mut status.conditions, new.conditions.clone(), now),
                "status.metrics_reasons" => status.metrics_reasons = new.metrics_reasons.clone(),
                other => return Err(Status::invalid_argument(other)),
            }
        }
        Ok(self.put(object, EventType::Modified))
    }

    fn current<K: Resource>(
        &self,
        request: &UpdateStatusRequest,
        read: Option<Metadata>,
    ) -> Result<K, Status> {
        let object: K = self.get(&request.namespace, &request.name).ok_or_else(|| conflict("gone"))?;
        let version = |metadata: Option<&Metadata>| metadata.map(|metadata| metadata.resource_version);
        match version(object.metadata()) == version(read.as_ref()) {
            true => Ok(object),
            false => Err(conflict("resource_version")),
        }
    }
}

fn paths(request: &UpdateStatusRequest) -> impl Iterator<Item = &str> {
    request.update_mask.iter().flat_map(|mask| &mask.paths).map(String::as_str)
}

fn upsert(present: &mut Vec<Condition>, new: Vec<Condition>, now: prost_types::Timestamp) {
    for mut condition in new {
        let old = present.iter().position(|old| old.r#type == condition.r#type);
        let old = old.map(|place| present.remove(place));
        let same = old.filter(|old| old.status == condition.status);
        condition.last_transition_time = same.map_or(Some(now), |old| old.last_transition_time);
        present.push(condition);
    }
}

pub(super) fn conflict(why: &str) -> Status {
    error::status(Code::Aborted, ErrorReason::Conflict, why)
}
