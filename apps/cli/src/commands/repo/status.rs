//! `repo status`: what a repository is, what it holds, how it is kept, how stock Kopia connects to it.

use std::fmt::Write as _;
use std::sync::Arc;

use ::maintain::{Census, Overview};
use blob::{Location, Space};
use clap::Args;
use kopia::compression::CompressionAlgorithm;
use kopia::format_blob::{BlobConfig, RepositoryFormat};
use kopia::maintenance::{MaintenanceCycle, MaintenanceParameters};
use kopia::snapshot::SnapshotSource;
use point::Points;
use progress::Progress;
use repo::{Repository, ScheduleKeeper};
use serde_json::{Value, json};
use snapshot::{Snapshot, compression_for};
use time_and_chance::{SignedDuration, Timestamp};

use super::connect_command::connect_command;
use crate::amounts;
use crate::answer::Answer;
use crate::credentials;
use crate::display::Subjects;
use crate::failure::Failure;
use crate::repositories::RepoArguments;
use crate::world::World;

/// Beyond this, nothing is backed up or deleted: ages would be wrong.
const CLOCK_OFFSET_SECONDS_MAX: i64 = 300;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  e3-backup-agent repo status --repo /srv/backup

Nothing is changed. Contents and blobs are counted, which takes a minute where there are many
millions of them.")]
pub struct Status {
    #[command(flatten)]
    repo: RepoArguments,
}

impl Status {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let location = self.repo.location()?;
        let repo = self.repo.open(world)?;
        let remembered = KeptHere::look(world, &location);
        let progress = world.progress(Subjects::Wholes);
        let found = Found::look(location, &repo, remembered, &progress)?;
        Ok(Answer::new(found.text(), found.document()))
    }
}

/// All that is told.
struct Found {
    location: Location,
    unique_id: String,
    warnings: Vec<String>,
    format: RepositoryFormat,
    locks: BlobConfig,
    compression: &'static str,
    points: PointCounts,
    census: Census,
    maintenance: Option<MaintenanceParameters>,
    overview: Overview,
    space: Option<Space>,
    clock_offset_seconds: Option<i64>,
    remembered: KeptHere,
    now: Timestamp,
}

/// What this machine remembers to open the repository with.
enum KeptHere {
    Nothing,
    Password,
    PasswordAndKeys,
    /// Something is kept that cannot be used, and why.
    Unusable(String),
}

/// What the manifests count.
#[derive(Default)]
struct PointCounts {
    of_vms: u64,
    other_snapshots: u64,
    incomplete: u64,
    unreadable: u64,
    /// What all of them hold together, each for itself.
    bytes: u64,
}

impl Found {
    fn look(
        location: Location,
        repo: &Arc<Repository>,
        remembered: KeptHere,
        progress: &Progress,
    ) -> Result<Self, Failure> {
        let points = Points::load(repo)?;
        let manifests = points.snapshots().manifests();
        let schedule = ScheduleKeeper::new(repo)?.read()?;
        let store_time = repo.store().time()?;
        let now = repo.clock().now();
        Ok(Self {
            unique_id: repo.unique_id_hex(),
            warnings: repo.warnings().to_vec(),
            format: repo.format(),
            locks: repo.blob_config(),
            compression: compression_for(manifests, &everyone())?
                .map_or("none", CompressionAlgorithm::name),
            points: PointCounts::of(&points),
            maintenance: manifests.maintenance()?,
            overview: Overview::of(schedule.as_ref()),
            census: Census::take(repo, store_time.unwrap_or(now), progress)?,
            space: repo.store().space()?,
            clock_offset_seconds: store_time.map(|time| time.as_second() - now.as_second()),
            remembered,
            location,
            now,
        })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |what: &str, value: String| {
            let _ = writeln!(text, "{what:<12}{value}");
        };
        let (format, census) = (&self.format, &self.census);
        line("location", self.location.to_string());
        line("unique id", self.unique_id.clone());
        line("format", format!("version {}", format.version));
        line("hash", format.hash.clone());
        line("encryption", format.encryption.clone());
        line("splitter", format.splitter.clone());
        line("compression", self.compression.to_owned());
        if !format.ecc.is_empty() {
            let percent = format.ecc_overhead_percent;
            line("correction", format!("{}, {percent} %", format.ecc));
        }
        line("points", self.points.text());
        line(
            "contents",
            format!(
                "{} live, {} marked deleted",
                census.live.count, census.deleted.count
            ),
        );
        line("stored", self.stored());
        line(
            "blobs",
            format!(
                "{} packs, {}; {} index blobs, {}; {} in all, {}",
                census.packs.count,
                amounts::bytes(census.packs.bytes),
                census.indexes.count,
                amounts::bytes(census.indexes.bytes),
                census.blobs.count,
                amounts::bytes(census.blobs.bytes)
            ),
        );
        if let Some(epoch) = census.epoch {
            line("epoch", epoch.to_string());
        }
        line("sessions", sessions(census));
        line("locks", locks(&self.locks));
        self.maintenance_lines(&mut line);
        line("clock", self.clock());
        line("password", self.remembered.text());
        if let Some(space) = self.space {
            let (free, total) = (space.free_bytes, space.total_bytes);
            let room = format!("{} free of {}", amounts::bytes(free), amounts::bytes(total));
            line("room", room);
        }
        let command = connect_command(&self.location);
        let _ = writeln!(text, "Stock Kopia connects with:\n  {command}");
        text
    }

    /// What the points hold, what that is stored once, and what that is compressed.
    fn stored(&self) -> String {
        let (all, once) = (self.points.bytes, self.census.live_original_bytes);
        let packed = self.census.live.bytes;
        format!(
            "{} in points; each content once {}{}; in packs {}{}",
            amounts::bytes(all),
            amounts::bytes(once),
            saved("deduplication", all, once),
            amounts::bytes(packed),
            saved("compression", once, packed)
        )
    }

    fn maintenance_lines(&self, line: &mut dyn FnMut(&str, String)) {
        let overview = &self.overview;
        let Some(parameters) = &self.maintenance else {
            line("maintenance", "owned by nobody yet".to_owned());
            return;
        };
        line("maintenance", format!("owned by {}", parameters.owner));
        for (kind, cycle, last, next) in [
            (
                "quick",
                parameters.quick,
                overview.last_quick,
                overview.next_quick,
            ),
            (
                "full",
                parameters.full,
                overview.last_full,
                overview.next_full,
            ),
        ] {
            line("", self.cycle(kind, cycle, last, next));
        }
        for failed in &overview.failed {
            let at = amounts::time(failed.at);
            line(
                "",
                format!("{} failed, {at}: {}", failed.task, failed.error),
            );
        }
    }

    fn cycle(
        &self,
        kind: &str,
        cycle: MaintenanceCycle,
        last: Option<Timestamp>,
        next: Option<Timestamp>,
    ) -> String {
        let last = last.map_or_else(|| "never".to_owned(), amounts::time);
        let next = match next {
            _ if !cycle.enabled => "switched off".to_owned(),
            Some(next) if next > self.now => format!("due {}", amounts::time(next)),
            Some(next) if next > Timestamp::UNIX_EPOCH => {
                format!("overdue since {}", amounts::time(next))
            }
            _ => "due".to_owned(),
        };
        format!("{kind}: last {last}, {next}")
    }

    fn clock(&self) -> String {
        match self.clock_offset_seconds {
            None => "the store does not tell its time".to_owned(),
            Some(offset) if offset.abs() <= 2 => "the same as the store's".to_owned(),
            Some(offset) => {
                let direction = if offset > 0 { "behind" } else { "ahead of" };
                let off = offset.abs();
                let too_much = match off > CLOCK_OFFSET_SECONDS_MAX {
                    true => ": set it right, nothing is written until then",
                    false => "",
                };
                format!("this machine's is {off} s {direction} the store's{too_much}")
            }
        }
    }

    fn document(&self) -> Value {
        let Self {
            format,
            census,
            overview,
            ..
        } = self;
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let seconds = |ns: i64| SignedDuration::from_nanos(ns).as_secs();
        let of_cycle = |cycle: Option<MaintenanceCycle>, last, next: Option<Timestamp>| {
            json!({
                "enabled": cycle.is_some_and(|cycle| cycle.enabled),
                "interval_seconds": cycle.map(|cycle| seconds(cycle.interval_ns)),
                "last": time(last),
                "next": time(next.filter(|next| *next > Timestamp::UNIX_EPOCH)),
            })
        };
        let parameters = self.maintenance.as_ref();
        json!({
            "location": self.location.to_string(),
            "unique_id": self.unique_id,
            "format_version": format.version,
            "hash": format.hash,
            "encryption": format.encryption,
            "splitter": format.splitter,
            "compression": self.compression,
            "error_correction": (!format.ecc.is_empty()).then(|| json!({
                "algorithm": format.ecc,
                "overhead_percent": format.ecc_overhead_percent,
            })),
            "vm_points": self.points.of_vms,
            "other_snapshots": self.points.other_snapshots,
            "incomplete_snapshots": self.points.incomplete,
            "unreadable_manifests": self.points.unreadable,
            "points_bytes": self.points.bytes,
            "contents": census.live.count,
            "packed_bytes": census.live.bytes,
            "original_bytes": census.live_original_bytes,
            "deduplication_saved_bytes": self.points.bytes.saturating_sub(census.live_original_bytes),
            "compression_saved_bytes": census.live_original_bytes.saturating_sub(census.live.bytes),
            "deleted_contents": census.deleted.count,
            "deleted_packed_bytes": census.deleted.bytes,
            "packs": census.packs.count,
            "pack_bytes": census.packs.bytes,
            "index_blobs": census.indexes.count,
            "index_bytes": census.indexes.bytes,
            "log_blobs": census.logs.count,
            "log_bytes": census.logs.bytes,
            "blobs": census.blobs.count,
            "stored_bytes": census.blobs.bytes,
            "epoch": census.epoch,
            "sessions_alive": census.sessions_alive,
            "sessions_dead": census.sessions_dead,
            "object_lock": self.locks.locks_blobs().then(|| json!({
                "mode": self.locks.retention_mode,
                "period_seconds": seconds(self.locks.retention_period_ns),
                "extended": parameters.is_some_and(|it| it.extend_object_locks),
            })),
            "maintenance": {
                "owner": parameters.map(|it| it.owner.as_str()),
                "quick": of_cycle(parameters.map(|it| it.quick), overview.last_quick, overview.next_quick),
                "full": of_cycle(parameters.map(|it| it.full), overview.last_full, overview.next_full),
                "failed": overview.failed.iter().map(|it| json!({
                    "task": it.task,
                    "at": it.at.to_string(),
                    "error": it.error,
                })).collect::<Vec<_>>(),
            },
            "clock_offset_seconds": self.clock_offset_seconds,
            "free_bytes": self.space.map(|space| space.free_bytes),
            "password_remembered": self.remembered.has_password(),
            "s3_keys_remembered": self.remembered.has_keys(),
            "warnings": self.warnings,
            "connect_command": connect_command(&self.location),
        })
    }
}

impl KeptHere {
    fn look(world: &World, location: &Location) -> Self {
        let kept = credentials::keeper(world, location).and_then(|keeper| match keeper {
            Some(keeper) => Ok(keeper.read()?),
            None => Ok(None),
        });
        match kept {
            Ok(None) => Self::Nothing,
            Ok(Some(kept)) if kept.s3_keys.is_some() => Self::PasswordAndKeys,
            Ok(Some(_)) => Self::Password,
            Err(failure) => Self::Unusable(failure.to_string()),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Nothing => "not remembered on this machine".to_owned(),
            Self::Password => "remembered on this machine".to_owned(),
            Self::PasswordAndKeys => "remembered on this machine, with S3 keys".to_owned(),
            Self::Unusable(why) => why.clone(),
        }
    }

    /// `None` if it cannot be told.
    fn has_password(&self) -> Option<bool> {
        match self {
            Self::Nothing => Some(false),
            Self::Password | Self::PasswordAndKeys => Some(true),
            Self::Unusable(_) => None,
        }
    }

    /// `None` if it cannot be told.
    fn has_keys(&self) -> Option<bool> {
        self.has_password()
            .map(|_| matches!(self, Self::PasswordAndKeys))
    }
}

impl PointCounts {
    fn of(points: &Points) -> Self {
        let mut counts = Self {
            unreadable: points.snapshots().unreadable().len() as u64,
            ..Self::default()
        };
        for point in points.iter() {
            let snapshot = point.snapshot();
            if !snapshot.manifest.incomplete.is_empty() {
                counts.incomplete += 1;
                continue;
            }
            let bytes = &mut counts.bytes;
            *bytes = bytes.saturating_add(bytes_of(snapshot));
            match point.point() {
                Some(_) => counts.of_vms += 1,
                None => counts.other_snapshots += 1,
            }
        }
        counts
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} of VMs, {} other snapshots",
            self.of_vms, self.other_snapshots
        );
        for (count, what) in [
            (self.incomplete, "incomplete"),
            (self.unreadable, "manifests unreadable"),
        ] {
            if count > 0 {
                let _ = write!(text, ", {count} {what}");
            }
        }
        text
    }
}

fn bytes_of(snapshot: &Snapshot) -> u64 {
    let root = snapshot.manifest.root_entry.as_ref();
    let summary = root.and_then(|root| root.summary.as_ref());
    let stats = snapshot.manifest.stats.total_size;
    summary.map_or_else(|| u64::try_from(stats).unwrap_or(0), |summary| summary.size)
}

fn everyone() -> SnapshotSource {
    SnapshotSource {
        host: String::new(),
        user_name: String::new(),
        path: String::new(),
    }
}

/// Says how much was saved, where something was.
fn saved(by: &str, before: u64, after: u64) -> String {
    match before.saturating_sub(after) {
        0 => String::new(),
        _ => {
            let percent = 100.0 - after as f64 / before as f64 * 100.0;
            format!(" ({by} saves {percent:.0} %)")
        }
    }
}

fn sessions(census: &Census) -> String {
    match census.sessions_dead {
        0 => format!("{} alive", census.sessions_alive),
        dead => format!("{} alive, {dead} dead", census.sessions_alive),
    }
}

fn locks(config: &BlobConfig) -> String {
    if !config.locks_blobs() {
        return "none".to_owned();
    }
    let period = SignedDuration::from_nanos(config.retention_period_ns).unsigned_abs();
    format!(
        "{}, {} from when a blob is written",
        config.retention_mode,
        amounts::duration(period)
    )
}
