//! Parts of tests that are played by a process of their own: this test program once more.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// Names the part that the process plays; absent in an ordinary test run.
const PART: &str = "KRAKE_STATE_TEST_PART";
/// The file that it is played on.
const FILE: &str = "KRAKE_STATE_TEST_FILE";

/// Begins every line that a part says, beside those of the test harness.
const SAYS: &str = "says ";

/// A process that plays a part. It is killed on drop.
pub(crate) struct Player {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Player {
    /// Starts the test `test` as the part `part` on a file. `prepare` is a command of the shell, run before.
    pub(crate) fn start(test: &str, part: &str, file: &Path, prepare: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", &format!("{prepare} exec \"$0\" \"$@\"")])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads", "1"])
            .env(PART, part)
            .env(FILE, file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next thing that it says; `None` when it has ended.
    pub(crate) fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // The harness may have begun the line, and a line without an end was not said.
            if let Some(at) = line.find(SAYS).filter(|_| line.ends_with('\n')) {
                return Some(line[at + SAYS.len()..].trim_end().to_owned());
            }
        }
    }

    /// Kills it without warning.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end; whether it ended well.
    pub(crate) fn ended_well(mut self) -> bool {
        self.child.wait().unwrap().success()
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The part that this process plays, and its file, if it is one of [`Player`].
pub(crate) fn part() -> Option<(String, std::path::PathBuf)> {
    Some((std::env::var(PART).ok()?, std::env::var_os(FILE)?.into()))
}

/// Says something to the test that started this process.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{SAYS}{text}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}
