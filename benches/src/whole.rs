//! The executable from its start to its end: backups, restores, proofs; beside stock Kopia.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::agent::{Agent, Done, point_id, sum_over_disks};
use crate::kopia::{self, Counterpart, Kopia, Origin, RECORDED_IMAGE_BYTES, Recorded};
use crate::measured::Measured;
use crate::options::Options;
use crate::site::{REPOSITORY, Site};
use crate::table::{Table, mib, ratio, seconds};
use crate::test_image::Mix;

const COLUMNS: [&str; 9] = [
    "work",
    "wall",
    "CPU: user + system",
    "peak memory: resident, anonymous",
    "read",
    "uploaded",
    "stock Kopia: wall, CPU, added",
    "times as fast; CPU",
    "target",
];

/// What is compared with a target.
struct Work<'a> {
    name: &'a str,
    target: &'a str,
    kopia: Option<Counterpart>,
}

/// Measures everything that an image goes through.
pub fn measure(options: &Options, folder: &Path) -> Result<Vec<Table>> {
    let mut tables = Vec::new();
    let dense = options.dense.then_some(("dense", Mix::DENSE));
    for (name, mix) in [("half zeros", Mix::HALF_ZEROS)].into_iter().chain(dense) {
        let mut table = Table::new(
            format!("An image of {}, {name}", mib(options.image_bytes)),
            &COLUMNS,
        );
        eprintln!("{}", table.heading);
        let site = Site::with_image(options, folder.join(name), options.image_bytes, mix)?;
        measure_image(options, site, mix, &mut table)?;
        note_kopia(options, &mut table);
        tables.push(table);
    }
    let mut table = Table::new("Large and thin disks", &COLUMNS);
    eprintln!("{}", table.heading);
    for virtual_bytes in &options.thin_bytes {
        measure_thin(options, folder, *virtual_bytes, &mut table)?;
    }
    match options.large_bytes {
        Some(bytes) => measure_large(options, folder, bytes, &mut table)?,
        None => table.note("left out: the increment of a large image (`--large`)"),
    }
    tables.push(table);
    Ok(tables)
}

fn measure_image(options: &Options, mut site: Site, mix: Mix, table: &mut Table) -> Result<()> {
    let recorded = (mix == Mix::HALF_ZEROS).then_some(());
    let target = match mix == Mix::HALF_ZEROS {
        true => "6 times",
        false => "4 times, CPU 4",
    };
    let zstd = recorded.map(|()| Recorded::FullZstd);
    let (_, _) = full(options, &site, "zstd-fastest", zstd, "3 times", table)?;
    let none = recorded.map(|()| Recorded::Full);
    let (point, kopia) = full(options, &site, "none", none, target, table)?;
    restores(
        options,
        &site,
        &point,
        recorded.is_some(),
        kopia.as_ref(),
        table,
    )?;
    if recorded.is_some() {
        verify(options, &site, table)?;
        increments(options, &mut site, kopia.as_ref().map(|it| &it.0), table)?;
    }
    site.remove()
}

type KopiaWithSnapshot = (Kopia, String);

/// Full backups, each into a new repository; returns the last one's point, and stock Kopia with
/// its snapshot of the same.
fn full(
    options: &Options,
    site: &Site,
    compression: &str,
    recorded: Option<Recorded>,
    target: &str,
    table: &mut Table,
) -> Result<(String, Option<KopiaWithSnapshot>)> {
    let (mut runs, mut theirs, mut kopia) = (Vec::new(), Vec::new(), None);
    let mut point = String::new();
    for _ in 0..options.runs {
        site.agent.new_repository(REPOSITORY, compression)?;
        let done = site
            .agent
            .run_after_sync(&Site::backup_command(REPOSITORY))?;
        point = point_id(&done.answer)?;
        runs.push(done);
        if let Some(executable) = &options.kopia {
            drop(kopia.take());
            let new = Kopia::with_new_repository(
                executable,
                &site.kopia_folder(),
                compression,
                &options.clock,
            )?;
            let (cost, snapshot) = new.snapshot(&site.kopia_source())?;
            theirs.push(cost);
            kopia = Some((new, snapshot));
        }
    }
    let work = Work {
        name: &match compression {
            "none" => "full, no compression".to_owned(),
            _ => format!("full, {compression}"),
        },
        target,
        kopia: kopia::median(&theirs).or_else(|| recorded_figure(options, recorded)),
    };
    table.add(backup_row(&work, &runs));
    Ok((point, kopia))
}

fn restores(
    options: &Options,
    site: &Site,
    point: &str,
    has_recorded: bool,
    kopia: Option<&KopiaWithSnapshot>,
    table: &mut Table,
) -> Result<()> {
    let mut theirs = Vec::new();
    if let Some((kopia, snapshot)) = kopia {
        for _ in 0..options.runs {
            theirs.push(kopia.restore(snapshot)?);
        }
    }
    let recorded = has_recorded.then_some(Recorded::Restore);
    let counterpart = kopia::median(&theirs).or_else(|| recorded_figure(options, recorded));
    for format in ["vhdx", "raw"] {
        let file = format!("restored.{format}");
        let mut runs = Vec::new();
        for _ in 0..options.runs {
            site.agent.remove(&file)?;
            runs.push(restore_disk(&site.agent, REPOSITORY, point, &file, format)?);
        }
        let path = site.agent.path(&file);
        match format {
            "vhdx" => site.image.check_vhdx(&path)?,
            _ => site.image.check_raw(&path)?,
        }
        site.agent.remove(&file)?;
        let work = Work {
            name: &format!("restore to {format}"),
            target: if format == "vhdx" { "4 times" } else { "" },
            kopia: counterpart,
        };
        table.add(row(&work, &runs, String::new(), String::new()));
    }
    Ok(())
}

/// Restores a point's only disk.
pub fn restore_disk(
    agent: &Agent,
    repository: &str,
    point: &str,
    file: &str,
    format: &str,
) -> Result<Done> {
    let what = ["restore", "disk", point, "--repo", repository];
    agent.run_after_sync(&[&what[..], &["--to", file, "--format", format]].concat())
}

fn verify(options: &Options, site: &Site, table: &mut Table) -> Result<()> {
    let command = ["repo", "verify", "--repo", REPOSITORY, "--data", "100"];
    let mut runs = Vec::new();
    for _ in 0..options.runs {
        runs.push(site.agent.run_after_sync(&command)?);
    }
    let work = Work {
        name: "`repo verify --data 100`",
        target: "",
        kopia: None,
    };
    let read = runs
        .last()
        .and_then(|done| done.answer["read_bytes"].as_u64());
    table.add(row(&work, &runs, mib(read.unwrap_or(0)), String::new()));
    Ok(())
}

/// Increments on the point that is there, each after the guest wrote here and there.
fn increments(
    options: &Options,
    site: &mut Site,
    kopia: Option<&Kopia>,
    table: &mut Table,
) -> Result<()> {
    let (mut runs, mut theirs, mut changed) = (Vec::new(), Vec::new(), 0);
    for _ in 0..options.runs {
        changed = site.change()?;
        runs.push(
            site.agent
                .run_after_sync(&Site::backup_command(REPOSITORY))?,
        );
        if let Some(kopia) = kopia {
            theirs.push(kopia.snapshot(&site.kopia_source())?.0);
        }
    }
    let virtual_bytes = site.image.virtual_bytes();
    let is_large = virtual_bytes > RECORDED_IMAGE_BYTES;
    let times = u32::try_from(virtual_bytes / RECORDED_IMAGE_BYTES).unwrap_or(0);
    let recorded = match times {
        0 => None,
        1 => Some(Recorded::Increment.figure()),
        _ => Some(Recorded::Increment.times(times)),
    };
    let work = Work {
        name: &format!(
            "increment after {} were changed in places of 64 KiB",
            mib(changed)
        ),
        target: match is_large {
            true => "50 times; at most 5 times what changed uploaded",
            false => "15 times; at most 5 times what changed uploaded",
        },
        kopia: kopia::median(&theirs).or(recorded),
    };
    table.add(backup_row(&work, &runs));
    Ok(())
}

/// A disk on which next to nothing is: a full, an increment, a restore.
fn measure_thin(
    options: &Options,
    folder: &Path,
    virtual_bytes: u64,
    table: &mut Table,
) -> Result<()> {
    let folder = folder.join("thin");
    std::fs::create_dir_all(&folder).context("failed to make a folder")?;
    let agent = Agent::new(&options.agent, &folder, &options.clock);
    let size = virtual_bytes.to_string();
    agent.run(&["sim", "create", "host"])?;
    agent.run(&["sim", "add-vm", "host", "--name", "vm", "--new", &size])?;
    let write = |bytes: &str, seed: &str| {
        let random = ["--random", bytes, "--seed", seed];
        let what = ["sim", "write", "host", "--vm", "vm", "--disk", "0"];
        agent.run(&[&what[..], &random].concat())
    };
    write("32000000", "1")?;
    agent.new_repository(REPOSITORY, "zstd-fastest")?;
    let full = agent.run_after_sync(&Site::backup_command(REPOSITORY))?;
    write("1000000", "2")?;
    let increment = agent.run_after_sync(&Site::backup_command(REPOSITORY))?;
    let point = point_id(&increment.answer)?;
    let restore = restore_disk(&agent, REPOSITORY, &point, "restored.vhdx", "vhdx")?;
    let tib = virtual_bytes as f64 / (1u64 << 40) as f64;
    let works = [
        ("full of 32 MB", full),
        ("increment of 1 MB", increment),
        ("restore", restore),
    ];
    for (name, done) in works {
        let work = Work {
            name: &format!("thin disk of {tib} TiB: {name}"),
            target: "512 MiB",
            kopia: None,
        };
        let runs = [done];
        table.add(match name {
            "restore" => row(&work, &runs, String::new(), String::new()),
            _ => backup_row(&work, &runs),
        });
    }
    std::fs::remove_dir_all(&folder).context("failed to remove what was measured")
}

/// A large image, of which little is content so that it has room here.
fn measure_large(
    options: &Options,
    folder: &Path,
    virtual_bytes: u64,
    table: &mut Table,
) -> Result<()> {
    let mix = Mix {
        zeros_percent: 75,
        random_percent: 15,
    };
    let mut site = Site::with_image(options, folder.join("large"), virtual_bytes, mix)?;
    let once = Options {
        runs: 1,
        ..options.clone()
    };
    let (_, kopia) = full(&once, &site, "none", None, "", table)?;
    increments(options, &mut site, kopia.as_ref().map(|it| &it.0), table)?;
    table.note(format!(
        "the large image of {} is three quarters zeros",
        mib(virtual_bytes)
    ));
    site.remove()
}

/// Returns a recorded figure if it is about an image of the length that is measured.
fn recorded_figure(options: &Options, recorded: Option<Recorded>) -> Option<Counterpart> {
    let same_length = options.image_bytes == RECORDED_IMAGE_BYTES;
    recorded.filter(|_| same_length).map(Recorded::figure)
}

fn note_kopia(options: &Options, table: &mut Table) {
    if options.kopia.is_none() {
        table.note(
            "left out: stock kopia, which is neither named by KOPIA nor on PATH. Its figures are the recorded ones of version 0.23.1 on two quiet cores, where there are any, and so are the ratios",
        );
    }
}

fn backup_row(work: &Work<'_>, runs: &[Done]) -> Vec<String> {
    let median =
        |name| crate::measured::median(runs.iter().map(|done| sum_over_disks(&done.answer, name)));
    row(
        work,
        runs,
        mib(median("read_bytes")),
        mib(median("uploaded_bytes")),
    )
}

fn row(work: &Work<'_>, runs: &[Done], read: String, uploaded: String) -> Vec<String> {
    let costs: Vec<Measured> = runs.iter().map(|done| done.measured).collect();
    let ours = Measured::median(&costs);
    let (theirs, faster) = match &work.kopia {
        Some(kopia) => (describe(kopia), compare(kopia, &ours)),
        None => Default::default(),
    };
    vec![
        work.name.to_owned(),
        seconds(ours.wall),
        format!(
            "{}: {:.2} + {:.2}",
            seconds(ours.cpu()),
            ours.user.as_secs_f64(),
            ours.system.as_secs_f64()
        ),
        format!(
            "{}, {}",
            mib(ours.peak_resident_bytes),
            mib(ours.peak_anonymous_bytes)
        ),
        read,
        uploaded,
        theirs,
        faster,
        work.target.to_owned(),
    ]
}

fn describe(kopia: &Counterpart) -> String {
    let mut parts = vec![seconds(kopia.wall)];
    parts.extend(kopia.cpu.map(seconds));
    parts.extend(kopia.added_bytes.map(mib));
    let origin = match kopia.origin {
        Origin::Measured => String::new(),
        Origin::Recorded => " (recorded)".to_owned(),
        Origin::Multiplied(times) => format!(" ({times} times what was recorded for 4 GiB)"),
    };
    parts.join(", ") + &origin
}

fn compare(kopia: &Counterpart, ours: &Measured) -> String {
    let wall = ratio(kopia.wall, ours.wall);
    match kopia.cpu {
        Some(cpu) => format!("{wall}; {}", ratio(cpu, ours.cpu())),
        None => wall,
    }
}
