//! Objects of applications that exist, on clusters where they have no copy. They are swept inside the application's own
//! reconcile, so that the same object is never applied at the same time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use krake_client::Client;
use krake_proto::krake::kubernetes::v1 as api;
use krake_proto::krake::meta::v1::Installation;
use krake_runtime::leadership::Leadership;

use super::neighbours::Neighbours;
use super::project::{self, Application};
use super::stake::{same_store, stake};
use crate::cluster::clusters::Clusters;
use crate::object::orphan::{Fate, Marked, Owner, Registration, judge};
use crate::object::sweep::{Swept, sweep};
use crate::object::{ApplicationUid, ClusterUid};

/// One object, and where it was found.
#[derive(Clone, Debug)]
pub(crate) struct Stray {
    pub(crate) cluster: ClusterUid,
    pub(crate) registration: Registration,
    pub(crate) object: Marked,
}

/// What was found and not yet swept.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    found: Mutex<HashMap<ApplicationUid, Vec<Stray>>>,
}

impl Strays {
    /// Keeps what was found of an application on one cluster, in place of what was found there before.
    pub(crate) fn put(&self, application: &ApplicationUid, cluster: &ClusterUid, strays: Vec<Stray>) {
        let mut found = self.lock();
        let all = found.entry(application.clone()).or_default();
        all.retain(|stray| stray.cluster != *cluster);
        all.extend(strays);
    }

    /// Takes everything that was found of an application.
    pub(crate) fn take(&self, application: &ApplicationUid) -> Vec<Stray> {
        self.lock().remove(application).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ApplicationUid, Vec<Stray>>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a sweep of strays needs.
pub(super) struct Sweeper<'a> {
    pub(super) client: &'a Client,
    pub(super) clusters: &'a Clusters,
    pub(super) neighbours: Neighbours<'a>,
    pub(super) leadership: &'a Leadership,
    pub(super) installation: &'a Installation,
}

impl Sweeper<'_> {
    /// Sweeps the strays of an application, after judging them once more by what the API says of it now.
    pub(super) async fn sweep(&self, application: &Application, strays: Vec<Stray>) -> anyhow::Result<()> {
        let Self { client, clusters, installation, .. } = self;
        let key = &application.key;
        let fresh: Option<api::Application> = client.api().get_opt(&key.namespace, &key.name).await?;
        let fresh = fresh.as_ref().and_then(project::application);
        let Some(fresh) = fresh.filter(|fresh| fresh.uid == application.uid) else { return Ok(()) };
        if !same_store(client, installation).await? {
            return Ok(());
        }
        for Stray { cluster, registration, object } in strays {
            let owner = Owner::Exists(stake(&fresh, &cluster, clusters));
            if judge(&object, &owner, registration, &installation.epoch) != Fate::Sweep {
                continue;
            }
            let Some(Ok(handle)) = clusters.get(&cluster) else { continue };
            let other_user = self.neighbours.others(&cluster, Some(&application.uid));
            let sweep = sweep(handle.connection(), &object, &installation.installation, &other_user);
            let sweep = Box::pin(handle.on_known(sweep));
            let Some(swept) = self.leadership.within_lease(sweep).await else { return Ok(()) };
            match swept.and_then(|swept| swept) {
                Ok(Swept::Gone) => {
                    tracing::info!(application = %key, %cluster, object = %object.key, "stray object swept");
                }
                Ok(Swept::Deferred) => {}
                Err(error) => {
                    tracing::debug!(application = %key, %cluster, object = %object.key, %error, "not swept");
                }
            }
        }
        Ok(())
    }
}
