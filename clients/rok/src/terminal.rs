//! The two output streams: data on stdout, notices and errors on stderr.

use std::borrow::Cow;
use std::io::{ErrorKind, Write, stderr, stdout};
use std::process::ExitCode;

use crate::failure::Failure;

/// Prints data. A reader that has seen enough (`rok … | head`) is no error.
pub(crate) fn data(text: &str) -> ExitCode {
    match lines(text) {
        Ok(_) => ExitCode::SUCCESS,
        Err(failure) => {
            self::failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Prints data of which more is to come; false if the reader has closed its end.
pub(crate) fn lines(text: &str) -> Result<bool, Failure> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::input(format!("cannot write the output: {error}"))),
    }
}

/// Prints a line on stderr, beside the data.
pub(crate) fn notice(text: &str) {
    // Nothing can be done if stderr is closed.
    let _ = writeln!(stderr().lock(), "{}", printable(text));
}

/// Prints what went wrong, one line per problem, and a hint.
pub(crate) fn failure(failure: &Failure) {
    for line in failure.lines() {
        notice(&format!("error: {line}"));
    }
    if let Some(hint) = failure.hint() {
        notice(&format!("\n{hint}"));
    }
}

/// A text without what would steer the terminal: messages may come from clusters and from other users.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let steers = |letter: char| letter.is_control() && letter != '\n';
    if text.contains(steers) { text.replace(steers, "\u{fffd}").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(printable("a\nb ü"), "a\nb ü");
        assert_eq!(printable("\u{1b}[2Jx\r\u{9b}y\u{7f}"), "\u{fffd}[2Jx\u{fffd}\u{fffd}y\u{fffd}");
    }
}
