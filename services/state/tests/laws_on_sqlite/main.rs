//! The laws of the API once more, over the store in a file: the same tests with another store where they ask for memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helping functions too")]

#[path = "../laws/api.rs"]
mod api;
#[path = "../laws/bad_input.rs"]
mod bad_input;
#[path = "../laws/copies.rs"]
mod copies;
#[path = "../laws/deletion.rs"]
mod deletion;
#[path = "../laws/documents.rs"]
mod documents;
#[path = "../laws/filters.rs"]
mod filters;
#[path = "../laws/leadership.rs"]
mod leadership;
#[path = "../laws/manifests.rs"]
mod manifests;
#[path = "../laws/placement.rs"]
mod placement;
#[path = "../laws/repeated.rs"]
mod repeated;
#[path = "../laws/reports.rs"]
mod reports;
#[path = "../laws/resume.rs"]
mod resume;
#[path = "../laws/sizes.rs"]
mod sizes;
mod support;
#[path = "../laws/unreadable.rs"]
mod unreadable;
#[path = "../laws/updates.rs"]
mod updates;
#[path = "../laws/upgrades.rs"]
mod upgrades;
