//! The names are documented, both stored forms are read, and the rules of names hold.
#![allow(deprecated, reason = "the form of older versions is what is tested")]

use super::*;
use crate::POOL;
use crate::comments::comment;

/// What the contract says about a field of `Condition`.
fn documented(field: &str) -> &'static str {
    let message = POOL.get_message_by_name("krake.meta.v1.Condition").unwrap();
    let field = message.get_field_by_name(field).unwrap();
    comment(&message.parent_file(), field.path())
}

/// The names that a comment explains: `"Name": …`.
fn explained(text: &str) -> Vec<&str> {
    let quoted = text.split('"').skip(1).step_by(2);
    quoted.filter(|name| text.contains(&format!("\"{name}\": "))).collect()
}

#[test]
fn every_name_is_documented_in_the_contract_and_every_documented_name_exists() {
    for (field, names) in [("type", types::ALL), ("reason", reasons::ALL)] {
        let mut documented = explained(documented(field));
        let mut names = names.to_vec();
        documented.sort_unstable();
        names.sort_unstable();
        assert_eq!(documented, names, "{field}");
    }
}

#[test]
fn own_names_follow_the_rules() {
    for name in types::ALL {
        assert_eq!(check_type(name), Ok(()));
        assert!(!is_foreign(name));
    }
    for name in reasons::ALL {
        assert_eq!(check_reason(name), Ok(()));
    }
}

#[test]
fn every_number_of_older_versions_has_a_name() {
    assert!(LEGACY_TYPES[1..].iter().all(|name| types::ALL.contains(name)));
    assert!(LEGACY_REASONS[1..].iter().all(|name| reasons::ALL.contains(name)));
}

fn legacy(r#type: i32, reason: i32) -> Condition {
    Condition { legacy_type: r#type, legacy_reason: reason, ..Condition::default() }
}

#[test]
fn numbers_of_older_versions_are_read_as_their_names() {
    for (number, name) in [(1, "Scheduled"), (4, "Reachable"), (6, "MetricsAvailable"), (7, ""), (-1, "")] {
        assert_eq!(type_of(&legacy(number, 0)), name);
    }
    for (number, name) in
        [(0, ""), (2, "NoSuitableResource"), (11, "NodePressure"), (19, "Unhealthy"), (20, "")]
    {
        assert_eq!(reason_of(&legacy(1, number)), name);
    }
    let mut old = legacy(5, 12);
    assert!(normalise(&mut old));
    let new =
        Condition { r#type: "NodesHealthy".into(), reason: "NodeNotReady".into(), ..Condition::default() };
    assert_eq!(old, new);
    assert!(!normalise(&mut old));
}

#[test]
fn the_present_form_wins_over_the_numbers_and_what_has_no_name_stays() {
    let mut both = Condition { r#type: "a.b/C".into(), reason: "D".into(), ..legacy(1, 2) };
    assert_eq!((type_of(&both), reason_of(&both)), ("a.b/C", "D"));
    assert!(normalise(&mut both));
    assert_eq!(both, Condition { r#type: "a.b/C".into(), reason: "D".into(), ..Condition::default() });
    let mut unknown = legacy(99, 2);
    assert!(!normalise(&mut unknown));
    assert_eq!(unknown, legacy(99, 2));
}

#[test]
fn of_several_conditions_of_a_type_the_last_one_counts() {
    let new =
        Condition { r#type: types::SCHEDULED.into(), message: "new form".into(), ..Condition::default() };
    let old = Condition { message: "old form".into(), ..legacy(1, 2) };
    let conditions = [new, old, legacy(2, 0)];
    assert_eq!(find(&conditions, types::SCHEDULED).unwrap().message, "old form");
    assert_eq!(find(&conditions, types::REACHABLE), None);
}

#[test]
fn types_by_the_rule() {
    let longest = format!("example.org/{}", "N".repeat(MAX_TYPE - "example.org/".len()));
    for good in ["Scheduled", "example.org/BackedUp", "a/b", "x-1.y/A.b-c_D", longest.as_str()] {
        assert_eq!(check_type(good), Ok(()), "{good}");
    }
    let too_long = format!("{longest}N");
    for bad in [
        "",
        "scheduled",
        "SCHEDULED",
        "Other",
        "/A",
        "a/",
        "a/b/c",
        "A.b/C",
        "a..b/C",
        ".a/C",
        "a./C",
        "-a/C",
        "a-/C",
        "a b/C",
        "a/1C",
        "a/C-",
        "a/Ä",
        "ä/C",
        "Scheduled ",
        "Scheduled/",
        "a/C\n",
        too_long.as_str(),
    ] {
        assert!(check_type(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn reasons_by_the_rule() {
    for good in ["", "A", "a_1", "NoSuitableResource", &"R".repeat(MAX_REASON)] {
        assert_eq!(check_reason(good), Ok(()), "{good}");
    }
    for bad in ["1", "_a", "A-b", "A b", "Ä", "A\n", "a/b", &"R".repeat(MAX_REASON + 1)] {
        assert!(check_reason(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn long_messages_are_cut_in_the_middle() {
    assert_eq!(bounded("short".into()), "short");
    let whole = "ä".repeat(MAX_MESSAGE / 2);
    assert_eq!(bounded(whole.clone()), whole);
    for filling in ["a", "ä", "€", "𝄞"] {
        let long = bounded(format!("begin{}end", filling.repeat(MAX_MESSAGE)));
        assert!(long.len() <= MAX_MESSAGE && long.len() > MAX_MESSAGE - 12, "{}", long.len());
        assert!(long.starts_with("begin") && long.ends_with("end"));
    }
}

#[test]
fn json_shows_names_alone() {
    let condition =
        Condition { r#type: types::SCHEDULED.into(), reason: reasons::BOUND.into(), ..legacy(1, 2) };
    let shown = crate::json::to_value(&condition, Default::default());
    assert_eq!(shown["type"], "Scheduled");
    assert_eq!(shown["reason"], "Bound");
    assert!(shown.as_object().unwrap().keys().all(|name| !name.starts_with("legacy")), "{shown}");
}
