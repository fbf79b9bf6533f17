//! Applications without a cluster: attempts, their end, and what begins them anew.

use super::*;

#[tokio::test(start_paused = true)]
async fn attempts_come_due_are_counted_and_end() {
    let fixture = Fixture::start(|api| drop(api.put(limited("app", 2)))).await;
    let begun = 0;
    fixture.until("app", |status| status.retries == Some(0) && status.scheduled_retry.is_none()).await;
    // At once, after 3 s, and after 6 s more.
    assert_eq!(seconds(&fixture.api.writes()), [begun, begun + 3, begun + 9]);
    sleep(SECOND * 1000).await;
    assert_eq!(fixture.api.writes(), [], "it is left alone");
    fixture.api.put(cluster("a"));
    sleep(SECOND * 1000).await;
    assert_eq!(fixture.api.writes(), [], "even if a cluster comes");
    fixture.api.change("app", |app: &mut api::Application| app.metadata.as_mut().unwrap().generation = 2);
    fixture.until("app", is_bound_to("a")).await;
    fixture.until("app", |status| status.retries.is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_spec_gets_all_attempts_anew() {
    let fixture = Fixture::start(|api| drop(api.put(limited("app", 1)))).await;
    fixture.until("app", |status| status.retries == Some(0) && status.scheduled_retry.is_none()).await;
    sleep(SECOND * 50).await;
    fixture.api.writes();
    let changed = fixture.second();
    fixture.api.change("app", |app: &mut api::Application| {
        let metadata = app.metadata.as_mut().unwrap();
        metadata.generation = 2;
        metadata.modified = Some(prost_types::Timestamp { seconds: changed, nanos: 0 });
    });
    sleep(SECOND * 60).await;
    assert_eq!(seconds(&fixture.api.writes()), [changed, changed + 3]);
    assert_eq!(fixture.status("app").retries, Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_restart_loses_no_attempt_and_gains_none() {
    let mut fixture = Fixture::start(|api| drop(api.put(limited("app", 3)))).await;
    fixture.until("app", |status| status.retries == Some(2)).await;
    fixture.restart_after(SECOND).await;
    fixture.until("app", |status| status.retries == Some(1)).await;
    assert_eq!(seconds(&fixture.api.writes()), [0, 3]);
    fixture.restart_after(SECOND * 20).await;
    fixture.until("app", |status| status.retries == Some(0)).await;
    assert_eq!(
        seconds(&fixture.api.writes()),
        [fixture.second()],
        "the one that came due meanwhile, at once"
    );
    fixture.until("app", |status| status.scheduled_retry.is_none()).await;
    assert_eq!(fixture.api.writes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_cluster_is_taken_at_once_whatever_the_timer_says() {
    let fixture = Fixture::start(|api| {
        let mut patient = limited("app", 5);
        patient.spec.as_mut().unwrap().backoff_delay = Some(3600);
        api.put(patient);
        api.put(application("endless"));
    })
    .await;
    fixture.until("app", |status| status.scheduled_retry.is_some()).await;
    fixture.until("endless", |status| status.retries == Some(-1)).await;
    fixture.api.writes();
    sleep(SECOND * 600).await;
    assert_eq!(fixture.api.writes(), [], "waiting writes nothing");
    fixture.api.put(cluster("a"));
    let begun = Instant::now();
    for name in ["app", "endless"] {
        fixture.until(name, is_bound_to("a")).await;
        fixture.until(name, |status| status.retries.is_none() && status.scheduled_retry.is_none()).await;
    }
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
}
