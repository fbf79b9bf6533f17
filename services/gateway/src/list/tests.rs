//! Lists that their callers do not read hold bounded memory.

use std::time::Duration;

use axum::body::HttpBody;
use http_body_util::BodyExt;
use krake_proto::envelope::{ListRequest, ListResponse};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::*;
use crate::fake_state::{FakeState, metric};

const METRICS: &str = "/core/namespaces/demo/metrics";
const PAGES: usize = 3;
/// Size of the object on each page, in bytes.
const OBJECT: usize = 1 << 20;

/// Answers the next request for a page.
async fn answer_page(state: &mut FakeState) {
    let call = state.call("ListMetrics").await;
    let page: usize = call.request::<ListRequest>().page_token.parse().unwrap_or(1);
    let next = if page < PAGES { (page + 1).to_string() } else { String::new() };
    let items = vec![metric(&"x".repeat(OBJECT), 1).encode_to_vec().into()];
    call.answer(&ListResponse { items, next_page_token: next, resource_version: 1, ..Default::default() });
}

/// Reads an answer as a connection does, which keeps no part of it.
async fn read_to_end(response: Response) -> Value {
    let (mut body, mut text) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        text.extend_from_slice(frame.unwrap().data_ref().unwrap());
    }
    serde_json::from_slice(&text).unwrap()
}

/// Answers requests for pages until `done`.
async fn until<T>(state: &mut FakeState, mut done: JoinHandle<T>) -> T {
    loop {
        tokio::select! {
            done = &mut done => return done.unwrap(),
            () = answer_page(state) => {}
        }
    }
}

/// The number of objects of a list that is read to its end.
async fn read_whole(state: &mut FakeState, budget: &AnswerBudget) -> usize {
    let list = state.get_within(budget, METRICS);
    let list = until(state, tokio::spawn(async move { read_to_end(list.await.unwrap()).await })).await;
    list["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn unread_lists_of_a_peer_hold_bounded_memory_and_hold_up_no_other_peer() {
    const LIMIT: usize = 4 * PAGE_ROOM;
    let mut state = FakeState::start().await;
    let budget = AnswerBudget::new(LIMIT, Duration::ZERO);
    let mut unread = Vec::new();
    let refused = loop {
        let list = state.get_within(&budget, METRICS);
        let answer = until(&mut state, list).await;
        assert!(budget.held() <= LIMIT, "{}", budget.held());
        if answer.status() != 200 {
            break answer;
        }
        unread.push(answer);
        assert!(unread.len() <= LIMIT / OBJECT, "they are counted");
    };
    assert_eq!(refused.status(), 429);
    let problem = read_to_end(refused).await;
    assert!(problem["detail"].as_str().unwrap().contains("read or cancel some first"), "{problem}");
    let other = AnswerBudget::new(LIMIT, Duration::ZERO);
    assert_eq!(read_whole(&mut state, &other).await, PAGES);
    drop(unread);
    while budget.held() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_list_that_has_room_for_one_page_at_a_time_is_whole() {
    let mut state = FakeState::start().await;
    let budget = AnswerBudget::new(PAGE_ROOM, Duration::from_secs(60));
    assert_eq!(read_whole(&mut state, &budget).await, PAGES);
    assert_eq!(budget.held(), 0);
}

#[tokio::test]
async fn a_list_of_one_page_has_a_known_length_and_counts_once() {
    let mut state = FakeState::start().await;
    let budget = AnswerBudget::new(PAGE_ROOM, Duration::ZERO);
    let list = state.get_within(&budget, METRICS);
    let items = vec![metric(&"x".repeat(OBJECT), 1).encode_to_vec().into()];
    state.call("ListMetrics").await.answer(&ListResponse { items, ..Default::default() });
    let list = list.await.unwrap();
    let length = list.body().size_hint().exact().unwrap();
    assert!((length..2 * length).contains(&(budget.held() as u64)), "{length} {}", budget.held());
    drop(list);
    assert_eq!(budget.held(), 0);
}

#[tokio::test]
async fn a_large_object_that_is_not_read_counts() {
    let mut state = FakeState::start().await;
    let budget = AnswerBudget::new(3 * OBJECT, Duration::ZERO);
    let mut read = async || {
        let read = state.get_within(&budget, &format!("{METRICS}/heat"));
        state.call("GetMetric").await.answer(&metric(&"x".repeat(OBJECT), 1));
        read.await.unwrap()
    };
    // The name is the uid too.
    let first = read().await;
    assert_eq!((first.status().as_u16(), read().await.status().as_u16()), (200, 429));
    drop(first);
    assert_eq!(read().await.status(), 200);
}
