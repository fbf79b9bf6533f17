//! When `--wait` is satisfied, and what it says meanwhile.

use krake_proto::json::{Unknown, from_value};
use serde_json::{Value, json};

use super::*;

fn application(state: &str, scheduled: i64, observed: i64, phase: &str) -> Application {
    let body = json!({
        "metadata": {"name": "a", "namespace": "n", "generation": 2},
        "status": {
            "state": state, "scheduled_generation": scheduled,
            "bindings": [{"cluster": {"name": "c", "uid": "u"}}],
            "copies": [{"cluster": {"name": "c", "uid": "u"}, "phase": phase, "observed_generation": observed}]},
    });
    from_value(&body, Unknown::Refuse).unwrap()
}

#[test]
fn running_means_the_present_generation_runs_everywhere() {
    let verdict = |application: Application| application.verdict(Goal::Working);
    assert_eq!(verdict(application("RUNNING", 2, 2, "RUNNING")), Verdict::Reached);
    assert_eq!(verdict(application("RUNNING", 1, 1, "RUNNING")), Verdict::OnTheWay, "the old generation");
    assert_eq!(verdict(application("RUNNING", 2, 1, "RUNNING")), Verdict::OnTheWay, "not applied yet");
    assert_eq!(verdict(application("CREATING", 2, 2, "APPLYING")), Verdict::OnTheWay);
    assert_eq!(verdict(application("FAILED", 2, 2, "FAILED")), Verdict::Hopeless);
    assert_eq!(verdict(Application::default()), Verdict::OnTheWay);
}

#[test]
fn earlier_goals_are_reached_earlier() {
    assert_eq!(Application::default().verdict(Goal::Stored), Verdict::Reached);
    assert_eq!(application("CREATING", 2, 0, "INTENDED").verdict(Goal::Placed), Verdict::Reached);
    assert_eq!(application("RUNNING", 1, 1, "RUNNING").verdict(Goal::Placed), Verdict::OnTheWay);
}

#[test]
fn who_waits_for_a_deleted_object_waits_in_vain() {
    let mut deleted = application("RUNNING", 2, 2, "RUNNING");
    deleted.metadata_mut().deleted = Some(prost_types::Timestamp::default());
    assert_eq!(deleted.verdict(Goal::Working), Verdict::Hopeless);
    assert_eq!(deleted.verdict(Goal::Deleting), Verdict::Reached);
    assert_eq!(deleted.verdict(Goal::Deleted), Verdict::OnTheWay, "it is still there");
}

#[test]
fn the_situation_tells_state_and_reason() {
    let situation = |status: Value| {
        from_value::<Application>(&json!({ "status": status }), Unknown::Refuse).unwrap().situation()
    };
    assert_eq!(
        situation(json!({"state": "PENDING",
            "reason": {"code": "NO_SUITABLE_RESOURCE", "message": "no cluster satisfies location is XX"}})),
        "PENDING (NO_SUITABLE_RESOURCE: no cluster satisfies location is XX)"
    );
    assert_eq!(
        situation(json!({"state": "CREATING", "bindings": [{"cluster": {"name": "c"}}], "copies": [{
            "conditions": [
                {"type": "Applied", "status": "TRUE"},
                {"type": "Available", "status": "FALSE", "reason": "Progressing", "message": "0 of 1 pods"}]}]})),
        "CREATING on c (not Available: Progressing: 0 of 1 pods)"
    );
    assert_eq!(application("RUNNING", 2, 2, "RUNNING").situation(), "RUNNING on c");
}
