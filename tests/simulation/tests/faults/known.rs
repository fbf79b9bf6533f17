//! Cases that fail because of a known fault of the product: none at present. Each must still fail: what is mended leaves the
//! list.

use crate::case::Case;
use crate::drive::Verdict;

/// The known cases: the name, whether it fails each time (what only time heals may be well by chance), and the fault of the
/// product that it shows.
const KNOWN: &[(&str, bool, &str)] = &[];

fn of(case: Case) -> Option<(bool, &'static str)> {
    let name = case.to_string();
    KNOWN.iter().find(|(known, ..)| *known == name).map(|(_, always, why)| (*always, *why))
}

/// The known fault that a case shows.
pub(crate) fn reason(case: Case) -> Option<&'static str> {
    of(case).map(|(_, why)| why)
}

/// Verdicts that are not as expected.
pub(crate) fn surprises(verdicts: &[(Case, Verdict)]) -> Vec<String> {
    let surprise = |(case, verdict): &(Case, Verdict)| match (of(*case), verdict.wrong.is_empty()) {
        (None, false) => Some(format!("{case}: {}", verdict.wrong.join("; "))),
        (Some((true, why)), true) => {
            Some(format!("{case} is well: take it out of the list of known failures ({why})"))
        }
        _ => None,
    };
    verdicts.iter().filter_map(surprise).collect()
}

#[test]
fn known_cases_exist() {
    for (name, _, why) in KNOWN {
        assert!(Case::all().any(|case| case.to_string() == *name), "no case {name}");
        assert!(!why.is_empty(), "{name} needs a reason");
    }
}
