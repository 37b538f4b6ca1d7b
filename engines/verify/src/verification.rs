//! One verification, from the list of points to the list of damages.

use std::sync::Arc;
use std::time::Duration;

use kopia::directory::{DirectoryEntry, EntryType};
use point::{Point, PointErrorKind, Points};
use progress::Progress;
use repo::{LostContents, RepoErrorKind, Repository};
use snapshot::Remembered;

use crate::bad::{Bad, Reason, reason_of};
use crate::blobs;
use crate::bounds::Bounds;
use crate::error::{VerifyError, point_error, repo_error, stopped};
use crate::harm::{Harm, Window};
use crate::pack_scan::PackScan;
use crate::packs::Packs;
use crate::reading::{self, Draw, Findings, Sampler};
use crate::report::{Damage, Verification, VerifyOptions};
use crate::still_lost;
use crate::walk::Walk;

/// Damaged files of one point that are told; those beyond are counted.
const FILES_MAX: usize = 1000;

/// Verifies every complete snapshot of a repository, points of ours and others alike.
///
/// # Errors
/// If the store does not answer or the index cannot be read; damage of points is no error.
pub fn verify(
    repo: &Arc<Repository>,
    options: &VerifyOptions,
    progress: &Progress,
) -> Result<Verification, VerifyError> {
    let bounds = Bounds::default();
    let window = bounds.first_window();
    verify_within(repo, options, &bounds, window, progress)
}

/// Does so within these bounds, and keeps what is wanted in the window.
pub(crate) fn verify_within(
    repo: &Arc<Repository>,
    options: &VerifyOptions,
    bounds: &Bounds,
    window: Window,
    progress: &Progress,
) -> Result<Verification, VerifyError> {
    let points = Points::load(repo).map_err(point_error("list the restore points"))?;
    let chosen = choose(&points, options);
    let mut blobs = Vec::new();
    blobs::look(repo, options, progress, &mut blobs)?;
    progress.phase("listing packs");
    let packs = Packs::list(repo.store())?;
    let mut bad = Bad::telling(bounds.told);
    add_known_bad(repo, points.snapshots().verified().lost(), &mut bad)?;
    let findings = Findings::telling(bounds.told);
    let mut found = Verification::begin(packs.count(), Harm::within(window), bounds.named);
    let walk = Walk::new(repo, &packs, &bad, Harm::within(window));
    read_and_walk(&chosen, options, walk, &findings, progress, &mut found)?;
    let found_bad = findings.bad.into_inner().expect("no reader panics");
    if !found_bad.is_empty() {
        progress.phase("finding the files that are hurt");
        bad.append(found_bad);
        found.begin_again();
        let mut walk = Walk::new(repo, &packs, &bad, Harm::within(window));
        let walked = &chosen[..found.points as usize];
        let silent = progress_of_stop(progress);
        walk_points(repo, walked, &mut walk, None, &silent, &mut found)?;
        found.harm = walk.harm;
    }
    for (id, reason) in points.snapshots().unreadable() {
        found.note(Damage {
            point_id: id.clone(),
            source: String::new(),
            path: String::new(),
            reason: format!("its manifest cannot be read: {reason}"),
            ranges: Vec::new(),
        });
    }
    note_unreadable_manifests(repo, &points, &mut found.harm)?;
    found.read_contents = findings.contents.into_inner();
    found.read_bytes = findings.bytes.into_inner();
    let draw = Draw::new(options.data_percent, options.seed);
    PackScan::new(repo, progress)?.look(&draw, &mut blobs)?;
    found.blobs = blobs;
    found.corrected_blobs = repo.corrected_blobs();
    Ok(found)
}

/// Returns the points to be looked at, in order.
fn choose<'p>(points: &'p Points, options: &VerifyOptions) -> Vec<Point<'p>> {
    let mut chosen: Vec<Point<'p>> = points
        .iter()
        .filter(|point| {
            options.points.is_empty() || options.points.iter().any(|id| id == point.id())
        })
        .collect();
    if options.until.is_some() {
        chosen.sort_by_key(|point| point.remembered(points).and_then(Remembered::latest));
    }
    chosen
}

/// Adds what is remembered as lost and still cannot be read: at every depth it is looked at.
fn add_known_bad(
    repo: &Arc<Repository>,
    lost: &LostContents,
    bad: &mut Bad,
) -> Result<(), VerifyError> {
    still_lost::each(repo, lost, &mut |record, error| match error.kind() {
        kind if kind.is_damage() => {
            bad.add(record, || reason_of(&record.id, &error));
            Ok(())
        }
        _ => Err(error),
    })
    .map_err(repo_error("look at what was lost"))
}

/// Notes the contents that make manifests unreadable.
fn note_unreadable_manifests(
    repo: &Arc<Repository>,
    points: &Points,
    harm: &mut Harm,
) -> Result<(), VerifyError> {
    for (id, _) in points.snapshots().manifests().unreadable() {
        let record = repo.find(id).map_err(repo_error("look for manifests"))?;
        match record {
            Some(record) => harm.unreadable(&record),
            None => harm.missing(*id),
        }
    }
    Ok(())
}

/// Walks through points while readers read what the walk draws.
fn read_and_walk(
    points: &[Point<'_>],
    options: &VerifyOptions,
    mut walk: Walk<'_>,
    findings: &Findings,
    progress: &Progress,
    found: &mut Verification,
) -> Result<(), VerifyError> {
    let repo = walk.repository();
    let readers = if options.data_percent > 0.0 {
        options.readers.max(1)
    } else {
        0
    };
    let walked = std::thread::scope(|scope| {
        let (to_readers, batches) = crossbeam_channel::bounded(readers * 2);
        for _ in 0..readers {
            let batches = batches.clone();
            scope.spawn(move || reading::read_all(repo, &batches, findings));
        }
        drop(batches);
        let draw = Draw::new(options.data_percent, options.seed);
        match readers {
            0 => drop(to_readers),
            _ => walk.sample(Sampler::new(draw, to_readers)),
        }
        let walked = walk_points(repo, points, &mut walk, options.until, progress, found);
        walk.finish();
        found.files = walk.files;
        found.references = walk.references;
        found.harm = walk.harm;
        walked
    });
    reading::check_failure(findings)?;
    walked
}

fn walk_points(
    repo: &Arc<Repository>,
    points: &[Point<'_>],
    walk: &mut Walk<'_>,
    until: Option<Duration>,
    progress: &Progress,
    found: &mut Verification,
) -> Result<(), VerifyError> {
    let count = points.len();
    for (number, point) in points.iter().enumerate() {
        progress.stop.check().map_err(stopped)?;
        if until.is_some_and(|until| repo.clock().monotonic() >= until) {
            found.points_left = (count - number) as u64;
            return Ok(());
        }
        found.points = number as u64 + 1;
        let progress = progress.about(format!("point {} of {count}", number + 1));
        let bytes = u64::try_from(point.snapshot().manifest.stats.total_size).unwrap_or(0);
        progress.disk_begins(0, bytes);
        walk_point(repo, point, walk, &progress, found)?;
        progress.disk_ends(0);
        progress.ends(true);
    }
    Ok(())
}

fn walk_point(
    repo: &Arc<Repository>,
    point: &Point<'_>,
    walk: &mut Walk<'_>,
    progress: &Progress,
    found: &mut Verification,
) -> Result<(), VerifyError> {
    let source = &point.snapshot().manifest.source;
    let source = format!("{}@{}:{}", source.user_name, source.host, source.path);
    let damage = |path: &str, reason: &str, ranges: Vec<(u64, u64)>| Damage {
        point_id: point.id().to_owned(),
        source: source.clone(),
        path: path.to_owned(),
        reason: reason.to_owned(),
        ranges,
    };
    let root = match point.root() {
        Ok(root) => root,
        Err(error) => {
            found.note(damage("", &error.to_string(), Vec::new()));
            return Ok(());
        }
    };
    found.look_at(root.object);
    let is_ours = point.point().is_some();
    let mut hurt: Vec<(String, Reason, DirectoryEntry)> = Vec::new();
    let mut not_kept = 0;
    walk.tree(root, is_ours, progress, &mut |path, reason, entry| {
        if hurt.len() < FILES_MAX {
            hurt.push((path.to_owned(), Arc::clone(reason), entry.clone()));
        } else {
            not_kept += 1;
        }
    })?;
    found.count_of(root, not_kept);
    for (path, reason, entry) in &hurt {
        let ranges = match entry.entry_type {
            EntryType::File => walk.damaged_ranges(entry)?,
            _ => Vec::new(),
        };
        found.note_of(root, damage(path, reason, ranges));
    }
    if !is_ours || !hurt.is_empty() {
        return Ok(());
    }
    // All of its parts are there; now whether they are what the point says of itself.
    match point.open(repo) {
        Ok(opened) => {
            for disk in opened
                .descriptor()
                .disks
                .iter()
                .filter(|disk| opened.disk_object(disk).is_none())
            {
                let path = disk.path();
                let reason = "the point lists this disk and does not hold it";
                found.note_of(root, damage(&path, reason, Vec::new()));
            }
        }
        Err(error) => match error.kind() {
            PointErrorKind::Repo(RepoErrorKind::Stopped) => {
                return Err(point_error("open a point")(error));
            }
            PointErrorKind::Repo(kind) if !kind.is_damage() => {
                return Err(point_error("open a point")(error));
            }
            _ => {
                let found_damage = damage(point::DESCRIPTOR_NAME, &error.to_string(), Vec::new());
                found.note_of(root, found_damage);
            }
        },
    }
    Ok(())
}

fn progress_of_stop(progress: &Progress) -> Progress {
    Progress {
        stop: progress.stop.clone(),
        ..Progress::silent()
    }
}
