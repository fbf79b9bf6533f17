//! The laws of the state service: of its stores, of its API, and of placements.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helping functions too")]

mod access;
mod api;
mod attempts;
mod backups;
mod backups_cut;
mod bad_input;
mod callers;
mod campaigns;
mod cancellation;
mod copies;
mod deletion;
mod documents;
mod errors;
mod etcd_mended;
mod filters;
mod history;
mod lagging;
mod leadership;
mod lost;
mod manifests;
mod metrics;
mod observed;
mod owners;
mod placement;
mod reachability;
mod rendering;
mod repeated;
mod replacements;
mod reports;
mod resume;
mod roles;
mod sizes;
mod store;
mod store_matrix;
mod support;
mod unread;
mod unreadable;
mod updates;
mod upgrades;
mod volumes;
