//! Entry point of `krake-cluster-sim`.

use std::process::ExitCode;

use clap::Parser;
use krake_cluster_sim::Args;
use krake_runtime::process::run_main;

fn main() -> ExitCode {
    run_main("krake-cluster-sim", Args::parse().resolve(), krake_cluster_sim::run)
}
