//! Each stage of the pipeline by itself, on one thread.
//!
//! What counts is the thread's CPU time, so that neighbours on the machine disturb little; where
//! a stage waits for a disk, the clock's figure stands beside it.

mod backup;
mod index;
mod restore;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use time_and_chance::SharedClock;

use crate::options::Options;
use crate::table::Table;
use crate::test_image::{Mix, TestImage};

/// The length of a chunk of an image.
const CHUNK_BYTES: usize = image::CHUNK_BYTES as usize;

const COLUMNS: [&str; 4] = ["stage", "per CPU second", "per second by the clock", ""];

/// Measures all stages.
pub fn measure(options: &Options, folder: &Path) -> Result<Vec<Table>> {
    let folder = folder.join("stages");
    std::fs::create_dir_all(&folder).context("failed to make a folder")?;
    let meter = Meter {
        clock: options.clock.clone(),
        enough: options.stage_time,
    };
    let bytes = options.stage_bytes as u64;
    let text_alone = Mix {
        zeros_percent: 0,
        random_percent: 0,
    };
    let feed = Feed {
        dense: TestImage::new(bytes, Mix::DENSE, 2),
        text: TestImage::new(bytes, text_alone, 3).read(0, bytes),
        random: TestImage::new(
            bytes,
            Mix {
                random_percent: 100,
                ..text_alone
            },
            4,
        )
        .read(0, bytes),
        folder: &folder,
    };
    let mut tables = Vec::new();
    for (heading, stages) in [
        ("Stages of a backup, one thread", backup::measure as Stages),
        (
            "Stages of a restore, one thread",
            restore::measure as Stages,
        ),
        ("Index and lists, one thread", index::measure as Stages),
    ] {
        let mut table = Table::new(heading, &COLUMNS);
        eprintln!("{}", table.heading);
        stages(&meter, &feed, &mut table)?;
        tables.push(table);
    }
    std::fs::remove_dir_all(&folder).context("failed to remove what was measured")?;
    Ok(tables)
}

type Stages = fn(&Meter, &Feed<'_>, &mut Table) -> Result<()>;

/// What stages are fed with.
struct Feed<'a> {
    /// An image without zeros.
    dense: TestImage,
    /// Text, which compresses.
    text: Vec<u8>,
    /// Random bytes, which do not.
    random: Vec<u8>,
    /// Where files can be made.
    folder: &'a Path,
}

/// Measures rounds of work.
struct Meter {
    clock: SharedClock,
    enough: Duration,
}

/// How fast a stage is, in whatever it was counted in.
#[derive(Debug, Clone, Copy)]
struct Speed {
    per_cpu_second: f64,
    per_second: f64,
}

impl Meter {
    /// Repeats a round, which returns how much it did, until enough time has passed; the first
    /// round counts only if it is the only one.
    fn speed(&self, mut round: impl FnMut() -> Result<u64>) -> Result<Speed> {
        if !self.enough.is_zero() {
            round()?;
        }
        let (cpu, wall) = (thread_cpu_time(), self.clock.monotonic());
        let mut done = 0;
        loop {
            done += round()?;
            let (cpu, wall) = (thread_cpu_time() - cpu, self.clock.monotonic() - wall);
            if wall >= self.enough {
                let per = |time: Duration| done as f64 / time.as_secs_f64().max(1e-9);
                return Ok(Speed {
                    per_cpu_second: per(cpu),
                    per_second: per(wall),
                });
            }
        }
    }

    /// Measures a stage by bytes.
    fn bytes(
        &self,
        table: &mut Table,
        name: &str,
        remark: &str,
        round: impl FnMut() -> Result<u64>,
    ) -> Result<()> {
        let speed = self.speed(round)?;
        let mb = |bytes: f64| format!("{:.0} MB", bytes / 1e6);
        add(
            table,
            name,
            remark,
            mb(speed.per_cpu_second),
            mb(speed.per_second),
        );
        Ok(())
    }

    /// Measures a stage by how many of `what` it gets through.
    fn count(
        &self,
        table: &mut Table,
        name: &str,
        what: &str,
        round: impl FnMut() -> Result<u64>,
    ) -> Result<()> {
        let speed = self.speed(round)?;
        let thousands = |count: f64| format!("{:.0} thousand {what}", count / 1e3);
        add(
            table,
            name,
            "",
            thousands(speed.per_cpu_second),
            thousands(speed.per_second),
        );
        Ok(())
    }
}

fn add(table: &mut Table, name: &str, remark: &str, per_cpu_second: String, per_second: String) {
    table.add(vec![
        name.to_owned(),
        per_cpu_second,
        per_second,
        remark.to_owned(),
    ]);
}

/// Returns the CPU time that the calling thread has used.
#[cfg(unix)]
fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Returns nothing where it is not measured.
#[cfg(not(unix))]
fn thread_cpu_time() -> Duration {
    Duration::ZERO
}
