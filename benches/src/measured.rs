//! Runs another program and says what it cost: time, CPU seconds, memory.
//!
//! The figures are the kernel's own, read from `/proc` while the process runs and once more
//! between its end and the moment it is waited for. It knows nothing of what the program does.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use time_and_chance::{SharedClock, StopSignal};

/// How often memory is looked at. The anonymous peak may be missed by what comes and goes within.
const SAMPLE_EVERY: Duration = Duration::from_millis(5);

/// What a process cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measured {
    /// From its start to its end.
    pub wall: Duration,
    /// CPU time of all its threads in its own code.
    pub user: Duration,
    /// CPU time of all its threads in the kernel.
    pub system: Duration,
    /// The most memory it held, files it had mapped included.
    pub peak_resident_bytes: u64,
    /// The most memory it held that no file stands behind.
    pub peak_anonymous_bytes: u64,
}

impl Measured {
    /// Returns the CPU seconds spent, in its own code and in the kernel.
    pub fn cpu(&self) -> Duration {
        self.user + self.system
    }

    /// Returns the median of each figure by itself; zeros if there are none.
    pub fn median(runs: &[Self]) -> Self {
        Self {
            wall: median(runs.iter().map(|run| run.wall)),
            user: median(runs.iter().map(|run| run.user)),
            system: median(runs.iter().map(|run| run.system)),
            peak_resident_bytes: median(runs.iter().map(|run| run.peak_resident_bytes)),
            peak_anonymous_bytes: median(runs.iter().map(|run| run.peak_anonymous_bytes)),
        }
    }
}

/// Returns the middle value, the lower one of two; the default if there are none.
pub fn median<T: Ord + Default + Copy>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort();
    let middle = values.len().saturating_sub(1) / 2;
    values.get(middle).copied().unwrap_or_default()
}

/// Runs a command to its end, which must be a good one; returns what it cost and its stdout.
pub fn run(command: &mut Command, clock: &SharedClock) -> Result<(Measured, String)> {
    let what = format!("{command:?}");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let started = clock.monotonic();
    let mut child = command
        .spawn()
        .with_context(|| format!("failed to start {what}"))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (watched, stdout, stderr) = std::thread::scope(|scope| {
        let stdout = scope.spawn(|| read_all(stdout));
        let stderr = scope.spawn(|| read_all(stderr));
        let watched = watch(&child, clock);
        let text = |thread: std::thread::ScopedJoinHandle<'_, String>| {
            thread.join().expect("reading a pipe does not panic")
        };
        (watched, text(stdout), text(stderr))
    });
    let mut measured = watched.with_context(|| format!("failed to watch {what}"))?;
    measured.wall = clock.monotonic() - started;
    let status = child.wait().context("failed to wait for a child")?;
    ensure!(
        status.success(),
        "{what} ended with {status}:\n{}\n{}",
        stdout.trim_end(),
        stderr.trim_end()
    );
    Ok((measured, stdout))
}

fn read_all(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What could be read is shown; a broken pipe means that the process has ended.
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Looks at a process until all of it has ended, and leaves it to be waited for.
fn watch(child: &Child, clock: &SharedClock) -> Result<Measured> {
    let nobody = StopSignal::new();
    let folder = format!("/proc/{}", child.id());
    let mut measured = Measured::default();
    while !has_ended(child)? {
        let status = fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
        let most = |so_far: u64, name| so_far.max(kib_of(&status, name).unwrap_or(0) << 10);
        measured.peak_resident_bytes = most(measured.peak_resident_bytes, "VmHWM:");
        measured.peak_anonymous_bytes = most(measured.peak_anonymous_bytes, "RssAnon:");
        clock.sleep(SAMPLE_EVERY, &nobody)?;
    }
    let stat = fs::read_to_string(format!("{folder}/stat")).context("failed to read CPU times")?;
    (measured.user, measured.system) = cpu_times(&stat).context("failed to read CPU times")?;
    Ok(measured)
}

#[cfg(unix)]
fn has_ended(child: &Child) -> Result<bool> {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let Some(pid) = pid else {
        bail!("a process has the number {}", child.id());
    };
    let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let status = waitid(WaitId::Pid(pid), how).context("failed to ask for a child's state")?;
    Ok(status.is_some())
}

#[cfg(not(unix))]
fn has_ended(_child: &Child) -> Result<bool> {
    bail!("what a process costs is measured on Linux only")
}

/// Returns a line's number from `/proc/PID/status`.
fn kib_of(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// Returns user and system time from `/proc/PID/stat`, where they stand 12th and 13th behind
/// the name, which is in brackets and may hold anything.
fn cpu_times(stat: &str) -> Option<(Duration, Duration)> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let (user, system) = (ticks()?, ticks()?);
    let per_second = ticks_per_second();
    let time = |ticks| Duration::from_nanos(ticks * (1_000_000_000 / per_second));
    Some((time(user), time(system)))
}

#[cfg(unix)]
fn ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second().max(1)
}

#[cfg(not(unix))]
fn ticks_per_second() -> u64 {
    100
}

#[cfg(test)]
mod tests {
    use time_and_chance::SystemClock;

    use super::*;

    #[test]
    fn cpu_time_and_memory_of_a_process_are_seen() {
        let clock = SystemClock::new();
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "x=0123456789abcdef; i=0; while [ $i -lt 18 ]; do x=$x$x; i=$((i+1)); done; echo ${#x}",
        ]);
        let (measured, stdout) = run(&mut command, &clock).unwrap();
        assert_eq!(stdout.trim(), "4194304");
        assert!(measured.wall >= measured.cpu() / 2, "{measured:?}");
        assert!(measured.peak_resident_bytes > 4 << 20, "{measured:?}");
        assert!(measured.peak_anonymous_bytes <= measured.peak_resident_bytes);
    }

    #[test]
    fn a_process_that_fails_is_an_error_with_what_it_said() {
        let clock = SystemClock::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such bucket >&2; exit 3"]);
        let error = run(&mut command, &clock).unwrap_err().to_string();
        assert!(error.contains("no such bucket"), "{error}");
    }

    #[test]
    fn kernel_texts_are_read_whatever_the_program_is_called() {
        let stat = "7 (a) b) S 1 1 1 0 -1 4194304 1 0 0 0 250 31 0 0 20 0 1 0 9 0 0";
        let (user, system) = cpu_times(stat).unwrap();
        assert_eq!(user.as_nanos() / system.as_nanos().max(1), 250 / 31);
        assert_eq!(kib_of("VmHWM:\t    5120 kB\n", "VmHWM:"), Some(5120));
        assert_eq!(kib_of("VmRSS:\t 1 kB\n", "VmHWM:"), None);
    }

    #[test]
    fn the_median_is_a_value_that_was_measured() {
        assert_eq!(median([5, 1, 9].into_iter()), 5);
        assert_eq!(median([5, 1].into_iter()), 1);
        assert_eq!(median(std::iter::empty::<u64>()), 0);
    }
}
