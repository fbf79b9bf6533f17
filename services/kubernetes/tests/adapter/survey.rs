//! Surveys of clusters: in as many turns as it takes, with the same result.

use std::sync::Arc;
use std::time::Duration;

use krake_kubernetes::cluster::survey::{Survey, SurveyLimits};
use krake_kubernetes::object::{APPLICATION_LABEL, INSTALLATION_LABEL};
use serde_json::json;

use crate::api_server::ApiServer;
use crate::apply::config_map;

/// More than one turn of any test takes.
const LONG: Duration = Duration::from_secs(3600);

/// A server with so many objects: three pages of 1,001.
fn server(objects: usize) -> Arc<ApiServer> {
    let server = ApiServer::start();
    // All of its groups answer.
    server.mend();
    for index in 0..objects {
        let mut object = config_map(&format!("c-{index}"));
        object["metadata"]["labels"] = json!({INSTALLATION_LABEL: "inst", APPLICATION_LABEL: "app"});
        server.put("configmaps", object);
    }
    server
}

fn incomplete(survey: &Survey) -> Vec<&str> {
    survey.incomplete.iter().map(String::as_str).collect()
}

#[tokio::test]
async fn a_kind_whose_pages_expire_is_listed_again_and_its_objects_count_once() {
    let server = server(1001);
    server.expire_pages("configmaps", 3);
    // Room for exactly these: what was seen before a page expired takes none of it twice.
    let limits = SurveyLimits { objects: 1001, ..SurveyLimits::default() };
    let mut survey = Survey::within(limits);
    assert!(survey.go_on(&server.connection(), "inst", LONG).await.unwrap());
    assert_eq!((survey.objects.len(), incomplete(&survey)), (1001, vec![]));
}

#[tokio::test]
async fn a_kind_whose_pages_always_expire_is_incomplete_and_ends() {
    let server = server(1001);
    server.expire_pages("configmaps", usize::MAX);
    let mut survey = Survey::default();
    assert!(survey.go_on(&server.connection(), "inst", LONG).await.unwrap());
    assert_eq!((survey.objects.len(), incomplete(&survey)), (500, vec![""]), "absence says nothing there");
    let lists = server.requests().iter().filter(|request| request.ends_with("/configmaps")).count();
    assert_eq!(lists, 8, "from the beginning four times");
}

#[tokio::test]
async fn a_survey_keeps_no_more_objects_than_it_may() {
    let server = server(1001);
    for limits in [
        SurveyLimits { objects: 700, ..SurveyLimits::default() },
        SurveyLimits { of_kind: 700, ..SurveyLimits::default() },
    ] {
        let mut survey = Survey::within(limits);
        assert!(survey.go_on(&server.connection(), "inst", LONG).await.unwrap());
        assert!(survey.objects.len() <= 1000, "{limits:?}: {}", survey.objects.len());
        assert_eq!(incomplete(&survey), [""], "{limits:?}");
    }
}

#[tokio::test]
async fn a_survey_in_short_turns_finds_everything_once_and_asks_for_each_page_once() {
    let server = server(1001);
    let connection = server.connection();
    let mut whole = Survey::default();
    assert!(whole.go_on(&connection, "inst", LONG).await.unwrap(), "one turn is enough");
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
