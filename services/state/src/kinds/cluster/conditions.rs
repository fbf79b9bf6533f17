//! Rewrites conditions that an older version stored with numbers for types and reasons.

use krake_proto::numbers::kubernetes::v1::cluster_status as field;

use crate::cache::Stored;
use crate::kinds::{Find, Rewritten, Upgrade, condition};
use crate::object::conditions::modernised;
use crate::object::wire::Malformed;

/// The rewrite.
pub(super) const UPGRADE: Upgrade = Upgrade { name: "cluster-condition-names", rewrite };

fn rewrite(cluster: &Stored, _: &Find<'_>) -> Result<Option<Rewritten>, Malformed> {
    condition::rewritten(cluster, |status| modernised(status, field::CONDITIONS))
}
