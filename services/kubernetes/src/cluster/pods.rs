//! Finds out why the pods of a workload do not start: a few pods of that workload are read, at most once in a while, and no
//! pod is watched.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::connection::Connection;
use crate::error::ClusterError;
use crate::object::pods::{Cause, Unready, cause, has_pods, warning};

/// Maximum age of an answer: a workload is looked at whenever one of its pods changes its status.
const MAX_AGE: Duration = Duration::from_secs(10);
/// Maximum number of pods, or events, of one workload that are read.
const MAX_OBJECTS: u32 = 20;
/// Maximum number of workloads whose causes are remembered. Those of others are not asked for.
const MAX_WORKLOADS: usize = 1024;

/// What was found out on one cluster.
pub(crate) struct PodCauses {
    connection: Connection,
    found: Mutex<HashMap<String, (Instant, Option<Cause>)>>,
}

impl PodCauses {
    /// Nothing found out yet.
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, found: Mutex::default() }
    }

    /// Why the pods of a workload do not start, as it was at most 10 s ago; nothing if they do not say, or cannot be asked.
    pub(crate) async fn of(&self, workload: &Unready) -> Option<Cause> {
        {
            let mut found = self.lock();
            if found.len() >= MAX_WORKLOADS {
                found.retain(|_, (at, _)| at.elapsed() < MAX_AGE);
            }
            match found.get(&workload.uid) {
                Some((at, cause)) if at.elapsed() < MAX_AGE => return cause.clone(),
                None if found.len() >= MAX_WORKLOADS => return None,
                _ => {}
            }
        }
        let cause = match self.ask(workload).await {
            Ok(cause) => cause,
            Err(ClusterError::Forbidden(_)) => {
                let text =
                    "why its pods do not start is not known: the cluster's credentials may not list pods";
                Some(Cause { text: text.to_owned(), class: None })
            }
            Err(error) => {
                tracing::debug!(workload = %workload.key, %error, "its pods are not known");
                None
            }
        };
        self.lock().insert(workload.uid.clone(), (Instant::now(), cause.clone()));
        cause
    }

    async fn ask(&self, workload: &Unready) -> Result<Option<Cause>, ClusterError> {
        let namespace = workload.key.namespace.as_deref().unwrap_or_default();
        let some = ListParams::default().limit(MAX_OBJECTS);
        let pods = self.list("Pod", namespace, &some.clone().labels(&workload.selector)).await?;
        let found = cause(workload, &pods);
        if found.is_some() || has_pods(workload, &pods) {
            return Ok(found);
        }
        let of_workload = format!("involvedObject.uid={},type=Warning", workload.uid);
        match self.list("Event", namespace, &some.fields(&of_workload)).await {
            Ok(events) => Ok(warning(&events)),
            // What events would say is worth no complaint.
            Err(ClusterError::Forbidden(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list(&self, kind: &str, namespace: &str, of: &ListParams) -> Result<Vec<Value>, ClusterError> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind));
        let client = self.connection.client().clone();
        let objects: Api<DynamicObject> = Api::namespaced_with(client, namespace, &kind);
        let listed = self.connection.call(objects.list(of)).await?;
        Ok(listed.items.iter().map(|item| serde_json::to_value(item).unwrap_or_default()).collect())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Instant, Option<Cause>)>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
