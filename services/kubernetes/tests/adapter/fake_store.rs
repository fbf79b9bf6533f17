//! What the FAKE Krake API stores: applications and clusters of one namespace by name, with a history of their changes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::SystemTime;

use bytes::Bytes;
use krake_proto::Resource;
use krake_proto::finalizer::{CLUSTER_COPIES, KUBERNETES_RESOURCES};
use krake_proto::krake::kubernetes::v1::*;
use krake_proto::krake::meta::v1::{Document, EventType, Metadata, ResourceRef, document};
use ring::digest::{SHA256, digest};
use serde_json::Value;

type Objects<K> = BTreeMap<String, K>;
/// Changes by revision.
type Log<K> = Vec<(i64, EventType, K)>;

pub(crate) struct Store {
    /// Kubeconfigs of the servers, by their names.
    pub(crate) kubeconfigs: HashMap<String, Value>,
    pub(crate) installation: String,
    pub(crate) epoch: String,
    pub(crate) revision: i64,
    pub(crate) applications: Objects<Application>,
    pub(crate) clusters: Objects<Cluster>,
    pub(crate) tombstones: HashSet<String>,
    /// Sets of documents, by the uid of their application and their hash.
    pub(crate) documents: HashMap<(String, Bytes), Bytes>,
    /// What was reported to be seen last, by the uids of application and cluster.
    pub(crate) observations: HashMap<(String, String), Observation>,
    /// How many observations were reported, and how many of them changed something.
    pub(crate) observed: (usize, usize),
    applications_log: Log<Application>,
    clusters_log: Log<Cluster>,
}

/// The two kinds.
pub(crate) trait Stored: Resource {
    fn parts(store: &Store) -> (&Objects<Self>, &Log<Self>);
    fn parts_mut(store: &mut Store) -> (&mut Objects<Self>, &mut Log<Self>);
}

impl Stored for Application {
    fn parts(store: &Store) -> (&Objects<Self>, &Log<Self>) {
        (&store.applications, &store.applications_log)
    }
    fn parts_mut(store: &mut Store) -> (&mut Objects<Self>, &mut Log<Self>) {
        (&mut store.applications, &mut store.applications_log)
    }
}

impl Stored for Cluster {
    fn parts(store: &Store) -> (&Objects<Self>, &Log<Self>) {
        (&store.clusters, &store.clusters_log)
    }
    fn parts_mut(store: &mut Store) -> (&mut Objects<Self>, &mut Log<Self>) {
        (&mut store.clusters, &mut store.clusters_log)
    }
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            kubeconfigs: HashMap::new(),
            installation: "inst".into(),
            epoch: "e1".into(),
            revision: 1,
            applications: BTreeMap::new(),
            clusters: BTreeMap::new(),
            tombstones: HashSet::new(),
            documents: HashMap::new(),
            observations: HashMap::new(),
            observed: (0, 0),
            applications_log: Vec::new(),
            clusters_log: Vec::new(),
        }
    }

    pub(crate) fn put<K: Stored>(&mut self, mut object: K) -> K {
        self.revision += 1;
        let revision = self.revision;
        object.metadata_mut().resource_version = revision;
        let name = object.metadata_mut().name.clone();
        let (objects, log) = K::parts_mut(self);
        let before = objects.insert(name, object.clone());
        let kind = if before.is_some() { EventType::Modified } else { EventType::Added };
        log.push((revision, kind, object.clone()));
        object
    }

    pub(crate) fn erase<K: Stored>(&mut self, name: &str) {
        self.revision += 1;
        let revision = self.revision;
        let (objects, log) = K::parts_mut(self);
        let mut object = objects.remove(name).unwrap();
        object.metadata_mut().resource_version = revision;
        let uid = object.metadata_mut().uid.clone();
        log.push((revision, EventType::Deleted, object));
        self.tombstones.insert(uid);
    }

    /// Takes an object out as if it had never been: no event, no tombstone.
    pub(crate) fn forget<K: Stored>(&mut self, name: &str) {
        self.revision += 1;
        let (objects, log) = K::parts_mut(self);
        objects.remove(name);
        log.retain(|(.., object)| object.metadata().is_none_or(|metadata| metadata.name != name));
    }

    pub(crate) fn all<K: Stored>(&self) -> Vec<(EventType, K)> {
        K::parts(self).0.values().map(|object| (EventType::Added, object.clone())).collect()
    }

    pub(crate) fn since<K: Stored>(&self, after: i64) -> Vec<(EventType, K)> {
        let new = K::parts(self).1.iter().filter(|(revision, ..)| *revision > after);
        new.map(|(_, kind, object)| (*kind, object.clone())).collect()
    }

    /// The kubeconfig by which a server is reached.
    pub(crate) fn kubeconfig(&self, server: &str) -> Document {
        document(&self.kubeconfigs[server])
    }

    /// Registers a cluster, reached at this server.
    pub(crate) fn register(&mut self, name: &str, server: &str) {
        let metadata = metadata(name);
        let spec = ClusterSpec { kubeconfig: Some(self.kubeconfig(server)), ..Default::default() };
        self.put(Cluster { metadata: Some(metadata), spec: Some(spec), status: None });
    }

    /// Creates an application that is bound to a cluster already.
    pub(crate) fn create(&mut self, name: &str, manifest: &[Value], cluster: &str) {
        let spec = ApplicationSpec { manifest: manifest.iter().map(entry).collect(), ..Default::default() };
        let application = Application { metadata: Some(metadata(name)), spec: Some(spec), status: None };
        self.put(application);
        self.bind(name, &[cluster]);
    }

    pub(crate) fn update(&mut self, name: &str, manifest: &[Value]) {
        let mut application = self.applications[name].clone();
        application.metadata_mut().generation += 1;
        application.spec.get_or_insert_default().manifest = manifest.iter().map(entry).collect();
        self.put(application);
    }

    /// As the scheduler decides: for the present generation.
    pub(crate) fn bind(&mut self, name: &str, clusters: &[&str]) {
        let mut application = self.applications[name].clone();
        let generation = application.metadata_mut().generation;
        let reference = |cluster: &&str| self.reference(cluster);
        let bindings = clusters.iter().map(reference);
        let status = application.status.get_or_insert_default();
        status.bindings =
            bindings.map(|cluster| Binding { cluster: Some(cluster), ..Default::default() }).collect();
        status.scheduled_generation = generation;
        self.put(application);
    }

    /// A user asks for another attempt.
    pub(crate) fn retry(&mut self, name: &str) {
        let mut application = self.applications[name].clone();
        application.status.get_or_insert_default().retry_requests += 1;
        self.put(application);
    }

    /// Marks as deleted; erases what nothing holds.
    pub(crate) fn delete<K: Stored>(&mut self, name: &str) {
        let mut object = K::parts(self).0[name].clone();
        object.metadata_mut().deleted = Some(SystemTime::now().into());
        self.put(object);
        if K::parts_mut(self).0.get_mut(name).unwrap().metadata_mut().finalizers.is_empty() {
            self.erase::<K>(name);
        }
    }

    pub(crate) fn copies(&self, name: &str) -> Vec<Copy> {
        let status = self.applications.get(name).and_then(|application| application.status.clone());
        status.unwrap_or_default().copies
    }

    /// The phase of each copy, by the name of its cluster.
    pub(crate) fn phases(&self, name: &str) -> BTreeMap<String, Phase> {
        let place = |copy: &Copy| copy.cluster.clone().unwrap_or_default().name;
        self.copies(name).iter().map(|copy| (place(copy), copy.phase())).collect()
    }

    fn reference(&self, cluster: &str) -> ResourceRef {
        Cluster::KIND.reference(self.clusters[cluster].metadata().unwrap())
    }

    /// As the state service: a set is addressed by its content, and kept for the application of this uid.
    pub(crate) fn put_documents(&mut self, request: &PutDocumentsRequest) -> Option<PutDocumentsResponse> {
        let application = self.applications.get_mut(&request.name)?;
        if application.metadata_mut().uid != request.uid {
            return None;
        }
        let documents = request.documents.clone();
        serde_json::from_slice::<Vec<Value>>(&documents).expect("an array of documents");
        let sha256 = Bytes::copy_from_slice(digest(&SHA256, &documents).as_ref());
        let size = documents.len().try_into().unwrap();
        self.documents.insert((request.uid.clone(), sha256.clone()), documents);
        Some(PutDocumentsResponse { sha256, pieces: 1, size })
    }

    /// Whether a report tells nothing new but how long an attempt has lasted.
    pub(crate) fn only_counts_time(&self, request: &ReportCopyRequest) -> bool {
        let told =
            |copy: &Copy| Copy { version: 0, last_transition_time: None, attempt: None, ..copy.clone() };
        let reported = request.copy.as_ref().filter(|_| !request.forget).map(told);
        reported.is_some_and(|reported| self.copies(&request.name).iter().any(|copy| told(copy) == reported))
    }

    /// As the state service: what is seen is kept beside the application.
    pub(crate) fn report_observation(&mut self, request: &ReportObservationRequest) -> Option<()> {
        let observation = request.observation.clone()?;
        self.copies(&request.name).iter().find(|copy| {
            copy.cluster.as_ref().is_some_and(|cluster| cluster.uid == observation.cluster_uid)
        })?;
        let key = (request.uid.clone(), observation.cluster_uid.clone());
        let before = self.observations.insert(key, observation.clone());
        self.observed.0 += 1;
        self.observed.1 += usize::from(before != Some(observation));
        Some(())
    }

    /// Whether all sets are stored that a copy is the first to name.
    fn is_stored(&self, uid: &str, copy: &Copy, present: Option<&Copy>) -> bool {
        let of = |copy: &Copy| [copy.applied_work.clone(), copy.intended_work.clone()];
        let named: Vec<_> = present.map(of).into_iter().flatten().flatten().map(|work| work.sha256).collect();
        let new = of(copy).into_iter().flatten().filter(|work| !named.contains(&work.sha256));
        new.into_iter().all(|work| {
            let documents = self.documents.get(&(uid.to_owned(), work.sha256));
            documents.is_some_and(|documents| (documents.len() as u64, 1) == (work.size, work.pieces))
        })
    }

    /// As the state service: a compare-and-set on the copy; the first report is an intent on a bound cluster, and every set
    /// of documents is stored before it is named.
    pub(crate) fn report_copy(&mut self, request: &ReportCopyRequest) -> Result<Application, String> {
        let mut application = self.applications.get(&request.name).cloned().ok_or("no such application")?;
        let meta = application.metadata_mut().clone();
        if meta.uid != request.uid {
            return Err("another uid".into());
        }
        let mut copy = request.copy.clone().unwrap_or_default();
        let cluster = copy.cluster.clone().unwrap_or_default();
        let status = application.status.get_or_insert_default();
        let uid = |copy: &Copy| copy.cluster.clone().unwrap_or_default().uid;
        let place = status.copies.iter().position(|present| uid(present) == cluster.uid);
        let present = place.map(|place| status.copies[place].clone());
        if present.as_ref().map_or(0, |present| present.version) != request.expected_version {
            return Err("another version".into());
        }
        if !request.forget && !self.is_stored(&meta.uid, &copy, present.as_ref()) {
            return Err("a set of documents is not stored".into());
        }
        if request.forget {
            let forgotten = place.map(|place| status.copies.remove(place));
            status.completed_jobs.extend(forgotten.into_iter().flat_map(|copy| copy.completed_jobs));
        } else {
            if copy.applied_work.is_some()
                && status.bindings.iter().any(|binding| binding.cluster.as_ref() == Some(&cluster))
            {
                status.completed_jobs.clear();
            }
            let since = present.as_ref().filter(|present| present.phase == copy.phase);
            let since = since.and_then(|present| present.last_transition_time);
            copy.last_transition_time = since.or(Some(SystemTime::now().into()));
            copy.version = request.expected_version + 1;
            match place {
                Some(place) => status.copies[place] = copy,
                None => {
                    let bound =
                        |binding: &Binding| binding.cluster.as_ref().is_some_and(|c| c.uid == cluster.uid);
                    assert_eq!(copy.phase(), Phase::Intended, "a first report is an intent");
                    if !status.bindings.iter().any(bound) || meta.deleted.is_some() {
                        return Err("not bound, or being deleted".into());
                    }
                    status.copies.push(copy);
                    let mut held = self.clusters[&cluster.name].clone();
                    if held.metadata_mut().deleted.is_some() {
                        return Err("the cluster is being deleted".into());
                    }
                    let finalizers = &mut held.metadata_mut().finalizers;
                    if !finalizers.iter().any(|finalizer| finalizer == CLUSTER_COPIES) {
                        finalizers.push(CLUSTER_COPIES.to_owned());
                        self.put(held);
                    }
                }
            }
        }
        let empty = application.status.get_or_insert_default().copies.is_empty();
        let finalizers = &mut application.metadata_mut().finalizers;
        finalizers.retain(|finalizer| finalizer != KUBERNETES_RESOURCES);
        if !empty {
            finalizers.push(KUBERNETES_RESOURCES.to_owned());
        }
        let gone = application.metadata_mut().deleted.is_some() && finalizers_empty(&mut application);
        let after = self.put(application);
        if gone {
            self.erase::<Application>(&request.name);
        }
        Ok(after)
    }
}

fn finalizers_empty(application: &mut Application) -> bool {
    application.metadata_mut().finalizers.is_empty()
}

fn metadata(name: &str) -> Metadata {
    let uid = format!("uid-{name}");
    Metadata { name: name.into(), namespace: "demo".into(), uid, generation: 1, ..Default::default() }
}

fn document(value: &Value) -> Document {
    Document { content: Some(document::Content::Json(value.to_string())) }
}

fn entry(value: &Value) -> Manifest {
    Manifest { document: Some(document(value)), ..Default::default() }
}
