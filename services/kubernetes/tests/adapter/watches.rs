//! Watches that are forbidden, and that nobody needs any more.

use axum::http::Method;

use crate::api_server::ApiServer;
use crate::apply::{config_map, identity};
use crate::cluster::{Adapter, CALM};

#[tokio::test]
async fn a_watch_ends_with_the_last_application_that_needs_it() {
    let server = ApiServer::start();
    let adapter = Adapter::start(CALM);
    let handle = adapter.add("c", &server);
    let applications = ["app-1", "app-2"].map(krake_kubernetes::object::ApplicationUid::from);
    let targets = handle.targets(&[config_map("m")], &identity("app-1")).await.unwrap();
    let lists = || {
        let of_kind =
            |request: &&String| request.starts_with(Method::GET.as_str()) && request.ends_with("/configmaps");
        server.requests().iter().filter(of_kind).count()
    };
    let known = |application| {
        let sights = handle.sights(&targets, application);
        !matches!(sights[0], krake_kubernetes::object::observation::Sight::Pending)
    };
    for application in &applications {
        adapter.until("listed", || known(application)).await;
    }
    assert_eq!(lists(), 1);
    adapter.clusters.release(&applications[0], None);
    assert!(known(&applications[1]), "another application still needs it");
    adapter.clusters.release(&applications[1], Some(&"c".into()));
    assert!(!known(&applications[1]), "a watch that is needed anew begins with nothing known");
    adapter.until("listed anew", || known(&applications[1])).await;
    assert_eq!(lists(), 2);
    adapter.clusters.shutdown().await;
}
