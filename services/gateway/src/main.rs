//! Entry point of `krake-gateway`.

use std::process::ExitCode;

use clap::Parser;
use krake_gateway::Args;
use krake_runtime::process::run_main;

fn main() -> ExitCode {
    run_main("krake-gateway", Args::parse().resolve(), krake_gateway::run)
}
