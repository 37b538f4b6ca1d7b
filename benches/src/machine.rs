//! What the figures were taken on, and whether it was quiet.

use std::fs;
use std::path::Path;

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

/// Returns the kind of file system, as the kernel calls it.
fn file_system(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let kind = file_system_in(&mounts, &folder);
    kind.unwrap_or("unknown file system").to_owned()
}

/// Returns the kind of the innermost mount that holds `folder`; of several on one place the last
/// one counts.
fn file_system_in<'text>(mounts: &'text str, folder: &Path) -> Option<&'text str> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let (_, kind) = mounts
        .filter(|(place, _)| folder.starts_with(place))
        .max_by_key(|(place, _)| place.len())?;
    Some(kind)
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
    fn the_innermost_mount_names_the_file_system() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmpx xfs rw 0 0\n";
        for (folder, kind) in [("/tmp/x", "tmpfs"), ("/tmpx", "xfs"), ("/home", "ext4")] {
            assert_eq!(file_system_in(mounts, Path::new(folder)), Some(kind));
        }
        assert_eq!(file_system_in("", Path::new("/home")), None);
    }

    #[test]
    fn a_busy_machine_is_said_to_be_one() {
        assert_eq!(unrest_in("0.31 0.9 0.9 1/100 5", 2), None);
        assert!(unrest_in("1.80 0.0 0.0 1/100 5", 2).is_some());
        assert!(unrest_in("", 2).is_some());
    }
}
