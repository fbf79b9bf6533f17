//! Surveys of clusters: in as many turns as it takes, with the same result.

use std::time::Duration;

use krake_kubernetes::cluster::survey::Survey;
use krake_kubernetes::object::{APPLICATION_LABEL, INSTALLATION_LABEL};
use serde_json::json;

use crate::apply::config_map;
use crate::fake_api_server::FakeApiServer;

#[tokio::test]
async fn a_survey_in_short_turns_finds_everything_once_and_asks_for_each_page_once() {
    let server = FakeApiServer::start();
    for index in 0..1001 {
        let mut object = config_map(&format!("c-{index}"));
        object["metadata"]["labels"] = json!({INSTALLATION_LABEL: "inst", APPLICATION_LABEL: "app"});
        server.put("configmaps", object);
    }
    let connection = server.connection();
    let mut whole = Survey::default();
    assert!(whole.go_on(&connection, "inst", Duration::from_secs(3600)).await.unwrap(), "one turn is enough");
    let requests = server.requests().len();

    let mut survey = Survey::default();
    let mut turns = 1;
    while !survey.go_on(&connection, "inst", Duration::ZERO).await.unwrap() {
        turns += 1;
    }
    assert!(turns > 3, "three pages of ConfigMaps and the other kinds took {turns} turns");
    assert_eq!(server.requests().len(), 2 * requests);
    let mut names: Vec<_> = survey.objects.iter().map(|object| object.key.name.clone()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!((names.len(), survey.objects.len(), whole.objects.len()), (1001, 1001, 1001));
    assert_eq!(survey.incomplete, whole.incomplete);
}
