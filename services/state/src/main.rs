//! Entry point of `krake-state`.

use std::process::ExitCode;

use clap::Parser;
use krake_runtime::process::run_main;
use krake_state::config::Args;

fn main() -> ExitCode {
    run_main("krake-state", Args::parse().task(), krake_state::perform)
}
