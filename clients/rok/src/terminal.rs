//! The two output streams: data on stdout, notices and errors on stderr.

use std::io::{ErrorKind, Write, stderr, stdout};
use std::process::ExitCode;

use crate::failure::{ERROR, Failure};

/// Prints data. A reader that has seen enough (`rok … | head`) is no error.
pub(crate) fn data(text: &str) -> ExitCode {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            notice(&format!("error: cannot write the output: {error}"));
            ExitCode::from(ERROR)
        }
    }
}

/// Tells people something beside the data.
pub(crate) fn notice(text: &str) {
    // Without stderr there is nobody to tell.
    let _ = writeln!(stderr().lock(), "{text}");
}

/// Tells what went wrong, one line per thing, and what may help.
pub(crate) fn failure(failure: &Failure) {
    for line in failure.lines() {
        notice(&format!("error: {line}"));
    }
    if let Some(hint) = failure.hint() {
        notice(&format!("\n{hint}"));
    }
}
