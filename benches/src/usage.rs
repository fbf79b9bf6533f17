//! What processes use, as Linux tells it in `/proc`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// Linux tells times to all programs in this unit (`USER_HZ`), whatever its own clock does.
const TICK: Duration = Duration::from_millis(10);

/// Id of the process of an executable that was started with this argument.
pub(crate) fn find(executable: &Path, argument: &str) -> Result<u32> {
    let name = executable.file_name().context("an executable has a name")?;
    let is_it = |pid: &u32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = command.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let first = words.next().unwrap_or_default().into_owned();
        Path::new(&first).file_name() == Some(name) && words.any(|word| word == argument)
    };
    let entries = std::fs::read_dir("/proc").context("listing processes")?.flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(is_it).with_context(|| format!("no process {} … {argument}", executable.display()))
}

/// Time that all threads of a process have run so far.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    cpu_in(&stat).context("/proc/<pid>/stat has another form")
}

/// utime and stime, which are the 14th and 15th word; the second is the name, in parentheses, and may hold anything.
fn cpu_in(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_whitespace().skip(11);
    let ticks: u32 = words.next()?.parse::<u32>().ok()? + words.next()?.parse::<u32>().ok()?;
    Some(TICK * ticks)
}

/// How many threads of this machine ran or wanted to run, on average over the last minute.
pub(crate) fn load() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").context("reading the load of the machine")?;
    let first = text.split_whitespace().next().context("/proc/loadavg is empty")?;
    first.parse().context("/proc/loadavg has another form")
}

/// Memory of a process that is in RAM, in MiB.
pub(crate) fn resident(pid: u32) -> Result<f64> {
    memory(pid, "VmRSS:")
}

/// The most memory of a process that ever was in RAM, in MiB.
pub(crate) fn peak(pid: u32) -> Result<f64> {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, field: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib: Option<f64> = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    Ok(kib.with_context(|| format!("/proc/<pid>/status has no {field}"))? / 1024.0)
}

/// The time that some processes run while something is done.
pub(crate) struct Meter {
    /// With the name that is shown, and the time at the beginning.
    processes: Vec<(&'static str, u32, Duration)>,
}

impl Meter {
    /// Begins; processes are given by name and id.
    pub(crate) fn start(processes: &[(&'static str, u32)]) -> Result<Self> {
        let begun = |(name, pid): &(&'static str, u32)| Ok((*name, *pid, cpu(*pid)?));
        Ok(Self { processes: processes.iter().map(begun).collect::<Result<_>>()? })
    }

    /// Microseconds per call of each process since the beginning, in the order given.
    pub(crate) fn per_call(&self, calls: u64) -> Result<Vec<(&'static str, f64)>> {
        let used = |(name, pid, begun): &(&'static str, u32, Duration)| {
            let time = cpu(*pid)?.saturating_sub(*begun);
            Ok((*name, time.as_secs_f64() * 1e6 / calls.max(1) as f64))
        };
        self.processes.iter().map(used).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_the_times() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 9 0 0 0 120 30 5 6 20 0 3 0 100 0 0";
        assert_eq!(cpu_in(stat), Some(Duration::from_millis(1500)));
        assert_eq!(cpu_in("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_is_found_and_uses_memory() {
        let me = std::process::id();
        // No order between the two: other threads of this process take memory between one reading and the next.
        assert!(resident(me).unwrap() > 0.0 && peak(me).unwrap() > 0.0);
        assert!(cpu(me).is_ok() && load().unwrap() >= 0.0);
        assert!(find(Path::new("/bin/krake-bench-of-nobody"), "x").is_err());
    }
}
