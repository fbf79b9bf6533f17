//! The adapter's suite: the same cases against simulated API servers and against a real one, one report, two columns.
#![allow(clippy::unwrap_used, reason = "in a test, its helpers included, a panic is the verdict")]

mod api;
mod columns;
mod faults;
mod known;
mod kubectl;
mod normal;
mod raw;
mod report;
mod whole;
