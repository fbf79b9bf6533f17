//! What Krake knows of the owners of marked objects, from mirrors and from the API itself.

use std::collections::HashSet;

use krake_client::Client;
use krake_proto::krake::meta::v1::{CheckTombstonesRequest, GetInstallationRequest, Installation};

use super::project::Application;
use crate::cluster::clusters::Clusters;
use crate::object::ClusterUid;
use crate::object::orphan::Stake;
use crate::plan::Phase;

/// uids per question about tombstones.
const AT_ONCE: usize = 500;

/// What an application has to do with a cluster. A copy elsewhere counts as running only while its cluster answers.
pub(super) fn stake(application: &Application, cluster: &ClusterUid, clusters: &Clusters) -> Stake {
    let recorded = application.copy(cluster);
    let inventory =
        |copy: &crate::plan::CopyRecord| copy.inventory.iter().map(|entry| entry.key.clone()).collect();
    Stake {
        recorded: recorded.map(inventory),
        bound: application.bindings.iter().any(|bound| bound.uid == cluster.as_str()),
        elsewhere: application.clusters().iter().any(|uid| uid != cluster),
        runs_elsewhere: application.bindings.iter().map(|bound| ClusterUid::from(bound.uid.as_str())).any(
            |uid| {
                let copy = application.copy(&uid);
                let is_running = copy.is_some_and(|copy| copy.phase == Phase::Running);
                uid != *cluster && is_running && clusters.answers(&uid)
            },
        ),
    }
}

/// Which of the uids were erased: a positive record.
pub(super) async fn erased(
    client: &Client,
    uids: impl IntoIterator<Item = String>,
) -> Result<HashSet<String>, krake_client::Error> {
    let uids: Vec<String> = uids.into_iter().collect();
    let mut erased = HashSet::new();
    for uids in uids.chunks(AT_ONCE) {
        let request = CheckTombstonesRequest { uids: uids.to_vec() };
        let answer = client.objects().check_tombstones(request).await.map_err(krake_client::Error::from)?;
        erased.extend(answer.into_inner().erased);
    }
    Ok(erased)
}

/// Whether the store still is the one that was found at the start: not another installation's, and not restored since.
pub(crate) async fn same_store(client: &Client, known: &Installation) -> Result<bool, krake_client::Error> {
    let present = client.objects().get_installation(GetInstallationRequest {}).await;
    let present = present.map_err(krake_client::Error::from)?.into_inner();
    Ok(present.installation == known.installation && present.epoch == known.epoch)
}
