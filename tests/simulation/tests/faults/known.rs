//! Cases that fail because of a known fault of the product. Each must still fail: what is mended leaves the list.

use crate::case::Case;
use crate::drive::Verdict;

/// A known case, by name.
struct Known {
    case: &'static str,
    /// The fault of the product that it shows.
    why: &'static str,
    /// Whether it fails each time. What only time heals may be well by chance.
    always: bool,
}

const KNOWN: &[Known] = &[
    Known { case: "list/403/drift/create-first", why: NOT_WOKEN, always: false },
    Known { case: "list/403/drift/delete-first", why: NOT_WOKEN, always: false },
    Known { case: "watch/403/drift/create-first", why: NOT_WOKEN, always: false },
    Known { case: "watch/403/drift/delete-first", why: NOT_WOKEN, always: false },
    Known { case: "get/404/handover/delete-first", why: BELIEVED, always: true },
    Known { case: "delete/404/handover/delete-first", why: BELIEVED, always: true },
    Known { case: "get/404/removal/create-first", why: BELIEVED, always: false },
    Known { case: "get/404/removal/delete-first", why: BELIEVED, always: false },
];

/// `KindCache::forbid` returns only those who wait for the first list. What was deleted or changed meanwhile is seen after
/// the next resynchronisation, within five minutes.
const NOT_WOKEN: &str = "when the list of all namespaces is refused, applications that run are not told to look at \
    their own namespace";
/// `object/remove.rs` takes an object for gone after one such answer, though the watch still shows it. The copy is
/// forgotten, and the next one begins; the sweep for orphans finds the rest, within ten minutes.
const BELIEVED: &str = "one answer of 404 to a read or a deletion counts as the object's absence";

fn of(case: Case) -> Option<&'static Known> {
    let name = case.to_string();
    KNOWN.iter().find(|known| known.case == name)
}

/// The known fault that a case shows.
pub(crate) fn reason(case: Case) -> Option<&'static str> {
    of(case).map(|known| known.why)
}

/// Verdicts that are not as expected.
pub(crate) fn surprises(verdicts: &[(Case, Verdict)]) -> Vec<String> {
    let surprise = |(case, verdict): &(Case, Verdict)| match (of(*case), verdict.wrong.is_empty()) {
        (None, false) => Some(format!("{case}: {}", verdict.wrong.join("; "))),
        (Some(Known { always: true, why, .. }), true) => {
            Some(format!("{case} is well: take it out of the list of known failures ({why})"))
        }
        _ => None,
    };
    verdicts.iter().filter_map(surprise).collect()
}

#[test]
fn known_cases_exist() {
    for Known { case: name, why, .. } in KNOWN {
        assert!(Case::all().any(|case| case.to_string() == *name), "no case {name}");
        assert!(!why.is_empty(), "{name} needs a reason");
    }
}
