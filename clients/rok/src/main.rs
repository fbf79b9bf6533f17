//! Entry point of `rok`.

use std::process::ExitCode;

fn main() -> ExitCode {
    rok::run(std::env::args_os())
}
