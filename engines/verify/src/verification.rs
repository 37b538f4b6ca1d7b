//! One verification, from the list of points to the list of damages.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kopia::content_id::ContentId;
use point::{Point, PointErrorKind, Points};
use progress::Progress;
use repo::{RepoErrorKind, Repository};

use crate::error::{VerifyError, is_damage, point_error, stopped};
use crate::packs::Packs;
use crate::reading::{self, Draw, Findings, Sampler};
use crate::walk::{Reason, Walk};

/// Damages beyond this many are counted, not listed.
const DAMAGES_MAX: usize = 10_000;

/// How thoroughly to verify.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifyOptions {
    /// The share of all contents that is read, from 0 to 100; the structure is always checked.
    pub data_percent: f64,
    /// Draws the contents that are read.
    pub seed: u64,
    /// How many readers work at once.
    pub readers: usize,
}

/// Something that cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The manifest id of the point it hurts.
    pub point_id: String,
    /// Where the point is filed, as `user@host:path`.
    pub source: String,
    /// The file in the point; empty if it is the point as a whole.
    pub path: String,
    /// What is wrong.
    pub reason: String,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// Points and snapshots looked at.
    pub points: u64,
    /// Files in them; those of a directory that several points share count once.
    pub files: u64,
    /// References to contents that were followed; those of a list that several files share count
    /// once.
    pub references: u64,
    /// Packs in the store.
    pub packs: u64,
    /// Contents that were read and compared.
    pub read_contents: u64,
    /// Their plain bytes.
    pub read_bytes: u64,
    /// The names of blobs that are damaged in what was read of them, though not beyond what the
    /// repository's error correction makes up for.
    pub corrected_blobs: Vec<String>,
    /// What is damaged.
    pub damages: Vec<Damage>,
    /// How many damages more there are than are listed.
    pub damages_not_listed: u64,
}

impl Verification {
    /// Returns whether nothing is damaged; what error correction made up for does not count.
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty()
    }
}

/// Verifies every complete snapshot of a repository, points of ours and others alike.
///
/// # Errors
/// If the store does not answer or the index cannot be read; damage of points is no error.
pub fn verify(
    repo: &Arc<Repository>,
    options: &VerifyOptions,
    progress: &Progress,
) -> Result<Verification, VerifyError> {
    let points = Points::load(repo).map_err(point_error("list the restore points"))?;
    progress.phase("listing packs");
    let packs = Packs::list(repo.store())?;
    let findings = Findings::default();
    let mut found = read_and_walk(repo, &points, &packs, options, &findings, progress)?;
    let bad = std::mem::take(&mut *findings.bad.lock().expect("no reader panics"));
    if !bad.is_empty() {
        // Which points and files the unreadable contents hurt, a second walk tells.
        progress.phase("finding the files that are hurt");
        found.damages = Vec::new();
        found.damages_not_listed = 0;
        let mut walk = Walk::new(repo, &packs, &bad, None);
        walk_points(
            repo,
            &points,
            &mut walk,
            &progress_of_stop(progress),
            &mut found,
        )?;
    }
    for (id, reason) in points.snapshots().unreadable() {
        found.note(Damage {
            point_id: id.clone(),
            source: String::new(),
            path: String::new(),
            reason: format!("its manifest cannot be read: {reason}"),
        });
    }
    found.read_contents = findings.contents.load(Ordering::Relaxed);
    found.read_bytes = findings.bytes.load(Ordering::Relaxed);
    found.corrected_blobs = repo.corrected_blobs();
    Ok(found)
}

/// Walks through all points while readers read what the walk draws.
fn read_and_walk(
    repo: &Arc<Repository>,
    points: &Points,
    packs: &Packs,
    options: &VerifyOptions,
    findings: &Findings,
    progress: &Progress,
) -> Result<Verification, VerifyError> {
    let none_bad: HashMap<ContentId, Reason> = HashMap::new();
    let mut found = Verification {
        points: 0,
        files: 0,
        references: 0,
        packs: packs.count(),
        read_contents: 0,
        read_bytes: 0,
        corrected_blobs: Vec::new(),
        damages: Vec::new(),
        damages_not_listed: 0,
    };
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
        let sampler = (readers > 0)
            .then(|| Sampler::new(Draw::new(options.data_percent, options.seed), to_readers));
        let mut walk = Walk::new(repo, packs, &none_bad, sampler);
        let walked = walk_points(repo, points, &mut walk, progress, &mut found);
        walk.finish();
        found.files = walk.files;
        found.references = walk.references;
        walked
    });
    reading::check_failure(findings)?;
    walked.map(|()| found)
}

fn walk_points(
    repo: &Arc<Repository>,
    points: &Points,
    walk: &mut Walk<'_>,
    progress: &Progress,
    found: &mut Verification,
) -> Result<(), VerifyError> {
    let count = points.iter().count();
    found.points = count as u64;
    for (number, point) in points.iter().enumerate() {
        progress.stop.check().map_err(stopped)?;
        let progress = progress.about(format!("point {} of {count}", number + 1));
        let bytes = u64::try_from(point.snapshot().manifest.stats.total_size).unwrap_or(0);
        progress.disk_begins(0, bytes);
        walk_point(repo, &point, walk, &progress, found)?;
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
    let damage = |path: &str, reason: &str| Damage {
        point_id: point.id().to_owned(),
        source: source.clone(),
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let root = match point.root() {
        Ok(root) => root,
        Err(error) => {
            found.note(damage("", &error.to_string()));
            return Ok(());
        }
    };
    let is_ours = point.point().is_some();
    let mut is_sound = true;
    walk.tree(root, is_ours, progress, &mut |path, reason| {
        is_sound = false;
        found.note(damage(path, reason));
    })?;
    if !is_ours || !is_sound {
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
                found.note(damage(
                    &format!("{}/{}", point::DISKS_FOLDER, disk.file),
                    "the point lists this disk and does not hold it",
                ));
            }
        }
        Err(error) => match error.kind() {
            PointErrorKind::Repo(RepoErrorKind::Stopped) => {
                return Err(point_error("open a point")(error));
            }
            PointErrorKind::Repo(kind) if !is_damage(kind) => {
                return Err(point_error("open a point")(error));
            }
            _ => found.note(damage(point::DESCRIPTOR_NAME, &error.to_string())),
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

impl Verification {
    fn note(&mut self, damage: Damage) {
        if self.damages.len() < DAMAGES_MAX {
            self.damages.push(damage);
        } else {
            self.damages_not_listed += 1;
        }
    }
}
