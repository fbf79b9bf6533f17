//! The controllers: from mirrors of the Krake API to plans, and from plans to clusters and reports.

pub(crate) mod applications;
pub(crate) mod attempts;
pub(crate) mod clusters;
mod execute;
pub(crate) mod index;
mod manifest;
pub(crate) mod operator;
pub(crate) mod orphans;
pub(crate) mod pauses;
pub(crate) mod project;
mod record;
pub(crate) mod removals;
mod report;
pub(crate) mod stake;
pub(crate) mod strays;
mod tell;
pub(crate) mod turns;
pub(crate) mod view;
