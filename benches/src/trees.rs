//! Trees of many small files and of a few long ones: the first backup, and one of an unchanged
//! tree; beside stock Kopia.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use time_and_chance::Chance;

use crate::agent::{Agent, Done};
use crate::kopia::{self, Counterpart, Kopia};
use crate::measured::{self, Measured};
use crate::options::Options;
use crate::table::{Table, mib, ratio, seconds};
use crate::test_image::{Mix, TestImage};

const COLUMNS: [&str; 9] = [
    "work",
    "wall",
    "CPU",
    "peak memory: resident, anonymous",
    "read",
    "uploaded",
    "stock Kopia: wall, CPU",
    "times as fast",
    "target",
];

const REPOSITORY: &str = "repository";
const TREE: &str = "tree";
const FILES_PER_FOLDER: u64 = 100;
const FOLDERS_PER_FOLDER: u64 = 100;
/// Files have up to this length.
const FILE_BYTES_MAX: u64 = 2048;

/// How many long files a tree has.
const LONG_FILES: u64 = 2;

/// Measures trees of each number of files, and of each length, that the options name.
pub fn measure(options: &Options, folder: &Path) -> Result<Vec<Table>> {
    let mut tables = Vec::new();
    for files in &options.files {
        let heading = format!("A tree of {files} small files");
        let make = |root: &Path| make_small_files(root, *files);
        tables.push(measure_one(options, folder, heading, &make)?);
    }
    for bytes in &options.long_file_bytes {
        let heading = format!("A tree of {LONG_FILES} files of {} MiB", bytes >> 20);
        let make = |root: &Path| make_long_files(root, *bytes);
        tables.push(measure_one(options, folder, heading, &make)?);
    }
    Ok(tables)
}

fn measure_one(
    options: &Options,
    folder: &Path,
    heading: String,
    make: &dyn Fn(&Path) -> Result<()>,
) -> Result<Table> {
    let mut table = Table::new(heading, &COLUMNS);
    eprintln!("{}", table.heading);
    let folder = folder.join("trees");
    make(&folder.join(TREE))?;
    measure_tree(options, &folder, &mut table)?;
    if options.kopia.is_none() {
        table.note("left out: stock kopia, which is neither named by KOPIA nor on PATH");
    }
    std::fs::remove_dir_all(&folder).context("failed to remove the tree")?;
    Ok(table)
}

/// What both programs took, run by run.
#[derive(Default)]
struct Runs {
    ours: Vec<Done>,
    theirs: Vec<Counterpart>,
}

fn measure_tree(options: &Options, folder: &Path, table: &mut Table) -> Result<()> {
    let agent = Agent::new(&options.agent, folder, &options.clock);
    let command = ["backup", "files", TREE, "--repo", REPOSITORY];
    let (mut first, mut unchanged) = (Runs::default(), Runs::default());
    for _ in 0..options.runs {
        agent.new_repository(REPOSITORY, "none")?;
        let kopia = match &options.kopia {
            Some(executable) => {
                let place = folder.join("kopia");
                let clock = &options.clock;
                Some(Kopia::with_new_repository(
                    executable, &place, "none", clock,
                )?)
            }
            None => None,
        };
        for runs in [&mut first, &mut unchanged] {
            runs.ours.push(agent.run_after_sync(&command)?);
            if let Some(kopia) = &kopia {
                runs.theirs.push(kopia.snapshot(&folder.join(TREE))?.0);
            }
        }
    }
    table.add(row("first backup", "2 times", &first));
    table.add(row("unchanged", "5 times", &unchanged));
    Ok(())
}

fn row(work: &str, target: &str, runs: &Runs) -> Vec<String> {
    let costs: Vec<Measured> = runs.ours.iter().map(|done| done.measured).collect();
    let ours = Measured::median(&costs);
    let theirs = kopia::median(&runs.theirs);
    let sum = |name| {
        let all = runs.ours.iter();
        measured::median(all.map(|done| done.answer["sources"][0][name].as_u64().unwrap_or(0)))
    };
    let shown = theirs.map(|theirs| {
        let cpu = theirs.cpu.map(seconds).unwrap_or_default();
        format!("{}, {cpu}", seconds(theirs.wall))
    });
    vec![
        work.to_owned(),
        seconds(ours.wall),
        seconds(ours.cpu()),
        format!(
            "{}, {}",
            mib(ours.peak_resident_bytes),
            mib(ours.peak_anonymous_bytes)
        ),
        mib(sum("read_bytes")),
        mib(sum("uploaded_bytes")),
        shown.unwrap_or_default(),
        theirs
            .map(|theirs| ratio(theirs.wall, ours.wall))
            .unwrap_or_default(),
        target.to_owned(),
    ]
}

/// Makes a tree of a few files, as random and as compressible as dense disks are.
fn make_long_files(root: &Path, bytes: u64) -> Result<()> {
    std::fs::create_dir_all(root).context("failed to make the tree")?;
    for number in 0..LONG_FILES {
        let content = TestImage::new(bytes, Mix::DENSE, number);
        content.write_raw(&root.join(format!("{number}.bin")))?;
    }
    Ok(())
}

/// Makes a tree of files, no two of which are equal.
pub fn make_small_files(root: &Path, files: u64) -> Result<()> {
    let chance = Chance::from_seed(files);
    let mut content = vec![0; FILE_BYTES_MAX as usize];
    for number in 0..files {
        let folder = folder_of(root, number);
        if number.is_multiple_of(FILES_PER_FOLDER) {
            std::fs::create_dir_all(&folder).context("failed to make the tree")?;
        }
        let bytes = 1 + chance.below(FILE_BYTES_MAX) as usize;
        chance.fill(&mut content[..bytes]);
        std::fs::write(folder.join(format!("{number}.txt")), &content[..bytes])
            .context("failed to make the tree")?;
    }
    Ok(())
}

fn folder_of(root: &Path, number: u64) -> PathBuf {
    let folder = number / FILES_PER_FOLDER;
    let above = folder / FOLDERS_PER_FOLDER;
    root.join(above.to_string()).join(folder.to_string())
}
