//! The laws of constraints: every spelling, every refusal, and that printing loses nothing.

use proptest::prelude::*;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn every_spelling_of_a_label_constraint() {
    for (canonical, spellings) in [
        ("k = v", &["k = v", "k == v", "k is v", "k=v", "k==v", "k= v", "k =v", "  k  is  v  "][..]),
        ("k != v", &["k != v", "k!=v", "k is not v", "k isnot v"]),
        (
            "k in (a, b)",
            &[
                "k in (a, b)",
                "k in (a,b)",
                "k in(a, b)",
                "k in ( a , b , )",
                "k in (a,b,,)",
                "k in (a,b, , )",
            ],
        ),
        ("k in (DE)", &["k in (DE)", "k in (DE,)", "k in (DE,,)", "k in(DE)"]),
        ("k not in (a, b)", &["k not in (a, b)", "k notin (a, b)", "k notin(a,b)", "k  not  in(a,b,)"]),
        // A keyword in another's place is an ordinary word.
        ("k = not", &["k is not", "k = not"]),
        ("k != not", &["k is not not"]),
        ("k = in", &["k is in"]),
        ("is = is", &["is is is"]),
        ("in in (in)", &["in in (in)"]),
        ("not not in (not)", &["not not in (not)", "not notin (not)"]),
        ("example.com/zone-1 = a.b-c_d", &["example.com/zone-1 is a.b-c_d"]),
    ] {
        for spelling in spellings {
            let parsed =
                LabelConstraint::parse(spelling).unwrap_or_else(|error| panic!("{spelling:?}: {error}"));
            assert_eq!(parsed.to_string(), canonical, "{spelling:?}");
        }
    }
}

#[test]
fn every_spelling_of_a_metric_constraint() {
    for (canonical, spellings) in [
        (
            "m = 5",
            &["m = 5", "m == 5", "m is 5", "m=5", "m==5", "m = +5", "m = 5.", "m = 5.0", "m = 0.5e1"][..],
        ),
        ("m != 5", &["m != 5", "m!=5", "m is not 5", "m isnot 5"]),
        ("m > 5", &["m > 5", "m>5", "m gt 5", "m greater than 5", "m is greater than 5", "m is gt 5"]),
        (
            "m >= 5",
            &[
                "m >= 5",
                "m=>5",
                "m gte 5",
                "m greater than or equal 5",
                "m greater than or equal to 5",
                "m is greater than or equal to 5",
            ],
        ),
        ("m < 5", &["m < 5", "m<5", "m lt 5", "m lesser than 5", "m less than 5", "m is less than 5"]),
        (
            "m <= 5",
            &[
                "m <= 5",
                "m =< 5",
                "m=<5",
                "m lte 5",
                "m lesser than or equal 5",
                "m less than or equal 5",
                "m less than or equal to 5",
                "m is lesser than or equal to 5",
            ],
        ),
        ("m > -1.5", &["m > -1.5", "m>-1.5", "m gt -1.5", "m>-15e-1"]),
        ("m = 0", &["m=-0", "m is 0.0"]),
        ("a:b.c-1 < 0.5", &["a:b.c-1 < .5"]),
        ("greater > 1", &["greater greater than 1", "greater>1"]),
    ] {
        for spelling in spellings {
            let parsed =
                MetricConstraint::parse(spelling).unwrap_or_else(|error| panic!("{spelling:?}: {error}"));
            assert_eq!(parsed.to_string(), canonical, "{spelling:?}");
        }
    }
}

#[test]
fn label_constraint_errors_name_the_place() {
    for (text, message) in [
        ("", "unexpected end at column 1: expected a label key"),
        ("   ", "unexpected end at column 4: expected a label key"),
        ("location", "unexpected end at column 9: expected an operator (=, ==, is, !=, is not, in, not in)"),
        ("location is", "unexpected end at column 12: expected a value"),
        ("location is )", "unexpected \")\" at column 13: expected a value"),
        ("location in ()", "unexpected \")\" at column 14: expected a value"),
        ("location in (,)", "unexpected \",\" at column 14: expected a value"),
        ("location in (DE", "unexpected end at column 16: expected \",\" or \")\""),
        ("location in (DE FR)", "unexpected \"FR\" at column 17: expected \",\" or \")\""),
        ("location in (DE,,FR)", "unexpected \"FR\" at column 18: expected \")\""),
        ("location in DE", "unexpected \"DE\" at column 13: expected \"(\""),
        ("location not DE", "unexpected \"DE\" at column 14: expected \"in\""),
        ("location is DE FR", "unexpected \"FR\" at column 16: expected the end"),
        ("location in (DE))", "unexpected \")\" at column 17: expected the end"),
        (
            "location === DE",
            "unexpected \"===\" at column 10: expected an operator (=, ==, is, !=, is not, in, not in)",
        ),
        (
            "location Is DE",
            "unexpected \"Is\" at column 10: expected an operator (=, ==, is, !=, is not, in, not in)",
        ),
        (
            "location\tis DE",
            "unexpected \"location\\tis\" at column 1: expected a label key: '\\t' (its character 9) is not allowed: use letters (a-z, A-Z), digits and \"-\", \"_\", \".\"",
        ),
        (
            "größe is DE-",
            "unexpected \"größe\" at column 1: expected a label key: 'ö' (its character 3) is not allowed: use letters (a-z, A-Z), digits and \"-\", \"_\", \".\"",
        ),
        (
            "a is DE-",
            "unexpected \"DE-\" at column 6: expected a value: must start and end with a letter (a-z, A-Z), a digit or \"_\", not with '-'",
        ),
    ] {
        let error = LabelConstraint::parse(text).unwrap_err();
        assert_eq!(error.to_string(), message, "{text:?}");
    }
}

#[test]
fn metric_constraint_errors_name_the_place() {
    for (text, message) in [
        (
            "load",
            "unexpected end at column 5: expected an operator (=, is, !=, is not, >, gt, greater than, >=, gte, <, lt, less than, <=, lte, …)",
        ),
        ("load >", "unexpected end at column 7: expected a number"),
        ("load > abc", "unexpected \"abc\" at column 8: expected a number: not a decimal number"),
        ("load > nan", "unexpected \"nan\" at column 8: expected a number: not a decimal number"),
        ("load > -inf", "unexpected \"-inf\" at column 8: expected a number: not a decimal number"),
        ("load > 1e999", "unexpected \"1e999\" at column 8: expected a number: out of range"),
        ("load greater 5", "unexpected \"5\" at column 14: expected \"than\""),
        ("load greater than or 5", "unexpected \"5\" at column 22: expected \"equal\""),
        ("load is greater 5", "unexpected \"5\" at column 17: expected \"than\""),
        ("load = >5", "unexpected \">\" at column 8: expected a number"),
        ("load > 5 6", "unexpected \"6\" at column 10: expected the end"),
        (
            "load in (5)",
            "unexpected \"in\" at column 6: expected an operator (=, is, !=, is not, >, gt, greater than, >=, gte, <, lt, less than, <=, lte, …)",
        ),
        (
            "a/b > 5",
            "unexpected \"a/b\" at column 1: expected the name of a metric: '/' (its character 2) is not allowed: use letters (a-z, A-Z), digits and \"-\", \"_\", \".\", \":\"",
        ),
    ] {
        let error = MetricConstraint::parse(text).unwrap_err();
        assert_eq!(error.to_string(), message, "{text:?}");
    }
}

#[test]
fn an_error_repeats_only_the_start_of_a_long_word() {
    let error = LabelConstraint::parse(&"x".repeat(100_000)).unwrap_err();
    assert_eq!(error.found.as_deref(), Some("x".repeat(40).as_str()));
}

#[test]
fn labels_match_by_operator_and_a_missing_label_never_matches() {
    let germany = labels(&[("location", "DE")]);
    let nowhere = labels(&[("other", "DE")]);
    for (text, in_germany) in [
        ("location is DE", true),
        ("location is FR", false),
        ("location != DE", false),
        ("location != FR", true),
        ("location in (FR, DE)", true),
        ("location in (FR)", false),
        ("location not in (FR)", true),
        ("location not in (FR, DE)", false),
    ] {
        let constraint = LabelConstraint::parse(text).unwrap();
        assert_eq!(constraint.matches(&germany), in_germany, "{text}");
        assert!(!constraint.matches(&nowhere), "{text} on a missing label");
    }
}

#[test]
fn metrics_match_by_operator_and_a_missing_value_never_matches() {
    for (text, below, at, above) in [
        ("m = -1", false, true, false),
        ("m != -1", true, false, true),
        ("m > -1", false, false, true),
        ("m >= -1", false, true, true),
        ("m < -1", true, false, false),
        ("m <= -1", true, true, false),
    ] {
        let constraint = MetricConstraint::parse(text).unwrap();
        let found = [-1.5, -1.0, -0.5].map(|value| constraint.matches(Some(value)));
        assert_eq!(found, [below, at, above], "{text}");
        assert!(!constraint.matches(None), "{text} without a value");
        assert!(!constraint.matches(Some(f64::NAN)), "{text} on NaN");
    }
}

fn name() -> impl Strategy<Value = String> {
    let keywords = ["is", "not", "in", "isnot", "notin", "gt", "greater", "than", "or", "to", "less"];
    prop_oneof![
        3 => "[A-Za-z0-9_]([A-Za-z0-9_.-]{0,20}[A-Za-z0-9_])?",
        1 => proptest::sample::select(keywords.map(str::to_owned).to_vec()),
    ]
}

fn label_constraint() -> impl Strategy<Value = LabelConstraint> {
    let key = prop_oneof![name(), (name(), name()).prop_map(|(prefix, name)| format!("{prefix}/{name}"))];
    let test = prop_oneof![
        name().prop_map(LabelTest::Equal),
        name().prop_map(LabelTest::NotEqual),
        prop::collection::vec(name(), 1..5).prop_map(LabelTest::In),
        prop::collection::vec(name(), 1..5).prop_map(LabelTest::NotIn),
    ];
    (key, test).prop_map(|(key, test)| LabelConstraint { key, test })
}

fn metric_constraint() -> impl Strategy<Value = MetricConstraint> {
    let comparison = proptest::sample::select(vec![
        Comparison::Equal,
        Comparison::NotEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
    ]);
    let bound = any::<f64>().prop_filter_map("finite", Bound::new);
    (name(), comparison, bound).prop_map(|(metric, comparison, bound)| MetricConstraint {
        metric,
        comparison,
        bound,
    })
}

proptest! {
    #[test]
    fn printing_a_label_constraint_loses_nothing(constraint in label_constraint()) {
        prop_assert_eq!(LabelConstraint::parse(&constraint.to_string()), Ok(constraint));
    }

    #[test]
    fn printing_a_metric_constraint_loses_nothing(constraint in metric_constraint()) {
        prop_assert_eq!(MetricConstraint::parse(&constraint.to_string()), Ok(constraint));
    }

    #[test]
    fn any_text_is_a_constraint_or_an_error_within_it(
        text in prop_oneof![".*", "[a-c=!<>(), \tö0-9.-]{0,20}", "(is|not|in|greater|than|or|to|a|5| |,|\\(|\\)){0,12}"]
    ) {
        let end = text.chars().count() + 1;
        for error in [LabelConstraint::parse(&text).err(), MetricConstraint::parse(&text).err()].into_iter().flatten() {
            prop_assert!((1..=end).contains(&error.position), "{}", error);
            prop_assert_eq!(error.found.is_none(), error.position == end, "{}", error);
        }
    }
}
