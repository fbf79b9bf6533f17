//! `rok`, the Krake command line client.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 done, also when Ctrl-C ends `--watch`; 1 an error (of
//! the server, the connection or a file); 2 wrong usage; 3 `--wait` ran out of time.

mod args;
mod commands;
mod completion;
mod config;
mod duration;
mod failure;
mod follow;
#[doc(hidden)]
pub mod fuzz;
mod input;
mod interruption;
mod kinds;
mod kubeconfig;
mod manifest;
mod output;
mod progress;
mod terminal;
mod trace;
mod trouble;
mod wait;
mod yaml;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches};
use tracing::Instrument;

use args::{Command, Connection, Remote, Rok};
use failure::Failure;

/// Runs one command line, its first word being the name of the program.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut definition = Rok::command();
    let parsed = definition
        .try_get_matches_from_mut(args)
        .and_then(|matches| Ok((path(&matches), Rok::from_arg_matches(&matches)?)));
    let (path, rok) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help goes to stdout, wrong usage to stderr; clap knows. Nothing can be done if neither can be written.
            let error = error.format(&mut definition);
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::USAGE));
        }
    };
    let done = match rok.command {
        Command::Completion(completion) => Ok(completion::script(completion.shell)),
        Command::Version => Ok(concat!("rok ", env!("CARGO_PKG_VERSION"), "\n").to_owned()),
        Command::Remote(command) => remote(&path, &rok.connection, command),
    };
    match done {
        Ok(data) => terminal::data(&data),
        Err(failure) => {
            terminal::failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// The words of a command without its options, by their main names: `rok kube app create`.
fn path(matches: &ArgMatches) -> String {
    let mut path = "rok".to_owned();
    let mut next = matches.subcommand();
    while let Some((word, deeper)) = next {
        path = path + " " + word;
        next = deeper.subcommand();
    }
    path
}

fn remote(path: &str, connection: &Connection, command: Remote) -> Result<String, Failure> {
    let settings = config::load(connection)?;
    // A thread beside this one, which sends the last spans while this one waits for that.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::input(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let tracing = trace::start(connection.otlp_endpoint.as_deref());
        let span = trace::root(path);
        let done = Box::pin(commands::run(command, settings)).instrument(span.clone()).await;
        if done.is_err() {
            trace::failed(&span);
        }
        drop(span);
        drop(tracing);
        done
    })
}
