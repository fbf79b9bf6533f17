//! The commands of README, quickstart and register-a-cluster work as they stand: blocks that are marked `sh run` are run, in their order.
//!
//! A block marked `sh run background` goes on while the others run. Commands whose comment says Ctrl-C are ended when they
//! have shown something. Ports are replaced, so that a Krake that listens on the usual ones is left alone.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use krake_integration::binaries::{Binaries, Component, require};
use krake_integration::kubernetes::Kubernetes;
use krake_integration::process::{Process, Program};
use krake_integration::wait::{self, HANG_GUARD};
use krake_integration::{folder, krake};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::standalone::Standalone;
use crate::world::repository;

/// The block is longer than a step, and each of its commands may come near the guard.
const BLOCK: std::time::Duration = HANG_GUARD.saturating_mul(3);

/// Defines `shown`: runs a command until it has shown something, and ends it.
const SHOWN: &str = r#"
shown() {
  : >shown
  "$@" >shown &
  local pid=$!
  until [ -s shown ]; do
    kill -0 "$pid" || { echo "it has ended and shown nothing: $*" >&2; exit 1; }
    sleep 0.1
  done
  kill "$pid"
  wait "$pid" || true
  cat shown
}
"#;

/// A marked block of a document.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    /// Where it begins, for errors.
    line: usize,
    background: bool,
    commands: String,
}

/// The marked blocks of a document.
fn blocks(text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        match (line, found.last_mut()) {
            ("```", _) => inside = false,
            ("```sh run" | "```sh run background", _) => {
                let background = line.ends_with("background");
                found.push(Block { line: index + 1, background, commands: String::new() });
                inside = true;
            }
            (line, Some(block)) if inside => block.commands.extend([line, "\n"]),
            _ => {}
        }
    }
    found
}

/// The commands as a script: those that only Ctrl-C ends are ended by themselves.
fn script(commands: &str) -> String {
    let joined = commands.replace("\\\n", " ");
    let lines = joined.lines().map(|line| match line.split_once('#') {
        Some((command, comment)) if comment.contains("Ctrl-C") => format!("shown {command}"),
        _ => line.to_owned(),
    });
    format!("set -euo pipefail\n{SHOWN}\n{}\n", lines.collect::<Vec<_>>().join("\n"))
}

/// A person who follows a document, in a folder of their own.
struct Reader {
    folder: TempDir,
    path: String,
    krake: Option<Standalone>,
    background: Vec<Process>,
    /// The cluster of kubectl.
    kubeconfig: Option<PathBuf>,
}

impl Reader {
    fn new(binaries: &Binaries) -> Self {
        let folder = folder::create("documents").unwrap();
        std::os::unix::fs::symlink(repository().join("examples"), folder.path().join("examples")).unwrap();
        let parent = |path: PathBuf| path.parent().unwrap().to_str().unwrap().to_owned();
        let krake = parent(krake::executable("krake").unwrap());
        let grpcurl = parent(binaries.path("grpcurl").unwrap());
        let path = format!("{krake}:{grpcurl}:{}", std::env::var("PATH").unwrap());
        Reader { folder, path, krake: None, background: Vec::new(), kubeconfig: None }
    }

    /// The text with addresses of this run.
    fn addressed(&self, commands: &str) -> String {
        let commands = commands.replace("127.0.0.1:7780", "127.0.0.1:0");
        let Some(krake) = &self.krake else { return commands };
        let bare = |url: &str| url.trim_start_matches("http://").to_owned();
        commands.replace("127.0.0.1:7700", &bare(&krake.api)).replace("127.0.0.1:8080", &bare(&krake.rest))
    }

    fn program(&self, name: &str, commands: &str) -> Program {
        let command = format!("exec {}", commands.trim());
        let program = Program::new(name, Path::new("/bin/bash"), self.folder.path());
        let program = program.args(["-c", &command]).env("PATH", &self.path);
        program.env("KRAKE_ADMIN_LISTEN", "127.0.0.1:0")
    }

    /// Starts a Krake by the document's own command, or by this one.
    async fn krake(&mut self, command: &str) {
        let program = self.program("krake", command).env("KRAKE_LISTEN", "127.0.0.1:0");
        let program = program.env("KRAKE_REST_LISTEN", "127.0.0.1:0").env("KRAKE_DATA_DIR", "data");
        self.krake = Some(Standalone::of(program, &self.folder.path().join("krake.log")).await);
    }

    async fn run(&mut self, block: &Block) {
        let commands = self.addressed(&block.commands);
        if block.background && commands.starts_with("krake ") {
            return self.krake(&commands).await;
        }
        if block.background {
            let mut process = self.program("background", &commands).start().unwrap();
            // It serves when it has written how to reach it.
            let written = self.folder.path().join("clusters");
            let whole = |file: std::io::Result<std::fs::DirEntry>| {
                file.is_ok_and(|file| file.path().extension().is_some_and(|end| end == "yaml"))
            };
            let ready = async || {
                std::fs::read_dir(&written).is_ok_and(|files| files.map(whole).filter(|is| *is).count() > 1)
            };
            process.ready(HANG_GUARD, ready).await.unwrap();
            self.background.push(process);
            return;
        }
        let mut command = Command::new("bash");
        command.args(["-c", &script(&commands)]).current_dir(self.folder.path());
        command.env("PATH", &self.path).env("KRAKE_API_URL", &self.krake.as_ref().unwrap().api);
        // Not the configuration of the person who runs the tests.
        command.env("HOME", self.folder.path()).env_remove("XDG_CONFIG_HOME").env_remove("KUBECONFIG");
        command.envs(self.kubeconfig.iter().map(|path| ("KUBECONFIG", path)));
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(BLOCK, command.output());
        let output =
            output.await.unwrap_or_else(|_| panic!("line {}: no end: {commands}", block.line)).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "line {}: {commands}\n{}{}",
            block.line,
            text(&output.stdout),
            text(&output.stderr)
        );
    }

    /// Waits until the application runs on a cluster alone.
    async fn runs_on(&self, cluster: &str) {
        let krake = self.krake.as_ref().unwrap();
        let settled = async || {
            let get = ["kube", "app", "get", "echo-demo", "-o", "json"];
            let output = krake::run("rok", &get, &[("KRAKE_API_URL", &krake.api)], HANG_GUARD).await.ok()?;
            let shown: Value = serde_json::from_slice(&output.stdout).ok()?;
            let status = &shown["status"];
            let there = status["state"] == "RUNNING" && status["running_on"]["name"] == *cluster;
            (there && status["copies"].as_array()?.len() == 1).then_some(())
        };
        wait::until(&format!("echo-demo to be RUNNING on {cluster} alone"), HANG_GUARD, settled)
            .await
            .unwrap();
    }
}

/// Follows a document. What the text promises after a block that contains the first words is where the application runs.
async fn follow(reader: &mut Reader, document: &str, promises: &[(&str, &str)]) {
    let text = std::fs::read_to_string(repository().join(document)).unwrap();
    let blocks = blocks(&text);
    let mut kept = 0;
    for block in &blocks {
        eprintln!("{document}:{}", block.line);
        reader.run(block).await;
        for (_, cluster) in promises.iter().filter(|(words, _)| block.commands.contains(words)) {
            reader.runs_on(cluster).await;
            kept += 1;
        }
    }
    assert_eq!(kept, promises.len(), "a block that the test knows is not in {document}: {blocks:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_readme_work() {
    let Some(binaries) = require(&[Component::Grpcurl]) else { return };
    let mut reader = Reader::new(&binaries);
    reader.krake("krake --reschedule-after 5 --metrics-interval 1").await;
    let promises = [("app create -f examples/echo-demo.yaml", "a"), ("gmp update -m green-a 0.1", "b")];
    follow(&mut reader, "README.md", &promises).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_quickstart_work() {
    let Some(binaries) = require(&[Component::Grpcurl]) else { return };
    let mut reader = Reader::new(&binaries);
    // Without metrics either cluster will do at first.
    let promises = [("location is FR", "two"), ("update one --global-metric green-one 1", "one")];
    follow(&mut reader, "docs/quickstart.md", &promises).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_that_register_a_cluster_work() {
    let components = [Component::Grpcurl, Component::Etcd35, Component::Kubernetes, Component::Kubectl];
    let Some(binaries) = require(&components) else { return };
    let mut reader = Reader::new(&binaries);
    let etcd = Kubernetes::etcd(&binaries).await.unwrap();
    let kubernetes = Kubernetes::start(&binaries, &etcd, "north", 1).await.unwrap();
    let kubeconfig = reader.folder.path().join("admin.kubeconfig");
    std::fs::write(&kubeconfig, kubernetes.kubeconfig().to_string()).unwrap();
    reader.kubeconfig = Some(kubeconfig);
    reader.krake("krake").await;
    let text = std::fs::read_to_string(repository().join("docs/register-a-cluster.md")).unwrap();
    let blocks = blocks(&text);
    let with = |words: &str| {
        let block = blocks.iter().find(|block| block.commands.contains(words));
        block.unwrap_or_else(|| panic!("no block with {words}: {blocks:#?}")).commands.as_str()
    };
    let configure = with("cat >krake.kubeconfig");
    let update = with("rok kube cluster update");
    assert_eq!(blocks.len(), 6, "{blocks:#?}");
    // In one shell, for later blocks use the variables of earlier ones. An update begins with another kubeconfig.
    let commands: String = blocks
        .iter()
        .flat_map(|block| [if block.commands == update { configure } else { "" }, &block.commands])
        .collect();
    reader.run(&Block { line: blocks[0].line, background: false, commands }).await;
    assert_eq!(kubernetes.api().get("/api/v1/namespaces/krake").await.unwrap(), None, "the account is gone");
}

#[test]
fn marked_blocks_are_found_and_made_into_scripts() {
    let text = "# x\n```sh\nno\n```\n```sh run\na \\\n  b\nc -w   # Ctrl-C ends it\n```\nz\n```sh run background\nd\n```\n";
    let found = blocks(text);
    let lines: Vec<_> = found.iter().map(|block| (block.line, block.background)).collect();
    assert_eq!(lines, [(5, false), (11, true)]);
    let script = script(&found[0].commands);
    assert!(script.contains("\na    b\n") && script.contains("\nshown c -w   \n"), "{script}");
}
