//! Clusters that go, and handovers that fail.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_silent_cluster_is_left_when_its_grace_is_over_and_not_before() {
    let fixture = Fixture::start(|api| {
        api.put(cluster("a"));
        api.put(application("app"));
    })
    .await;
    fixture.until("app", is_bound_to("a")).await;
    fixture.api.put(cluster("b"));
    sleep(SECOND * 100).await;
    let silent = fixture.second();
    fixture.api.change("a", |cluster: &mut api::Cluster| {
        let conditions = &mut cluster.status.as_mut().unwrap().conditions;
        conditions[0] = says(types::REACHABLE, ConditionStatus::False, silent);
    });
    fixture.until("app", is_bound_to("b")).await;
    let moved = fixture.status("app").bindings[0].bound.unwrap().seconds;
    assert_eq!(moved - silent, 60);
}

#[tokio::test(start_paused = true)]
async fn deletion_overrides_migration_and_an_erased_cluster_counts_only_when_that_is_known() {
    let fixture = Fixture::start(|api| {
        api.put(cluster("a"));
        let mut pinned = application("app");
        let constraints = pinned.spec.as_mut().unwrap().constraints.get_or_insert_default();
        constraints.migration = Some(false);
        api.put(pinned);
        let mut lost = application("lost");
        let cluster = Some(ResourceRef { uid: "uid-nowhere".into(), ..Default::default() });
        lost.status.get_or_insert_default().bindings = vec![api::Binding { cluster, ..Default::default() }];
        api.put(lost);
    })
    .await;
    fixture.until("app", is_bound_to("a")).await;
    fixture.api.put(cluster("b"));
    sleep(SECOND * 100).await;
    assert_eq!(bound_to(&fixture.status("app")).as_deref(), Some("a"));
    assert_eq!(fixture.status("lost").history, [], "nobody knows what became of its cluster");
    fixture.api.change("a", |cluster: &mut api::Cluster| {
        cluster.metadata.as_mut().unwrap().deleted = Some(prost_types::Timestamp::default());
    });
    fixture.until("app", is_bound_to("b")).await;
    fixture.api.erase("b");
    fixture.until("app", |status| status.bindings.is_empty()).await;
    fixture.api.put(cluster("c"));
    fixture.until("app", is_bound_to("c")).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_handover_is_taken_back_and_not_repeated_for_a_while() {
    let copy = |cluster: &str, phase: api::Phase, second| api::Copy {
        cluster: Some(ResourceRef { uid: format!("uid-{cluster}"), ..Default::default() }),
        phase: phase.into(),
        observed_generation: 1,
        last_transition_time: Some(prost_types::Timestamp { seconds: second, nanos: 0 }),
        ..Default::default()
    };
    let mut fixture = Fixture::start(|api| {
        measured(api, "a");
        measured(api, "x");
        values(api, &[("a", 0.5), ("x", 0.1)]);
        api.put(application("app"));
    })
    .await;
    fixture.until("app", is_bound_to("a")).await;
    values(&fixture.api, &[("a", 0.5), ("x", 0.9)]);
    fixture.until("app", is_bound_to("x")).await;
    sleep(SECOND * 5).await;
    let failed = fixture.second();
    fixture.api.change("app", |app: &mut api::Application| {
        app.status.as_mut().unwrap().copies =
            vec![copy("a", api::Phase::Running, 0), copy("x", api::Phase::Failed, failed)];
    });
    fixture.until("app", is_bound_to("a")).await;
    // The adapter clears away what failed: only the history knows of it now, also after a restart.
    fixture.api.change("app", |app: &mut api::Application| {
        app.status.as_mut().unwrap().copies.truncate(1);
    });
    fixture.restart_after(SECOND * 10).await;
    fixture.until("app", is_bound_to("x")).await;
    let status = fixture.status("app");
    let again = status.bindings[0].bound.unwrap().seconds;
    assert_eq!(again - failed, 600);
    assert_eq!(status.history.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_first_attempt_that_failed_leads_to_the_next_candidate() {
    let fixture = Fixture::start(|api| {
        api.put(cluster("a"));
        api.put(application("app"));
    })
    .await;
    fixture.until("app", is_bound_to("a")).await;
    fixture.api.put(cluster("b"));
    fixture.api.change("app", |application: &mut api::Application| {
        let status = application.status.get_or_insert_default();
        status.copies = vec![api::Copy {
            cluster: status.bindings[0].cluster.clone(),
            phase: api::Phase::Failed.into(),
            observed_generation: 1,
            failure: api::FailureClass::OfCluster.into(),
            ..Default::default()
        }];
    });
    fixture.until("app", is_bound_to("b")).await;
    let reason = fixture.status("app").decision.unwrap().reason;
    assert!(reason.starts_with("the copy failed: ") && reason.ends_with("attempt 2"), "{reason}");
}
