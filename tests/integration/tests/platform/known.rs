//! What simulated clusters, which follow Kubernetes 1.35, do otherwise than real ones of other releases. Each entry must
//! still differ: one that does not any more is to be taken out. `make matrix` runs the releases.

use std::ops::RangeInclusive;

/// A difference that is known.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Minor versions that differ: 35 is Kubernetes 1.35.
    pub(crate) minors: RangeInclusive<u32>,
    /// The case.
    pub(crate) case: &'static str,
    /// What differs.
    pub(crate) why: &'static str,
}

/// All of them, seen on 1.20.2, 1.28.15, 1.31.4 and 1.37.2.
const KNOWN: &[Known] = &[
    Known { minors: 20..=34, case: "version, groups and health", why: VERSION },
    Known { minors: 36..=99, case: "version, groups and health", why: VERSION },
    known(20, "a field that another owns too stays", EMPTY),
    known(20, "an empty object is its applier's", EMPTY),
    known(
        20,
        "containers, env and ports by their names",
        "merged lists are in the order of the last to apply",
    ),
    known(20, "ports of a Service by number and protocol", "a port without protocol cannot be applied"),
    known(20, "kinds as they are served", "batch/v1beta1 is served, and kinds have no singular names"),
    known(20, "a definition brings its kind along", "who writes the same value of a free field is refused"),
    known(20, "custom resources are checked", "a wrong type is told as FieldValueInvalid"),
    known(20, "a namespace takes its objects along", NAMESPACE),
    known(20, "nothing new in a namespace that goes", NAMESPACE),
    known(20, "current kinds are applied, and counted where they are", "they are not served"),
    known(20, "kinds of current clusters", "they are not served"),
    known(20, "unknown and repeated fields of a new object", VALIDATION),
    known(20, "unknown and repeated fields of a changed object", VALIDATION),
    known(20, "unknown fields of custom resources", VALIDATION),
    known(20, "unknown fields are refused, or left out and told", VALIDATION),
    known(20, "replicas are left to an autoscaler", "autoscaling/v2 is not served"),
    known(20, "what is applied must fit", "messages name no object"),
    known(20, "values of a wrong type", "messages are of another form"),
    known(20, "warnings of what an apply cannot tell apart", "there are no such warnings"),
    Known {
        minors: 28..=31,
        case: "unknown fields of custom resources",
        why: "a version that is missing is named in another form",
    },
    known(28, "warnings of what an apply cannot tell apart", "the warning is shorter"),
    known(37, "current kinds are applied, and counted where they are", "autoscalers have generations"),
    known(37, "what is applied must fit", "an apply that cannot be read is told in another form"),
    known(37, "merge patch under preconditions", CAUSE),
    known(37, "apply under preconditions", CAUSE),
];

const VERSION: &str = "it is of another version";
const EMPTY: &str = "an empty map has no owner";
const NAMESPACE: &str = "its name is no label, and its phase is booked to its creator";
const VALIDATION: &str = "there is no fieldValidation";
const CAUSE: &str = "a wrong uid has one cause, not two";

const fn known(minor: u32, case: &'static str, why: &'static str) -> Known {
    Known { minors: minor..=minor, case, why }
}

/// The known difference of a case on the real server of this minor version.
pub(crate) fn of(minor: Option<u32>, case: &str) -> Option<&'static Known> {
    let minor = minor?;
    KNOWN.iter().find(|known| known.case == case && known.minors.contains(&minor))
}

#[test]
fn the_release_that_is_followed_has_no_known_difference() {
    for known in KNOWN {
        assert!(!known.minors.contains(&35) && !known.why.is_empty(), "{known:?}");
    }
}
