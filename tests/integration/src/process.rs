//! A child process of a test: own process group and log file, killed on drop and with the test process.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::wait;

/// Lines from the end of a log that an error shows.
const LOG_LINES: usize = 25;

/// What to run: started once or, after a kill, again just so.
#[derive(Debug, Clone)]
pub struct Program {
    name: String,
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    folder: PathBuf,
}

impl Program {
    /// The executable `path`, run in `folder`, where its output goes to `<name>.log`.
    pub fn new(name: &str, path: &Path, folder: &Path) -> Self {
        Self {
            name: name.into(),
            path: path.into(),
            args: Vec::new(),
            env: Vec::new(),
            folder: folder.into(),
        }
    }

    /// Adds command line arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds an environment variable to those of the test process.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Starts it. Whether it is of use yet is for [`Process::ready`].
    pub fn start(self) -> Result<Process> {
        let child = self.spawn()?;
        Ok(Process { program: self, child, status: None })
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    fn log_file(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(self.log_path())
    }

    fn spawn(&self) -> Result<Child> {
        let log = self.log_file().with_context(|| format!("opening the log of {}", self.name))?;
        let log_too = log.try_clone().with_context(|| format!("opening the log of {}", self.name))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.path).args(&self.args);
        command.envs(self.env.iter().map(|(name, value)| (name, value))).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(log).stderr(log_too).process_group(0);
        spawn_from_lasting_thread(command)
            .with_context(|| format!("starting {} by setpriv (util-linux)", self.name))
    }
}

/// The signal at the parent's death comes when the *thread* that spawned ends, and a test's thread may end before
/// those that share its components: so one thread, as old as the process, spawns for all.
fn spawn_from_lasting_thread(command: Command) -> Result<Child> {
    type Request = (Command, SyncSender<io::Result<Child>>);
    static SPAWNER: OnceLock<SyncSender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = sync_channel::<Request>(1);
        std::thread::spawn(move || {
            for (mut command, answer) in requests {
                // Whoever asked waits for the answer; if it is gone, the child is nobody's and must go.
                if let Err(unwanted) = answer.send(command.spawn())
                    && let Ok(mut child) = unwanted.0
                {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        });
        sender
    });
    let (answer, child) = sync_channel(1);
    spawner.send((command, answer)).map_err(|_| anyhow!("the spawning thread is gone"))?;
    Ok(child.recv().context("the spawning thread is gone")??)
}

/// A running child process, or one that ended and may be started again. Dropping it kills its whole group.
#[derive(Debug)]
pub struct Process {
    program: Program,
    child: Child,
    status: Option<ExitStatus>,
}

impl Process {
    /// Waits until `probe` says yes. An error, with the end of the log, after `deadline` or when the process ends.
    pub async fn ready(&mut self, deadline: Duration, mut probe: impl AsyncFnMut() -> bool) -> Result<()> {
        let what = format!("{} to be ready", self.program.name);
        let outcome = wait::until(&what, deadline, async || match self.must_run() {
            Ok(()) => probe().await.then_some(Ok(())),
            ended => Some(ended),
        });
        let outcome = outcome.await;
        outcome.with_context(|| format!("end of its log:\n{}", self.log_end()))?
    }

    /// An error, with the end of the log, if it has ended.
    pub fn must_run(&mut self) -> Result<()> {
        match self.poll()? {
            None => Ok(()),
            Some(status) => {
                bail!("{} ended: {status}; end of its log:\n{}", self.program.name, self.log_end())
            }
        }
    }

    /// How it ended, or `None` while it runs.
    pub fn poll(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status =
                self.child.try_wait().with_context(|| format!("asking for {}", self.program.name))?;
        }
        Ok(self.status)
    }

    /// Waits for its end.
    pub async fn ended(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.program.name);
        wait::until(&what, deadline, async || self.poll().transpose()).await?
    }

    /// Kills it and its group as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        if self.poll()?.is_none() {
            kill_process_group(self.pid()?, Signal::KILL)
                .with_context(|| format!("killing {}", self.program.name))?;
            self.status = Some(self.child.wait().with_context(|| format!("killing {}", self.program.name))?);
        }
        Ok(())
    }

    /// Starts it again with the same arguments, in the same folder, after killing it if it runs. The log goes on.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.child = self.program.spawn()?;
        self.status = None;
        Ok(())
    }

    /// Asks it to end (`SIGTERM`).
    pub fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Asks it to end as Ctrl-C does (`SIGINT`).
    pub fn interrupt(&mut self) -> Result<()> {
        self.signal(Signal::INT)
    }

    /// Stops it in its tracks (`SIGSTOP`): its connections stay open and nothing answers.
    pub fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`Process::pause`].
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Everything it wrote so far.
    pub fn log(&self) -> String {
        std::fs::read(self.program.log_path())
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.poll()? {
            bail!("{} has ended: {status}", self.program.name);
        }
        kill_process(self.pid()?, signal).with_context(|| format!("signalling {}", self.program.name))
    }

    fn pid(&self) -> Result<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a child has a process id")
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- end of the log of {} ----\n{}", self.program.name, self.log_end());
        }
        if let Err(error) = self.kill() {
            eprintln!("{error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder;
    use crate::wait::HANG_GUARD;

    fn shell(script: &str, folder: &Path) -> Process {
        Program::new("script", Path::new("/bin/sh"), folder).args(["-c", script]).start().unwrap()
    }

    fn exists(pid: &str) -> bool {
        // A zombie is no more: someone else's child that waits to be reaped.
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[tokio::test]
    async fn drop_kills_grandchildren_too() {
        let folder = folder::create("process").unwrap();
        let mut process = shell("sleep 600 & echo $!; wait", folder.path());
        let log = folder.path().join("script.log");
        let logged = async || std::fs::read_to_string(&log).is_ok_and(|log| log.ends_with('\n'));
        process.ready(HANG_GUARD, logged).await.unwrap();
        let grandchild = process.log().trim().to_owned();
        assert!(exists(&grandchild));
        drop(process);
        wait::until("the grandchild to be gone", HANG_GUARD, async || (!exists(&grandchild)).then_some(()))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn child_outlives_the_thread_that_asked_for_it() {
        let folder = folder::create("process").unwrap();
        let path = folder.path().to_owned();
        let mut process = std::thread::spawn(move || shell("echo up; exec sleep 600", &path)).join().unwrap();
        let log = folder.path().join("script.log");
        process
            .ready(HANG_GUARD, async || std::fs::read_to_string(&log).is_ok_and(|log| log == "up\n"))
            .await
            .unwrap();
        assert!(process.ended(Duration::from_millis(200)).await.is_err());
    }

    #[tokio::test]
    async fn early_end_is_told_with_the_log() {
        let folder = folder::create("process").unwrap();
        let mut process = shell("echo no such flag; exit 3", folder.path());
        let error = format!("{:#}", process.ready(HANG_GUARD, async || false).await.unwrap_err());
        assert!(error.contains("exit status: 3") && error.contains("no such flag"), "{error}");
    }

    #[tokio::test]
    async fn restart_runs_the_same_again() {
        let folder = folder::create("process").unwrap();
        let mut process = shell("echo begun; exec sleep 600", folder.path());
        let log = folder.path().join("script.log");
        let begun = async |times: usize| {
            let seen = async || std::fs::read_to_string(&log).is_ok_and(|log| log == "begun\n".repeat(times));
            wait::until("the script", HANG_GUARD, async || seen().await.then_some(())).await.unwrap();
        };
        begun(1).await;
        process.pause().unwrap();
        process.kill().unwrap();
        assert!(process.poll().unwrap().is_some());
        assert!(process.resume().is_err());
        process.restart().unwrap();
        begun(2).await;
        process.terminate().unwrap();
        process.ended(HANG_GUARD).await.unwrap();
    }
}
