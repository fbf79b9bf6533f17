//! Conflicts, floods and restlessness.

use krake_client::ClusterUid;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_conflict_leads_to_another_decision() {
    let fixture = Fixture::start(|api| {
        api.put(cluster("a"));
        api.behave(Behaviour { conflicts: 2, ..Behaviour::default() });
        api.put(application("app"));
    })
    .await;
    fixture.until("app", is_bound_to("a")).await;
    let seconds = seconds(&fixture.api.writes());
    assert!(seconds.len() == 3 && seconds[2] <= 2, "though nothing has changed: {seconds:?}");
    sleep(SECOND * 1000).await;
    assert_eq!(fixture.api.writes(), []);
}

#[tokio::test(start_paused = true)]
async fn a_binding_that_was_decided_on_an_old_spec_is_decided_again() {
    let lag = SECOND;
    let fixture = Fixture::start(|api| {
        api.put(cluster("a"));
        let mut other = cluster("b");
        other.metadata.as_mut().unwrap().labels.insert("tier".into(), "edge".into());
        api.put(other);
        api.behave(Behaviour { watch_lags: lag, ..Behaviour::default() });
    })
    .await;
    sleep(SECOND).await;
    fixture.api.put(application("app"));
    sleep(lag / 2).await;
    fixture.api.change("app", |app: &mut api::Application| {
        app.metadata.as_mut().unwrap().generation = 2;
        let constraints = app.spec.as_mut().unwrap().constraints.get_or_insert_default();
        constraints.cluster.get_or_insert_default().labels = vec!["tier is edge".into()];
    });
    fixture.until("app", is_bound_to("b")).await;
    let status = fixture.status("app");
    assert_eq!((status.scheduled_generation, status.history.len()), (2, 1), "never on the wrong one");
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_placed_with_all_workers_however_late_the_watch_tells() {
    let count = 1_600;
    let fixture = Fixture::start(|api| {
        api.put(cluster("a"));
        let (write_takes, watch_lags) = (Duration::from_millis(50), SECOND * 2);
        api.behave(Behaviour { conflicts: 0, write_takes, watch_lags });
        for index in 0..count {
            api.put(application(&format!("app-{index}")));
        }
    })
    .await;
    let begun = Instant::now();
    while fixture.api.all::<api::Application>().iter().any(|app| app.status.is_none()) {
        sleep(Duration::from_millis(200)).await;
    }
    // 16 at a time take 50 ms: 320 in a second.
    assert!(begun.elapsed() < SECOND * 6, "{:?}", begun.elapsed());
    assert_eq!(fixture.api.peak(), 16);
    sleep(SECOND * 30).await;
    assert_eq!(fixture.api.writes().len(), count, "each is written once");
}

#[tokio::test(start_paused = true)]
async fn changes_of_the_world_are_gathered() {
    let fixture = Fixture::start(|api| drop(api.put(cluster("a")))).await;
    sleep(SECOND * 10).await;
    let before = fixture.asked.load(Ordering::Relaxed);
    for index in 0..1000 {
        fixture.api.change("a", |cluster: &mut api::Cluster| {
            cluster.metadata.as_mut().unwrap().labels.insert("n".into(), index.to_string());
        });
        sleep(Duration::from_millis(1)).await;
    }
    sleep(SECOND).await;
    let looks = fixture.asked.load(Ordering::Relaxed) - before;
    assert!((2..=8).contains(&looks), "{looks} looks at all applications");
}

#[tokio::test]
async fn erased_clusters_are_forgotten_when_nothing_is_bound_to_them() {
    let (clock, _) = clock();
    let providers = PrometheusClient::new(AddressPolicy::default()).unwrap();
    let (inputs, _feeds) = mirrors(&FakeApi::new(clock).client(), providers, SECOND, Queue::new());
    inputs.rebuild();
    let [a, b, c] = ["a", "b", "c"].map(ClusterUid::from);
    for uid in [&a, &b] {
        inputs.erase(uid);
    }
    let before = inputs.rebuild();
    inputs.erase(&c);
    inputs.forget_erased(before.world(), &[&b].into());
    let after = inputs.rebuild();
    let known: Vec<_> = [&a, &b, &c].into_iter().filter(|uid| after.world().is_erased(uid)).collect();
    assert_eq!(known, [&b, &c], "what came after the look was not looked for");
    for number in 0..20_000 {
        inputs.erase(&format!("more-{number}").into());
    }
    let world = inputs.rebuild();
    let known =
        (0..20_000).filter(|number| world.world().is_erased(&format!("more-{number}").into())).count();
    assert!((1..=4096).contains(&known), "{known}: without anybody who looks there is a limit");
}
