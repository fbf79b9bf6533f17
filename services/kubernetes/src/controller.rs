//! The controllers: from mirrors of the Krake API to plans, and from plans to clusters and reports.

mod accepted;
pub(crate) mod applications;
pub(crate) mod attempts;
pub(crate) mod clusters;
mod documents;
mod execute;
pub(crate) mod index;
mod judgement;
mod manifest;
pub(crate) mod memory;
mod observations;
pub(crate) mod operator;
pub(crate) mod orphans;
pub(crate) mod pauses;
pub(crate) mod project;
mod record;
pub(crate) mod refusals;
pub(crate) mod removals;
mod renderings;
mod renewals;
mod replicas;
mod report;
pub(crate) mod stake;
pub(crate) mod strays;
mod tell;
pub(crate) mod turns;
pub(crate) mod view;
