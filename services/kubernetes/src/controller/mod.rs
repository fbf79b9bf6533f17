//! The controllers: from mirrors of the Krake API to plans, and from plans to clusters and reports.

pub(crate) mod applications;
pub(crate) mod clusters;
mod execute;
pub(crate) mod index;
pub(crate) mod project;
mod record;
mod report;
mod view;
