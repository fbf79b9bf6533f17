//! The life of a process from checked configuration to exit code: all that a service's `main` calls.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::ConfigError;
use crate::shutdown::{SHUTDOWN_DEADLINE, Shutdown};
use crate::telemetry::{self, TelemetryConfig};

/// Exit code for a configuration that cannot be used: EX_USAGE of sysexits.h.
const EX_USAGE: u8 = 64;

/// How long blocking calls may go on after everything else has ended.
const BLOCKING_DEADLINE: Duration = Duration::from_secs(1);

/// SIGXFSZ, on all machines that Krake is built for (x86-64 and arm64).
const FILE_SIZE_EXCEEDED: SignalKind = SignalKind::from_raw(25);

/// The configuration of a service, as far as [`run_main`] needs to know it.
pub trait ProcessConfig {
    /// What to log and where to send traces.
    fn telemetry(&self) -> &TelemetryConfig;
}

/// Runs a service until `main` ends, by itself or because SIGINT or SIGTERM asked for it; shutdown takes at most
/// [`SHUTDOWN_DEADLINE`].
///
/// Exit codes: 0; 64 where the configuration is wrong (a [`ConfigError`] anywhere in the error's chain); 1 for every
/// other error. The whole chain of the error is printed to stderr.
pub fn run_main<C, M, F>(service: &'static str, config: Result<C, ConfigError>, main: M) -> ExitCode
where
    C: ProcessConfig,
    M: FnOnce(C, Shutdown) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    match config.map_err(anyhow::Error::from).and_then(|config| run(service, config, main)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{service}: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn run<C, M, F>(service: &'static str, config: C, main: M) -> anyhow::Result<()>
where
    C: ProcessConfig,
    M: FnOnce(C, Shutdown) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    // Refused only if one is installed already, and then it is this one: no other provider is compiled in.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(async {
        let telemetry = telemetry::init(service, config.telemetry()).context("cannot start telemetry")?;
        let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
        // A write past `ulimit -f` then fails as one to a full disk does. Without a handler it would end the process.
        let _handled = signal(FILE_SIZE_EXCEEDED).context("cannot listen for signals")?;
        tracing::info!(service, version = env!("CARGO_PKG_VERSION"), "starting");
        let work = Box::pin(main(config, shutdown.clone()));
        let result = shutdown.run_until_done(SHUTDOWN_DEADLINE, work).await;
        tracing::info!(service, "stopped");
        drop(telemetry);
        result?
    });
    runtime.shutdown_timeout(BLOCKING_DEADLINE);
    result
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<ConfigError>()) { EX_USAGE } else { 1 }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::telemetry::TelemetryArgs;

    #[test]
    fn a_configuration_error_is_told_apart_however_deep_it_lies() {
        let config = ConfigError::Invalid { option: "--tls-cert", message: "no certificate".into() };
        let wrapped = anyhow::Error::from(config).context("cannot listen").context("cannot start");
        assert_eq!(exit_code(&wrapped), EX_USAGE);
        assert_eq!(exit_code(&anyhow::anyhow!("the store is gone")), 1);
    }

    struct Settings(TelemetryConfig);

    impl ProcessConfig for Settings {
        fn telemetry(&self) -> &TelemetryConfig {
            &self.0
        }
    }

    /// Names the part that [`child`] plays; absent in an ordinary test run.
    const PART: &str = "KRAKE_RUNTIME_TEST_PART";

    /// Not a test by itself: the process that the tests below start.
    #[test]
    fn child() {
        let Ok(part) = std::env::var(PART) else { return };
        let settings = || TelemetryArgs::default().resolve(TelemetryArgs::default()).map(Settings);
        let code = match part.as_str() {
            "misconfigured" => {
                let error = ConfigError::Invalid { option: "--workers", message: "must be 1 or more".into() };
                run_main("krake-test", Err::<Settings, _>(error), async |_, _| Ok(()))
            }
            "broken" => run_main("krake-test", settings(), async |_, _| {
                Err(anyhow::anyhow!("connection refused")).context("cannot reach the store")
            }),
            "limited" => run_main("krake-test", settings(), async |_, _| {
                let mut file = tempfile::tempfile()?;
                Ok(file.write_all(&[0; 1 << 20])?)
            }),
            _ => run_main("krake-test", settings(), async |_, shutdown: Shutdown| {
                shutdown.requested().await;
                Ok(())
            }),
        };
        let number = [ExitCode::SUCCESS, ExitCode::from(1), ExitCode::from(EX_USAGE)];
        std::process::exit([0, 1, 64][number.iter().position(|known| *known == code).unwrap()]);
    }

    fn start(part: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::tests::child", "--nocapture"])
            .env(PART, part)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    #[test]
    fn a_write_past_the_limit_of_file_sizes_is_an_error() {
        let output = Command::new("sh")
            .args(["-c", "ulimit -f 8; exec \"$0\" --exact process::tests::child --nocapture"])
            .arg(std::env::current_exe().unwrap())
            .env(PART, "limited")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("File too large"), "{text}");
    }

    fn outcome(part: &str) -> (Option<i32>, String) {
        let output = start(part).wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    #[test]
    fn errors_are_printed_with_their_causes_and_told_apart_by_exit_code() {
        let (code, text) = outcome("misconfigured");
        assert_eq!((code, text.as_str()), (Some(64), "krake-test: --workers: must be 1 or more\n"));
        let (code, text) = outcome("broken");
        assert_eq!(code, Some(1));
        assert!(text.ends_with("krake-test: cannot reach the store: connection refused\n"), "{text}");
    }

    #[test]
    fn sigterm_and_sigint_end_the_process_in_order() {
        for signal in ["TERM", "INT"] {
            let mut child = start("waiting");
            let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
            assert!(lines.any(|line| line.unwrap().contains("starting")));
            let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
            assert!(sent.success());
            assert_eq!(child.wait().unwrap().code(), Some(0));
            assert!(lines.any(|line| line.unwrap().contains("stopped")));
        }
    }
}
