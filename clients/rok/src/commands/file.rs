//! Reading what `-f` and `-k` name.

use std::io;
use std::path::Path;

use crate::failure::Failure;
use crate::input;

/// Stands for stdin.
const STDIN: &str = "-";

/// A text and its name in errors.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
}

/// Reads a file, or stdin for `-`.
pub(super) fn read(path: &str) -> Result<Source, Failure> {
    let name = if path == STDIN { "stdin" } else { path };
    let text = if path == STDIN { input::stdin() } else { input::text_file(Path::new(path)) };
    let text = text.map_err(|error| Failure::input(format!("cannot read {name}: {error}")))?;
    Ok(Source { name: name.to_owned(), text })
}

impl Source {
    /// Says of which source the lines speak.
    pub(super) fn failure(&self, problems: &[String]) -> Failure {
        let lines: Vec<String> = problems.iter().map(|problem| format!("{}: {problem}", self.name)).collect();
        Failure::Input(lines.join("\n"))
    }

    /// Reads a file that this one names, relative to its folder.
    pub(super) fn beside(&self, path: &Path) -> io::Result<Vec<u8>> {
        let folder = Path::new(&self.name).parent().unwrap_or(Path::new(""));
        input::file(&folder.join(path))
    }
}
