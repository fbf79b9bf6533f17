//! `rok`, the Krake command line client.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 an error (of the server, the connection or a
//! file), 2 wrong usage, 3 `--wait` ran out of time.

mod args;
mod commands;
mod config;
mod duration;
mod failure;
mod kubeconfig;
mod manifest;
mod output;
mod progress;
mod terminal;
mod wait;
mod yaml;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use args::Rok;
use failure::Failure;

/// Runs one command line, its first word being the name of the program.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let rok = match Rok::try_parse_from(args) {
        Ok(rok) => rok,
        Err(error) => {
            // Help goes to stdout, wrong usage to stderr; clap knows. Nothing can be done if neither can be written.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::USAGE));
        }
    };
    match execute(rok) {
        Ok(data) => terminal::data(&data),
        Err(failure) => {
            terminal::failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn execute(rok: Rok) -> Result<String, Failure> {
    let settings = config::load(&rok.connection)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::input(format!("cannot start: {error}")))?;
    runtime.block_on(commands::run(rok.command, settings))
}
