//! Krake's own processes, as separate executables.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::process::{Process, Program};
use crate::wait::HANG_GUARD;
use crate::{folder, http};

/// How to see that a service is ready.
#[derive(Debug, Clone)]
pub enum Ready {
    /// A GET of this URL answers 200, such as `http://127.0.0.1:<port>/readyz`.
    Http(String),
    /// It accepts connections.
    Tcp(SocketAddr),
    /// Nothing to wait for.
    Started,
}

/// A running service.
#[derive(Debug)]
pub struct Krake {
    /// The service itself.
    pub process: Process,
    ready: Ready,
    _folder: TempDir,
}

impl Krake {
    /// Starts the service `name` (`krake-state`, …) in a folder of its own and waits until it is ready.
    pub async fn spawn(name: &str, args: &[&str], ready: Ready) -> Result<Self> {
        Self::spawn_with(name, args, &[], ready).await
    }

    /// As [`Krake::spawn`], with environment variables too.
    pub async fn spawn_with(name: &str, args: &[&str], env: &[(&str, &str)], ready: Ready) -> Result<Self> {
        let folder = folder::create(name)?;
        let program = Program::new(name, &executable(name)?, folder.path()).args(args);
        let program = match name {
            // The clusters of tests are on this machine, as whoever starts the adapter has to say.
            "krake-kubernetes" => program.env("KRAKE_ALLOW_CLUSTER_ADDRESS", "127.0.0.0/8,::1"),
            _ => program,
        };
        let program = env.iter().fold(program, |program, (name, value)| program.env(name, value));
        let mut krake = Self { process: program.start()?, ready, _folder: folder };
        krake.ready().await?;
        Ok(krake)
    }

    /// Waits until it is ready, after [`Process::restart`].
    pub async fn ready(&mut self) -> Result<()> {
        match &self.ready {
            Ready::Http(url) => {
                let client = http::client()?;
                let answers =
                    async || client.get(url).send().await.is_ok_and(|answer| answer.status() == 200);
                self.process.ready(HANG_GUARD, answers).await
            }
            Ready::Tcp(address) => {
                self.process.ready(HANG_GUARD, async || TcpStream::connect(address).await.is_ok()).await
            }
            Ready::Started => Ok(()),
        }
    }
}

/// Runs a Krake executable such as `rok` to its end, or kills it after `deadline`. Its exit status is for the caller.
pub async fn run(name: &str, args: &[&str], env: &[(&str, &str)], deadline: Duration) -> Result<Output> {
    let mut command = tokio::process::Command::new(executable(name)?);
    command.args(args).envs(env.iter().copied()).stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(deadline, command.output());
    output
        .await
        .with_context(|| format!("{name} {args:?} takes longer than {deadline:?}"))?
        .context("running it")
}

/// The path of a Krake executable: in the target folder that the test itself was built into.
pub fn executable(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe().context("asking for the test's own path")?;
    let folder = test.ancestors().nth(2).context("a test executable is in <target>/deps")?;
    executable_in(folder, name)
}

fn executable_in(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    ensure!(path.is_file(), "{} is missing; run `cargo build --workspace --bins` first", path.display());
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_executable_names_the_cure() {
        let folder = folder::create("target").unwrap();
        let error = executable_in(folder.path(), "krake-state").unwrap_err().to_string();
        assert!(error.contains("krake-state") && error.contains("cargo build --workspace --bins"), "{error}");
        std::fs::write(folder.path().join("krake-state"), "").unwrap();
        assert!(executable_in(folder.path(), "krake-state").is_ok());
    }
}
