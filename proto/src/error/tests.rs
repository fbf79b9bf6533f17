//! The laws of errors: they survive the wire, and fit into its headers whatever the request held.

use proptest::prelude::*;

use super::*;

/// The most bytes of headers that a status may take: half of what HTTP/2 peers allow by default.
const MAX_HEADERS: usize = 8 * 1024;

/// What a status takes in the headers of an answer, names included.
fn header_bytes(status: &Status) -> usize {
    let mut headers = http::HeaderMap::new();
    status.add_header(&mut headers).unwrap();
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

fn violation() -> impl Strategy<Value = Violation> {
    // What is longest when it is encoded: controls, quotes, and characters of two to four bytes.
    let text = |length: usize| {
        prop_oneof![
            "[ -~]{0,40}".boxed(),
            proptest::collection::vec(any::<char>(), 0..length)
                .prop_map(|characters| characters.into_iter().collect::<String>())
                .boxed(),
            ("[\u{0}-\u{1f}\"%äß語🐙]", 0..length).prop_map(|(one, count)| one.repeat(count)).boxed(),
        ]
    };
    (text(500), text(2_000)).prop_map(|(field, description)| Violation::new(field, description))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_status_fits_into_headers(violations in proptest::collection::vec(violation(), 0..60)) {
        let refused = invalid(&violations);
        prop_assert!(header_bytes(&refused) <= MAX_HEADERS, "{}", header_bytes(&refused));
        let shown = self::violations(&refused);
        prop_assert!(shown.len() <= MAX_VIOLATIONS + 1);
        let counted: usize = shown.iter().map(|shown| shown.remainder().unwrap_or(1)).sum();
        let given: usize = violations.iter().map(|given| given.remainder().unwrap_or(1)).sum();
        prop_assert_eq!(counted, given);
        // Bounding again, as each service on the way does, changes nothing.
        prop_assert_eq!(&self::violations(&invalid(&shown)), &shown);
        let text = joined(&violations);
        let metadata = [("resource_version", text.repeat(3)), ("oldest", text.repeat(3))];
        let conflict = status_with(Code::Aborted, ErrorReason::Conflict, text.repeat(9), metadata);
        prop_assert!(header_bytes(&conflict) <= MAX_HEADERS);
    }

    #[test]
    fn a_shortened_text_keeps_both_ends(text in any::<String>(), limit in 8usize..100) {
        let short = shortened(&text, limit);
        if text.len() <= limit {
            prop_assert_eq!(&short, &text);
        } else {
            prop_assert!(short.len() <= limit);
            let (begin, end) = short.split_once(" … ").unwrap();
            prop_assert!(text.starts_with(begin) && text.ends_with(end));
        }
    }
}

#[test]
fn of_many_violations_the_first_are_listed_and_the_rest_is_counted() {
    let mut violations = Violations::default();
    for index in 0..1_000_000 {
        violations
            .add(format_args!("spec.constraints.cluster.labels[{index}]"), "expected a string, found 1");
    }
    let listed = violations.into_vec();
    assert_eq!(listed.len(), MAX_VIOLATIONS + 1);
    assert_eq!(listed[19].field, "spec.constraints.cluster.labels[19]");
    assert_eq!(listed[20], Violation::new("", "and 999980 more"));
    let status = invalid(&listed);
    assert!(status.message().ends_with("; and 999993 more"), "{}", status.message());
    assert!(status.message().starts_with("spec.constraints.cluster.labels[0]: expected"));
}

#[test]
fn counts_of_joined_lists_add_up() {
    let many = |count: usize| (0..count).map(|_| Violation::new("f", "d")).collect::<Violations>().into_vec();
    let both: Violations = many(25).into_iter().chain(many(30)).collect();
    assert_eq!(both.into_vec().last(), Some(&Violation::more(35)));
}

#[test]
fn reason_metadata_and_violations_survive_the_wire() {
    let conflict =
        status_with(Code::Aborted, ErrorReason::Conflict, "stale", [("resource_version", "7".to_owned())]);
    assert_eq!(reason(&conflict), Some(ErrorReason::Conflict));
    assert_eq!(metadata(&conflict, "resource_version").as_deref(), Some("7"));
    let wrong = [Violation::new("metadata.name", "is empty"), Violation::new("spec", "is missing")];
    let invalid = invalid(&wrong);
    assert_eq!(violations(&invalid), wrong);
    assert_eq!(invalid.message(), "metadata.name: is empty; spec: is missing");
    assert_eq!(reason(&Status::internal("other")), None);
}
