//! Which request gets which fault.

use rstest::rstest;
use serde_json::json;

use super::*;

const READ: Asked<'static> = Asked { verb: RuleVerb::Get, kind: Some(("", "nodes")) };
const WRITE: Asked<'static> = Asked { verb: RuleVerb::Create, kind: Some(("", "nodes")) };

fn faults(rules: serde_json::Value) -> Faults {
    serde_json::from_value(json!({"rules": rules})).unwrap()
}

#[test]
fn counted_faults_are_used_up() {
    let mut faults = Faults { conflicts: 1, too_many_requests: 1, ..Faults::default() };
    assert_eq!(faults.judge(&WRITE), Verdict::TooManyRequests);
    assert_eq!(faults.judge(&READ), Verdict::Pass, "reads do not conflict");
    assert_eq!(faults.judge(&WRITE), Verdict::Conflict);
    assert_eq!(faults.judge(&WRITE), Verdict::Pass);
    assert_eq!(faults, Faults::default());
}

#[test]
fn json_may_leave_everything_out_and_says_what_it_does_not_know() {
    assert_eq!(serde_json::from_str::<Faults>("{}").unwrap(), Faults::default());
    let down: Faults = serde_json::from_str(r#"{"down": "hang", "delay_ms": 5}"#).unwrap();
    assert_eq!((down.down, down.delay()), (Some(Down::Hang), Duration::from_millis(5)));
    for (wrong, names) in [
        (json!({"dwon": "hang"}), "dwon"),
        (json!({"rules": [{"verb": ["get"], "fault": "cut"}]}), "verb"),
        (json!({"rules": [{"verbs": ["fetch"], "fault": "cut"}]}), "fetch"),
        (json!({"rules": [{"fault": {"code": 418}}]}), "418"),
        (json!({"rules": [{"fault": {"slow": {"bytes_per_second": 0}}}]}), "0"),
        (json!({"rules": [{"verbs": ["get"]}]}), "fault"),
    ] {
        let error = serde_json::from_value::<Faults>(wrong).unwrap_err().to_string();
        assert!(error.contains(names), "{error}");
    }
}

#[rstest]
#[case::everything(json!({}), &[("get", "nodes"), ("create", "deployments"), ("get", "discovery")], &[])]
#[case::verbs(json!({"verbs": ["get", "list"]}), &[("get", "nodes"), ("list", "nodes"), ("get", "discovery")],
    &[("watch", "nodes"), ("create", "nodes"), ("delete", "nodes")])]
#[case::patches_are_applies_too(json!({"verbs": ["patch"]}), &[("patch", "nodes"), ("apply", "nodes")],
    &[("update", "nodes")])]
#[case::applies_alone(json!({"verbs": ["apply"]}), &[("apply", "nodes")], &[("patch", "nodes")])]
#[case::kinds(json!({"kinds": ["deployments"]}), &[("get", "deployments")], &[("get", "nodes"), ("get", "discovery")])]
#[case::of_a_group(json!({"kinds": ["deployments.apps"]}), &[("get", "deployments")], &[("get", "nodes")])]
#[case::of_another_group(json!({"kinds": ["deployments.extensions"]}), &[], &[("get", "deployments")])]
#[case::discovery(json!({"kinds": ["discovery"]}), &[("get", "discovery")], &[("get", "nodes")])]
#[case::both(json!({"verbs": ["get"], "kinds": ["nodes"]}), &[("get", "nodes")],
    &[("list", "nodes"), ("get", "deployments")])]
#[case::used_up(json!({"times": 0}), &[], &[("get", "nodes")])]
fn a_rule_is_for_its_verbs_and_kinds(
    #[case] rule: serde_json::Value,
    #[case] meets: &[(&str, &str)],
    #[case] spares: &[(&str, &str)],
) {
    let mut rule = rule;
    rule["fault"] = json!("cut");
    let mut faults = faults(json!([rule]));
    for (wanted, requests) in [(Verdict::Ruled(Fault::Cut), meets), (Verdict::Pass, spares)] {
        for (verb, kind) in requests {
            let verb = serde_json::from_value(json!(verb)).unwrap();
            let group = if *kind == "deployments" { "apps" } else { "" };
            let kind = (*kind != "discovery").then_some((group, *kind));
            let asked = Asked { verb, kind };
            assert_eq!(faults.judge(&asked), wanted, "{asked:?}");
        }
    }
}

#[test]
fn the_first_rule_counts_until_it_is_used_up() {
    let mut faults = faults(json!([{"fault": {"code": 401}, "times": 2}, {"fault": {"code": 500}}]));
    let refused = |refusal| Verdict::Ruled(Fault::Code(refusal));
    for _ in 0..2 {
        assert_eq!(faults.judge(&READ), refused(Refusal::Unauthorized));
    }
    assert_eq!(faults.judge(&READ), refused(Refusal::Internal));
    assert_eq!(serde_json::to_value(&faults.rules[0]).unwrap()["times"], 0, "what is left is shown");
    assert_eq!(serde_json::to_value(&faults.rules[1]).unwrap()["fault"], json!({"code": 500}));
}
