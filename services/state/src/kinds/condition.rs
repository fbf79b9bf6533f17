//! Conditions as the kinds' derived states and upgrades use them.

use krake_proto::condition::{reason_of, reasons, type_of, types};
use krake_proto::krake::meta::v1::{Condition, Reason, ReasonCode};

use super::Rewritten;
use crate::cache::Stored;
use crate::object::sections::Sections;
use crate::object::wire::Malformed;

/// A condition's reason in upstream's terms. The code is always one of upstream's: its clients refuse any other.
pub(super) fn reason(condition: &Condition) -> Reason {
    let code = code(reason_of(condition)).unwrap_or_else(|| code_of_type(type_of(condition)));
    Reason { code: code.into(), message: condition.message.clone() }
}

/// Upstream's code for a reason of Krake's; `None` for others and for no reason.
fn code(reason: &str) -> Option<ReasonCode> {
    let code = match reason {
        reasons::BOUND | reasons::NO_SUITABLE_RESOURCE | reasons::CLUSTER_DELETED => {
            ReasonCode::NoSuitableResource
        }
        reasons::WAITING_FOR_REMOVAL | reasons::RELEASED => ReasonCode::DeleteFailed,
        reasons::UNSUPPORTED_RESOURCE => ReasonCode::UnsupportedResource,
        reasons::INVALID_RESOURCE | reasons::OBJECT_OWNED_BY_OTHER | reasons::DUPLICATE_IDENTITY => {
            ReasonCode::InvalidResource
        }
        // Upstream has no code for nodes; what it says about a cluster that answers is this.
        reasons::KUBERNETES_ERROR
        | reasons::DEADLINE_EXCEEDED
        | reasons::UNHEALTHY
        | reasons::PROGRESSING
        | reasons::NOT_STARTING
        | reasons::USED
        | reasons::WARNINGS
        | reasons::NOT_VALIDATED
        | reasons::NODE_PRESSURE
        | reasons::NODE_NOT_READY => ReasonCode::KubernetesError,
        reasons::CLUSTER_NOT_REACHABLE
        | reasons::BROKEN
        | reasons::TLS_NOT_VERIFIED
        | reasons::UNAUTHORIZED
        | reasons::WRONG_CLUSTER
        | reasons::THROTTLED
        | reasons::CONNECTING
        | reasons::INVALID_KUBECONFIG
        | reasons::UNVERIFIED => ReasonCode::ClusterNotReachable,
        reasons::INVALID_METRIC => ReasonCode::InvalidMetric,
        reasons::UNREACHABLE_METRICS_PROVIDER => ReasonCode::UnreachableMetricsProvider,
        reasons::UNKNOWN_METRIC => ReasonCode::UnknownMetric,
        reasons::UNKNOWN_METRICS_PROVIDER => ReasonCode::UnknownMetricsProvider,
        _ => return None,
    };
    Some(code)
}

/// Upstream's code for a condition whose reason says nothing: none is given, or a newer version's.
fn code_of_type(r#type: &str) -> ReasonCode {
    match r#type {
        types::SCHEDULED => ReasonCode::NoSuitableResource,
        types::APPLIED | types::AVAILABLE | types::VALIDATED | types::NODES_HEALTHY => {
            ReasonCode::KubernetesError
        }
        types::REACHABLE | types::IDENTITY_VERIFIED | types::NEEDS_OPERATOR => {
            ReasonCode::ClusterNotReachable
        }
        types::METRICS_AVAILABLE => ReasonCode::InvalidMetric,
        _ => ReasonCode::InternalError,
    }
}

/// The object with the status that `change` makes; `None` if that makes none.
pub(super) fn rewritten(
    stored: &Stored,
    change: impl FnOnce(&[u8]) -> Result<Option<Vec<u8>>, Malformed>,
) -> Result<Option<Rewritten>, Malformed> {
    let status = change(stored.sections.status.as_deref().unwrap_or_default())?;
    Ok(status.map(|status| Rewritten {
        sections: Sections { status: Some(status.into()), ..stored.sections.clone() },
        report: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes that upstream's client knows (1.0.1); it raises on any other.
    pub(crate) const UPSTREAM: [&str; 20] = [
        "INTERNAL_ERROR",
        "INVALID_RESOURCE",
        "UNSUPPORTED_RESOURCE",
        "INVALID_CUSTOM_RESOURCE",
        "INVALID_TOSCA_MANIFEST",
        "CLUSTER_NOT_REACHABLE",
        "NO_SUITABLE_RESOURCE",
        "KUBERNETES_ERROR",
        "CREATE_FAILED",
        "RECONCILE_FAILED",
        "RECONFIGURE_FAILED",
        "DELETE_FAILED",
        "RETRIEVE_FAILED",
        "NOT_FOUND",
        "OPENSTACK_ERROR",
        "INVALID_CLUSTER_TEMPLATE",
        "INVALID_METRIC",
        "UNREACHABLE_METRICS_PROVIDER",
        "UNKNOWN_METRIC",
        "UNKNOWN_METRICS_PROVIDER",
    ];

    #[test]
    fn every_reason_of_every_type_has_a_code_that_upstream_knows() {
        for reason in reasons::ALL {
            assert!(code(reason).is_some(), "{reason}");
        }
        let types = types::ALL.iter().chain(&["", "example.org/Other"]);
        let reasons = reasons::ALL.iter().chain(&["", "OfANewerVersion"]);
        for (r#type, reason) in types.flat_map(|name| reasons.clone().map(move |reason| (name, reason))) {
            let condition =
                Condition { r#type: (*r#type).into(), reason: (*reason).into(), ..Condition::default() };
            let code = super::reason(&condition).code().as_str_name();
            let shown = code.strip_prefix("REASON_CODE_").unwrap();
            assert!(UPSTREAM.contains(&shown), "{type} {reason}: {shown}", r#type = r#type);
        }
    }

    #[test]
    fn every_code_of_the_contract_but_none_is_one_of_upstream() {
        let codes = krake_proto::POOL.get_enum_by_name("krake.meta.v1.ReasonCode").unwrap();
        let names: Vec<String> = codes
            .values()
            .filter(|value| value.number() != 0)
            .map(|value| value.name().trim_start_matches("REASON_CODE_").to_owned())
            .collect();
        assert_eq!(names, UPSTREAM);
    }
}
