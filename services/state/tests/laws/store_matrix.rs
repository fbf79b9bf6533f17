//! The laws of the store, each run against every backend.

use crate::support::{ETCD_3_5, Etcd, have_etcd, have_etcd_3_5};

/// One test for each law and backend. `alone` laws disturb the whole store and get one of their own.
macro_rules! laws {
    (shared: $($law:ident),* ; alone: $($alone:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $law() { crate::store::$law(crate::support::memory()).await })*
            $(#[tokio::test] async fn $alone() { crate::store::$alone(crate::support::memory()).await })*
        }
        mod sqlite {
            $(#[tokio::test] async fn $law() { crate::store::$law(crate::support::sqlite().await).await })*
            $(#[tokio::test] async fn $alone() { crate::store::$alone(crate::support::sqlite().await).await })*
        }
        mod etcd {
            $(#[tokio::test] async fn $law() {
                if super::have_etcd() {
                    crate::store::$law(crate::support::shared_etcd().await).await
                }
            })*
            $(#[tokio::test] async fn $alone() {
                if super::have_etcd() {
                    let server = super::Etcd::start().await;
                    crate::store::$alone(server.store("/alone/").await).await
                }
            })*
        }
        mod etcd_3_5 {
            $(#[tokio::test] async fn $law() {
                if super::have_etcd_3_5() {
                    crate::store::$law(crate::support::shared_etcd_3_5().await).await
                }
            })*
            $(#[tokio::test] async fn $alone() {
                if super::have_etcd_3_5() {
                    let server = super::Etcd::start_release(super::ETCD_3_5).await;
                    crate::store::$alone(server.store("/alone/").await).await
                }
            })*
        }
    };
}

laws! {
    shared:
        revisions_rise_strictly_and_are_those_of_the_entries,
        a_refused_create_tells_what_is_there,
        a_stale_update_conflicts,
        guards_on_existence_and_creation_hold,
        a_transaction_happens_whole_or_not_at_all,
        malformed_transactions_are_refused,
        a_recreated_key_is_a_new_one,
        deleting_nothing_makes_no_revision,
        lists_are_ordered_and_end_at_the_prefix,
        pages_show_one_revision,
        a_list_in_the_future_fails,
        a_watch_tells_exactly_the_later_batches,
        a_watch_waits_for_what_comes,
        a_watch_resumes_without_gap_or_duplicate,
        a_watch_ahead_of_the_store_waits,
        reports_of_progress_overtake_no_change,
        keys_aside_are_seen_by_their_own_watches_alone,
        keys_are_listed_without_values,
        one_writer_wins_each_version,
        concurrent_commits_are_answered_one_by_one,
        concurrent_updates_of_one_key_each_get_a_later_revision,
        a_guard_sees_no_write_that_is_made_at_the_same_time,
        callers_that_go_away_disturb_nobody,
        wide_commits_at_the_same_time_pass,
        values_from_empty_to_large_are_kept,
        transactions_up_to_the_limits_pass,
        a_large_revision_arrives_whole,
        a_slow_watch_loses_nothing,
        a_place_has_one_holder_who_keeps_its_fence,
        of_many_bids_at_once_one_wins,
        a_place_goes_when_nobody_bids_for_a_ttl,
        signs_of_life_keep_a_place_beyond_its_ttl,
        a_place_that_is_given_up_is_free_at_once,
        who_comes_back_gets_a_new_fence,
        places_do_not_touch_other_keys;
    alone:
        compaction_ends_old_reads_and_old_watches_alike,
        a_commit_aside_slows_no_read,
}
