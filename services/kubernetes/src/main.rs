//! Entry point of `krake-kubernetes`.

use std::process::ExitCode;

use clap::Parser;
use krake_kubernetes::Args;
use krake_runtime::process::run_main;

fn main() -> ExitCode {
    run_main("krake-kubernetes", Args::parse().resolve(), krake_kubernetes::run)
}
