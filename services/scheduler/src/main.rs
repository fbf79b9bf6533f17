//! Entry point of `krake-scheduler`.

use std::process::ExitCode;

use clap::Parser;
use krake_runtime::process::run_main;
use krake_scheduler::Args;

fn main() -> ExitCode {
    run_main("krake-scheduler", Args::parse().resolve(), krake_scheduler::run)
}
