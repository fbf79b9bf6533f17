//! Entry point of `krake-gc`.

use std::process::ExitCode;

use clap::Parser;
use krake_gc::Args;
use krake_runtime::process::run_main;

fn main() -> ExitCode {
    run_main("krake-gc", Args::parse().resolve(), krake_gc::run)
}
