//! Entry point of `krake`.

use std::process::ExitCode;

use clap::Parser;
use krake::config::{Args, Task};
use krake_runtime::process::run_main;

fn main() -> ExitCode {
    match Args::parse().resolve() {
        Ok(Task::Demo(config)) => run_main("krake", Ok(config), krake::demo::run),
        Ok(Task::Serve(config)) => run_main("krake", Ok(config), krake::run),
        Err(error) => run_main("krake", Err(error), krake::run),
    }
}
