//! Types and reasons of conditions: the names that Krake gives, the rules for those of other programs, and how to read
//! conditions that an older version stored.
//!
//! Use [`find`], [`type_of`] and [`reason_of`] to read a condition: they understand both stored forms.

use thiserror::Error;

use crate::krake::meta::v1::Condition;

/// Maximum number of conditions of a resource or of a copy.
pub const MAX_CONDITIONS: usize = 32;
/// Maximum length of a type, in bytes.
pub const MAX_TYPE: usize = 120;
/// Maximum length of a reason, in bytes.
pub const MAX_REASON: usize = 64;
/// Maximum length of a message, in bytes.
pub const MAX_MESSAGE: usize = 4096;

/// Declares a module of documented names and a list of them all.
macro_rules! names {
    ($(#[$about:meta])* $module:ident { $($(#[$doc:meta])* $constant:ident = $name:literal;)* }) => {
        $(#[$about])*
        pub mod $module {
            $($(#[$doc])* pub const $constant: &str = $name;)*
            /// All names of this module.
            pub const ALL: &[&str] = &[$($constant),*];
        }
    };
}

names! {
    /// Condition types of Krake's own.
    types {
        /// Application: the scheduler has a cluster for the present generation. Writer: the scheduler.
        SCHEDULED = "Scheduled";
        /// Copy: all objects could be applied. Writer: the platform adapter.
        APPLIED = "Applied";
        /// Copy: all workloads are available. Writer: the platform adapter.
        AVAILABLE = "Available";
        /// Copy: the API server validated the whole manifest when it was first written, and warned of nothing. Writer: the
        /// platform adapter.
        VALIDATED = "Validated";
        /// Cluster: its API server answers. Writer: the platform adapter.
        REACHABLE = "Reachable";
        /// Cluster: its nodes are ready and free of pressure. Writer: the platform adapter.
        NODES_HEALTHY = "NodesHealthy";
        /// Cluster: it is known which cluster it is, and no other one of Krake's is the same. Writer: the platform
        /// adapter.
        IDENTITY_VERIFIED = "IdentityVerified";
        /// Cluster: it has been unreachable for 15 minutes for a reason that only a person can remove. Writer: the
        /// platform adapter.
        NEEDS_OPERATOR = "NeedsOperator";
        /// Cluster: all of its metrics could be read. Writer: the scheduler.
        METRICS_AVAILABLE = "MetricsAvailable";
    }
}

names! {
    /// Reasons that Krake gives. A condition without a reason has an empty one.
    reasons {
        /// The scheduler chose a cluster.
        BOUND = "Bound";
        /// No cluster satisfies the constraints.
        NO_SUITABLE_RESOURCE = "NoSuitableResource";
        /// An object of the application belongs to another application, or to an owner that Krake does not know.
        OBJECT_OWNED_BY_OTHER = "ObjectOwnedByOther";
        /// The cluster's API server refused an object.
        KUBERNETES_ERROR = "KubernetesError";
        /// The cluster does not know an object's kind.
        UNSUPPORTED_RESOURCE = "UnsupportedResource";
        /// An object could not be understood.
        INVALID_RESOURCE = "InvalidResource";
        /// Workloads are still starting.
        PROGRESSING = "Progressing";
        /// Workloads are still starting, and their pods say what keeps them from it.
        NOT_STARTING = "NotStarting";
        /// Workloads did not become available in time, or reported failure.
        DEADLINE_EXCEEDED = "DeadlineExceeded";
        /// The cluster does not answer.
        CLUSTER_NOT_REACHABLE = "ClusterNotReachable";
        /// The cluster answers, but not as a Kubernetes API that works.
        BROKEN = "Broken";
        /// The cluster's certificate does not prove its identity.
        TLS_NOT_VERIFIED = "TlsNotVerified";
        /// The cluster does not accept the credentials of its kubeconfig.
        UNAUTHORIZED = "Unauthorized";
        /// Another cluster answers than the one that was registered.
        WRONG_CLUSTER = "WrongCluster";
        /// The cluster answers that it has too many requests.
        THROTTLED = "Throttled";
        /// The cluster answers again; the next probe decides.
        CONNECTING = "Connecting";
        /// The namespace `kube-system` may not be read: only the certificate authority shows which cluster it is.
        UNVERIFIED = "Unverified";
        /// Another cluster of Krake's is the same Kubernetes cluster.
        DUPLICATE_IDENTITY = "DuplicateIdentity";
        /// A node reports memory, disk or PID pressure.
        NODE_PRESSURE = "NodePressure";
        /// A node is not ready.
        NODE_NOT_READY = "NodeNotReady";
        /// A value is missing, not a number, out of range or too old.
        INVALID_METRIC = "InvalidMetric";
        /// The provider does not answer.
        UNREACHABLE_METRICS_PROVIDER = "UnreachableMetricsProvider";
        /// There is no metric of that name.
        UNKNOWN_METRIC = "UnknownMetric";
        /// There is no provider of that name.
        UNKNOWN_METRICS_PROVIDER = "UnknownMetricsProvider";
        /// The cluster is being deleted, or was.
        CLUSTER_DELETED = "ClusterDeleted";
        /// The kubeconfig cannot be used.
        INVALID_KUBECONFIG = "InvalidKubeconfig";
        /// A workload that was available lost replicas.
        UNHEALTHY = "Unhealthy";
        /// Objects of a copy that is being removed are not gone yet.
        WAITING_FOR_REMOVAL = "WaitingForRemoval";
        /// Objects were left on the cluster, since they hold what is not the application's.
        RELEASED = "Released";
        /// Objects that existed before, and are not the application's, are used as they are.
        USED = "Used";
        /// The cluster's API server warned of the manifest.
        WARNINGS = "Warnings";
        /// The cluster's API server could not validate the whole manifest.
        NOT_VALIDATED = "NotValidated";
    }
}

/// Types by the number that older versions stored.
const LEGACY_TYPES: [&str; 7] = [
    "",
    types::SCHEDULED,
    types::APPLIED,
    types::AVAILABLE,
    types::REACHABLE,
    types::NODES_HEALTHY,
    types::METRICS_AVAILABLE,
];

/// Reasons by the number that older versions stored.
const LEGACY_REASONS: [&str; 20] = [
    "",
    reasons::BOUND,
    reasons::NO_SUITABLE_RESOURCE,
    reasons::OBJECT_OWNED_BY_OTHER,
    reasons::KUBERNETES_ERROR,
    reasons::UNSUPPORTED_RESOURCE,
    reasons::INVALID_RESOURCE,
    reasons::PROGRESSING,
    reasons::DEADLINE_EXCEEDED,
    reasons::CLUSTER_NOT_REACHABLE,
    reasons::CONNECTING,
    reasons::NODE_PRESSURE,
    reasons::NODE_NOT_READY,
    reasons::INVALID_METRIC,
    reasons::UNREACHABLE_METRICS_PROVIDER,
    reasons::UNKNOWN_METRIC,
    reasons::UNKNOWN_METRICS_PROVIDER,
    reasons::CLUSTER_DELETED,
    reasons::INVALID_KUBECONFIG,
    reasons::UNHEALTHY,
];

/// The type of a condition, whichever version wrote it; empty if it has none that this version knows by number.
pub fn type_of(condition: &Condition) -> &str {
    if condition.r#type.is_empty() { legacy(condition).0 } else { &condition.r#type }
}

/// The reason of a condition, whichever version wrote it; empty if none is given.
pub fn reason_of(condition: &Condition) -> &str {
    if condition.r#type.is_empty() { legacy(condition).1 } else { &condition.reason }
}

/// Type and reason by the numbers of older versions.
#[allow(deprecated, reason = "the one place that reads these fields")]
fn legacy(condition: &Condition) -> (&'static str, &'static str) {
    fn name(names: &[&'static str], number: i32) -> &'static str {
        usize::try_from(number).ok().and_then(|index| names.get(index)).copied().unwrap_or_default()
    }
    (name(&LEGACY_TYPES, condition.legacy_type), name(&LEGACY_REASONS, condition.legacy_reason))
}

/// The condition of this type. If there are several the last one counts: while replicas of two versions write, the older
/// one does not recognise what the newer one wrote, and appends its own.
pub fn find<'a>(conditions: &'a [Condition], r#type: &str) -> Option<&'a Condition> {
    conditions.iter().rev().find(|condition| type_of(condition) == r#type)
}

/// Brings a condition into the present form. Returns whether it was in the form of an older version; one whose type this
/// version cannot name stays as it is.
#[allow(deprecated, reason = "the one place that removes these fields")]
pub fn normalise(condition: &mut Condition) -> bool {
    if condition.legacy_type == 0 && condition.legacy_reason == 0 {
        return false;
    }
    if condition.r#type.is_empty() {
        let (r#type, reason) = legacy(condition);
        if r#type.is_empty() {
            return false;
        }
        (condition.r#type, condition.reason) = (r#type.to_owned(), reason.to_owned());
    }
    (condition.legacy_type, condition.legacy_reason) = (0, 0);
    true
}

/// What is wrong with the type or the reason of a condition. The text completes a sentence such as "type …".
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConditionError {
    /// There is no type.
    #[error("is missing")]
    Missing,
    /// More bytes than allowed.
    #[error("is {length} bytes long; at most {max} are allowed")]
    TooLong {
        /// Bytes found.
        length: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Neither a type of Krake's own nor one of another program.
    #[error(
        "{0:?} is no condition type of Krake; other programs write a DNS domain, \"/\" and a name, for example \
         \"example.org/BackedUp\""
    )]
    Unknown(String),
    /// The part of a foreign type before the slash.
    #[error("{0:?} is no DNS domain: use lower-case letters, digits and \"-\" between dots")]
    Domain(String),
    /// The part of a foreign type after the slash.
    #[error(
        "{0:?} is no name of a condition: use letters, digits, \"-\", \"_\" and \".\", beginning with a letter"
    )]
    Name(String),
    /// A reason of other characters.
    #[error("must begin with a letter and hold only letters, digits and \"_\"")]
    Reason,
}

/// Whether the type is one of another program: it names a domain.
pub fn is_foreign(r#type: &str) -> bool {
    r#type.contains('/')
}

/// Checks a type: one of [`types`], or a DNS domain, a slash and a name.
///
/// # Errors
/// The first violation.
pub fn check_type(r#type: &str) -> Result<(), ConditionError> {
    if r#type.is_empty() {
        return Err(ConditionError::Missing);
    }
    if r#type.len() > MAX_TYPE {
        return Err(ConditionError::TooLong { length: r#type.len(), max: MAX_TYPE });
    }
    match r#type.split_once('/') {
        None if types::ALL.contains(&r#type) => Ok(()),
        None => Err(ConditionError::Unknown(r#type.to_owned())),
        Some((domain, _)) if !is_domain(domain) => Err(ConditionError::Domain(domain.to_owned())),
        Some((_, name)) if !is_name(name) => Err(ConditionError::Name(name.to_owned())),
        Some(_) => Ok(()),
    }
}

/// Checks a reason, which may be empty.
///
/// # Errors
/// The first violation.
pub fn check_reason(reason: &str) -> Result<(), ConditionError> {
    if reason.len() > MAX_REASON {
        return Err(ConditionError::TooLong { length: reason.len(), max: MAX_REASON });
    }
    let begins = reason.bytes().next().is_none_or(|first| first.is_ascii_alphabetic());
    let holds = reason.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if begins && holds { Ok(()) } else { Err(ConditionError::Reason) }
}

/// A DNS subdomain, as Kubernetes allows before the slash of a label key.
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.split('.').all(is_label)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.ends_with(|last: char| last.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// A message that a condition can hold: one that is too long is cut in the middle, since both its beginning and its end
/// name causes.
pub fn bounded(message: String) -> String {
    const CUT: &str = " … ";
    if message.len() <= MAX_MESSAGE {
        return message;
    }
    let half = (MAX_MESSAGE - CUT.len()) / 2;
    let head = message.floor_char_boundary(half);
    let tail = message.ceil_char_boundary(message.len() - half);
    format!("{}{CUT}{}", &message[..head], &message[tail..])
}

#[cfg(test)]
mod tests;
