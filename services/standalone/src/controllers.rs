//! The controllers' settings in this process: one API, one admin listener, no elections.

use krake_client::ConnectOptions;
use krake_kubernetes::cluster::clusters::Opener;
use krake_runtime::admin::Admin;
use krake_runtime::controller::{AdminPlace, ControllerConfig};
use krake_runtime::leadership::ElectionConfig;

use crate::Config;

/// What all of them have in common.
fn controller(name: &str, url: &str, admin: &Admin) -> ControllerConfig {
    let mut connect = ConnectOptions::new(url);
    connect.user_agent = format!("krake-{name}/{}", env!("CARGO_PKG_VERSION"));
    let mut controller = ControllerConfig::new(connect);
    controller.admin = AdminPlace::Shared(admin.clone());
    // There is one of each, in the only process that may use the store: no standby, and no lease of a killed
    // process to wait for.
    controller.election = ElectionConfig::unopposed();
    controller
}

pub(crate) fn scheduler(config: &Config, url: &str, admin: &Admin) -> krake_scheduler::Config {
    let mut scheduler = krake_scheduler::Config::new(controller("scheduler", url, admin));
    scheduler.options.reschedule_after = config.reschedule_after;
    scheduler.metrics_interval = config.metrics_interval;
    scheduler.metrics_addresses.allowed.clone_from(&config.metrics_addresses);
    scheduler
}

pub(crate) fn gc(url: &str, admin: &Admin) -> krake_gc::Config {
    krake_gc::Config::new(controller("gc", url, admin))
}

pub(crate) fn kubernetes(config: &Config, url: &str, admin: &Admin) -> krake_kubernetes::Config {
    let mut kubernetes = krake_kubernetes::Config::new(controller("kubernetes", url, admin));
    // The URL is that of this machine, wherever else the API listens.
    kubernetes.opener = Opener::over_network(config.cluster_addresses.clone());
    kubernetes
}
