//! What the watches of a cluster show of the objects of an application.

use std::time::Duration;

use kube::api::DynamicObject;

use super::ClusterHandle;
use crate::cluster::cache::Lookup;
use crate::object::observation::Sight;
use crate::object::prepare::{Prepared, Target};
use crate::object::{ApplicationUid, Identity, ObjectKey, health};

/// How long an apply waits at most for the watches that will show the end of its jobs.
const ENDS_WATCHED: Duration = Duration::from_secs(5);

impl ClusterHandle {
    /// What is seen of each target.
    pub fn sights(&self, targets: &[Target], application: &ApplicationUid) -> Vec<Sight> {
        targets.iter().map(|target| self.sight(target, application)).collect()
    }

    /// What is seen of a target. Starts the watch that is needed; what is not known yet wakes the application later.
    pub fn sight(&self, target: &Target, application: &ApplicationUid) -> Sight {
        let key = &target.prepared.key;
        if target.kind.promised {
            // There is nothing to watch before the cluster serves the kind.
            return Sight::Hidden("its kind is not served yet".to_owned());
        }
        if !target.kind.watchable {
            return Sight::Unwatched;
        }
        let namespace = key.namespace.as_deref();
        let cache = self.watches.cache(&target.kind, namespace, application);
        match cache.get(namespace, &key.name) {
            Lookup::Absent => Sight::Absent,
            Lookup::Present(object) => Sight::Present(object),
            Lookup::Unknown => match cache.trouble() {
                None => Sight::Pending,
                Some(trouble) => {
                    // Perhaps the kind is served again, which the next look asks.
                    if cache.nudge() {
                        self.discovery.renew(&key.api_version);
                    }
                    Sight::Hidden(trouble)
                }
            },
        }
    }

    /// Waits until the watches show the objects of `targets` that run to an end, or a while: one that begins later would not
    /// show that such an object ended, where that is collected at once.
    pub(crate) async fn watch_ends(&self, targets: &[Target], application: &ApplicationUid) {
        let ends = |target: &&Target| {
            health::runs_to_an_end(&target.prepared.key) && target.kind.watchable && !target.kind.promised
        };
        let watched = async {
            for target in targets.iter().filter(ends) {
                let namespace = target.prepared.key.namespace.as_deref();
                let cache = || self.watches.cache(&target.kind, namespace, application);
                cache().settled().await;
                // By now it may be known that the namespace alone can be watched.
                cache().settled().await;
            }
        };
        let _ = tokio::time::timeout(ENDS_WATCHED, watched).await;
    }

    /// The last state of an object that ran to its end and is gone, by the uid that is recorded of it.
    pub(crate) fn ended(
        &self,
        target: &Target,
        application: &ApplicationUid,
        recorded: &str,
    ) -> Option<Sight> {
        let Prepared { key, .. } = &target.prepared;
        let namespace = key.namespace.as_deref();
        let cache = self.watches.cache(&target.kind, namespace, application);
        cache.ended(namespace, &key.name, recorded).map(Sight::Ended)
    }

    /// What is seen of a Namespace or definition, which may be used although it is not the application's, given what the
    /// watches show of it and that it [is asked for](Self::is_asked_for). `recorded`: the uid of the
    /// application's own object of this name.
    pub(crate) async fn shared_sight(
        &self,
        seen: Sight,
        target: &Target,
        identity: &Identity,
        recorded: Option<&str>,
    ) -> Sight {
        match self.shared.find(target).await {
            Ok(Some(live)) if live.is_used_by(identity, recorded) => Sight::Used(live),
            Ok(None) if matches!(seen, Sight::Hidden(_)) => Sight::Absent,
            Err(error) if !matches!(seen, Sight::Hidden(_)) => Sight::Hidden(error),
            _ => seen,
        }
    }

    /// Whether it has to be asked for: the watches do not show an object of the application.
    pub(crate) fn is_asked_for(seen: &Sight, target: &Target, application: &ApplicationUid) -> bool {
        match seen {
            Sight::Absent | Sight::Hidden(_) => !target.kind.promised,
            Sight::Present(object) => object.application != *application,
            _ => false,
        }
    }

    /// Whether a watch that runs shows an object of the application.
    pub(crate) fn shows(&self, key: &ObjectKey, application: &ApplicationUid) -> bool {
        self.watches.shows(key, application)
    }

    /// The application has no copy here any more: watches that only it needed end.
    pub fn release(&self, application: &ApplicationUid) {
        self.watches.release(application);
    }

    /// Takes over an object that was just applied, so that it is not taken for missing before the watches deliver it.
    pub fn note(&self, target: &Target, applied: DynamicObject, application: &ApplicationUid) {
        if target.kind.promised {
            // By now it is served: the next look asks again.
            self.discovery.forget(&target.kind.resource.api_version);
        } else if target.kind.watchable {
            let namespace = target.prepared.key.namespace.as_deref();
            self.watches.cache(&target.kind, namespace, application).note(applied);
        }
    }
}
