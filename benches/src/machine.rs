//! What the figures were taken on, and whether it was quiet.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Above this many runnable threads per core, others were at work.
const QUIET_LOAD_PER_CORE: f64 = 0.25;

/// Returns processor, cores, memory, kernel and the file system of `folder`, in one line.
pub fn description(folder: &Path) -> String {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    let cpus = text("/proc/cpuinfo");
    let model = field(&cpus, "model name").unwrap_or("unknown processor");
    let cores = cores();
    let memory = text("/proc/meminfo");
    let memory_gib = field(&memory, "MemTotal")
        .and_then(|line| line.strip_suffix(" kB")?.parse::<f64>().ok())
        .map_or(0.0, |kib| kib / f64::from(1 << 20));
    let kernel = text("/proc/sys/kernel/osrelease");
    format!(
        "{cores} cores of {model}, {memory_gib:.0} GiB of memory, Linux {}, {}",
        kernel.trim(),
        file_system(folder)
    )
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn field<'text>(text: &'text str, name: &str) -> Option<&'text str> {
    let (_, value) = text
        .lines()
        .find(|line| line.starts_with(name))?
        .split_once(':')?;
    Some(value.trim())
}

/// Returns the kind of file system, as `stat` calls it.
fn file_system(folder: &Path) -> String {
    let mut command = Command::new("stat");
    let answer = command.args(["-f", "-c", "%T"]).arg(folder).output();
    match answer {
        Ok(answer) if answer.status.success() => {
            String::from_utf8_lossy(&answer.stdout).trim().to_owned()
        }
        _ => "unknown file system".to_owned(),
    }
}

/// Returns a warning if others are using the processors, or if that cannot be told.
pub fn unrest() -> Option<String> {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    unrest_in(&text, cores())
}

fn unrest_in(loadavg: &str, cores: usize) -> Option<String> {
    let load: Option<f64> = loadavg
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok());
    match load {
        Some(load) if load <= QUIET_LOAD_PER_CORE * cores as f64 => None,
        Some(load) => Some(format!(
            "the machine is not quiet (load {load} on {cores} cores): times are upper bounds"
        )),
        None => Some("whether the machine is quiet could not be told".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_is_said_to_be_one() {
        assert_eq!(unrest_in("0.31 0.9 0.9 1/100 5", 2), None);
        assert!(unrest_in("1.80 0.0 0.0 1/100 5", 2).is_some());
        assert!(unrest_in("", 2).is_some());
    }
}
