//! `repo verify`: whether every restore point can still be read; with `--repair`, mends what is not.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use ::verify::{
    BlobRole, LostManifests, Mended, MendedKind, Repair, Repaired, Verification, VerifyOptions,
    verify,
};
use clap::Args;
use point::Points;
use repo::Repository;
use serde_json::{Value, json};

use crate::amounts;
use crate::answer::Answer;
use crate::commands::points::list;
use crate::display::Subjects;
use crate::failure::{FAILED, Failure, FailureKind};
use crate::plain;
use crate::repositories::RepoArguments;
use crate::verified;
use crate::world::World;

/// Contents read at once.
const READERS: usize = 8;

/// What is to be said of packs that no index names.
const NOT_LISTED: &str = "\
what no index names is in no list: points may be missing, and `repo verify --repair` brings back what can be had
";

/// What giving manifests up means.
const GIVING_UP: &str = "\
Points that were listed only in lost manifests are no longer listed, and maintenance collects their data
after its safety intervals; until then they come back with the lost blob and `repo verify --repair`.
Policies that stood only there are gone: look at `policy show` before the next backup or `points expire`.";

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent repo verify --repo /srv/backup              the structure: everything is there
  e3-backup-agent repo verify --repo /srv/backup --data 5     and a twentieth of it can be read
  e3-backup-agent repo verify --repo /srv/backup --data 100   and all of it is what was stored
  e3-backup-agent repo verify --repo /srv/backup --data 100 --max-minutes 240    a night's portion
  e3-backup-agent repo verify --repo /srv/backup --data 100 --repair --dry-run   what is to mend
  e3-backup-agent repo verify --repo /srv/backup --repair --give-up-lost-manifests --dry-run

What was found is remembered in the repository: `points list` shows when each point was last proven,
and how deep. Exit status 1 if anything is damaged; each damage is named with the point, the file
and the range it hurts. The next backup stores again what is lost. Damage that the repository's
error correction made up for is a warning, and so is damage of blobs that no point needs.

--repair rebuilds lost index blobs from the packs and stores damaged contents again from any sound
copy. Only the owner of the maintenance may do it, since damaged index blobs are deleted in the end.
With keys that may not delete those are left and named, the rest is mended, the exit status is 3.

Where manifests are lost for good, nothing is listed without an error and nothing collected: they
may have been points. --give-up-lost-manifests searches every other place, then marks what held
them deleted. Points that were listed only there are lost, and maintenance collects their data;
until then they come back with the lost blob. Policies that stood only there must be set again.
Nobody can say how many there were, so it takes --yes; --dry-run shows which contents it is about.")]
pub struct Verify {
    #[command(flatten)]
    repo: RepoArguments,
    /// Read this share of all contents, decrypt them and compare their hashes.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    data: f64,
    /// Draw the contents that are read by this seed [default: a new one, which is printed].
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Only these points: ids, UUIDs, or the beginnings of either.
    #[arg(long, value_name = "ID", num_args = 1..)]
    point: Vec<String>,
    /// Begin no further point after so many minutes; those proven longest ago come first.
    #[arg(long, value_name = "MINUTES")]
    max_minutes: Option<u64>,
    /// Remember the result on this machine alone; nothing is written into the repository.
    #[arg(long, conflicts_with = "repair")]
    local: bool,
    /// Mend what can be had from elsewhere, then verify.
    #[arg(long)]
    repair: bool,
    /// Change nothing and tell what would be mended.
    #[arg(long, requires = "repair")]
    dry_run: bool,
    /// Become the owner of the repository's maintenance first; the owner so far stops then.
    #[arg(long, requires = "repair")]
    take_ownership: bool,
    /// Accept that manifests are lost which cannot be had from anywhere, points among them.
    #[arg(long, requires = "repair")]
    give_up_lost_manifests: bool,
    /// Give them up, knowing that nobody can say what they were.
    #[arg(long, requires = "give_up_lost_manifests")]
    yes: bool,
}

impl Verify {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        self.check_confirmed()?;
        let repo = self.repo.open_despite_damage(world)?;
        let seed = self.seed.unwrap_or_else(|| world.chance().below(1 << 32));
        let options = VerifyOptions {
            data_percent: self.data,
            seed,
            readers: READERS,
            points: self.point_ids(&repo)?,
            until: self.max_minutes.map(|minutes| {
                let allowed = Duration::from_secs(minutes.saturating_mul(60));
                world.clock().monotonic().saturating_add(allowed)
            }),
        };
        let started = world.clock().now();
        let progress = world.progress(Subjects::Wholes);
        let repair = Repair {
            repo: &repo,
            options: &options,
            dry_run: self.dry_run,
            take_ownership: self.take_ownership,
            give_up_lost_manifests: self.give_up_lost_manifests,
            progress: &progress,
        };
        let repaired = match self.repair {
            true => Some(repair.run()?),
            false => None,
        };
        let looked;
        let found = match &repaired {
            Some(repaired) => &repaired.found,
            None => {
                looked = verify(&repo, &options, &progress)?;
                &looked
            }
        };
        if !self.dry_run && found.tells_of_points() {
            let remembered = found.remembered(&repo, started, self.data)?;
            match self.local {
                true => remembered.keep_here(&repo)?,
                false => verified::keep(&repo, &remembered)?,
            }
        }
        let mut text = String::new();
        let mut document = document(found, self.data, seed);
        if let Some(repaired) = &repaired {
            tell_mended(&mut text, &repaired.mended, &repaired.left, self.dry_run);
            document["dry_run"] = json!(self.dry_run);
            document["mended"] = repaired.mended.iter().map(mended_document).collect();
            document["not_mended"] = not_mended_document(repaired);
            tell_given_up(&mut text, &repaired.given_up, self.dry_run);
            document["given_up"] = repaired.given_up.iter().map(given_up_document).collect();
        }
        tell(&mut text, found, self.data, seed);
        if found.is_sound() {
            return Ok(Answer::new(text, document));
        }
        if repaired
            .as_ref()
            .is_some_and(|repaired| repaired.only_needs_other_keys())
        {
            return Ok(Answer::in_part(text, document));
        }
        let failure = Failure::new(FailureKind::DamageFound, "the repository is damaged");
        failure.tell();
        document["error"] = failure.document();
        Ok(Answer::with_status(text, document, FAILED))
    }

    /// Refuses to give up what nobody said may be given up.
    fn check_confirmed(&self) -> Result<(), Failure> {
        if !self.give_up_lost_manifests || self.dry_run || self.yes {
            return Ok(());
        }
        eprintln!("{GIVING_UP}");
        Err(Failure::wrong_usage(
            "nothing was changed; --dry-run says which contents it is about, --yes confirms what is said above",
        ))
    }

    fn point_ids(&self, repo: &Arc<Repository>) -> Result<Vec<String>, Failure> {
        if self.point.is_empty() {
            return Ok(Vec::new());
        }
        let listed = Points::load(repo)?;
        let found = list::find_all(&listed, &self.point)?;
        Ok(found.iter().map(|point| point.id().to_owned()).collect())
    }
}

fn document(found: &Verification, percent: f64, seed: u64) -> Value {
    let range = |(offset, bytes): &(u64, u64)| json!({ "offset": offset, "bytes": bytes });
    json!({
        "points": found.points,
        "points_left": found.points_left,
        "files": found.files,
        "references": found.references,
        "packs": found.packs,
        "data_percent": percent,
        "seed": seed,
        "read_contents": found.read_contents,
        "read_bytes": found.read_bytes,
        "corrected_blobs": found.corrected_blobs,
        "damages": found.damages.iter().map(|damage| json!({
            "point_id": damage.point_id,
            "source": damage.source,
            "path": damage.path,
            "reason": damage.reason,
            "ranges": damage.ranges.iter().map(range).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "damages_not_listed": found.damages_not_listed,
        "damaged_blobs": found.blobs.iter().map(|damage| json!({
            "blob": damage.blob,
            "role": damage.role.as_str(),
            "is_needed": damage.role.is_needed(),
            "reason": damage.reason,
        })).collect::<Vec<_>>(),
    })
}

fn mended_document(mended: &Mended) -> Value {
    json!({ "what": mended.what.as_str(), "name": mended.name, "count": mended.count })
}

fn not_mended_document(repaired: &Repaired) -> Value {
    let left = repaired.left.iter().map(|(name, reason)| {
        let needs_other_keys = repaired.needs_other_keys.contains(name);
        json!({ "name": name, "reason": reason, "needs_other_keys": needs_other_keys })
    });
    left.collect()
}

fn given_up_document(lost: &LostManifests) -> Value {
    json!({
        "content": lost.content.to_string(),
        "pack": lost.pack,
        "offset": lost.offset,
        "packed_bytes": lost.packed_bytes,
        "written": lost.written,
        "reason": lost.reason,
    })
}

fn tell_given_up(text: &mut String, given_up: &[LostManifests], dry_run: bool) {
    let did = if dry_run {
        "would be given up"
    } else {
        "given up"
    };
    for lost in given_up {
        let _ = writeln!(
            text,
            "{did}: content {}, of {} bytes at {} in pack {}, written {}; how many manifests it held, and which, nobody can say: {}",
            lost.content,
            lost.packed_bytes,
            lost.offset,
            lost.pack,
            amounts::time(lost.written),
            lost.reason
        );
    }
    if !given_up.is_empty() {
        let _ = writeln!(text, "{GIVING_UP}");
    }
}

fn tell_mended(text: &mut String, mended: &[Mended], left: &[(String, String)], dry_run: bool) {
    let did = if dry_run { "can be mended" } else { "mended" };
    for Mended { what, name, count } in mended {
        let what = match what {
            MendedKind::EpochMarker => format!("the epoch marker {name} is put back"),
            MendedKind::Unindexed => {
                format!("{count} contents of pack {name} are in the index again")
            }
            MendedKind::IndexBlob => format!("index blob {name} is replaced"),
            MendedKind::Manifest => format!("manifest {name} is listed again"),
            MendedKind::Contents => {
                format!("{count} contents that are damaged in {name} are stored again")
            }
            MendedKind::PackIndex => format!("{count} contents are moved out of pack {name}"),
            MendedKind::Schedule => "the maintenance schedule is begun anew".to_owned(),
        };
        let _ = writeln!(text, "{did}: {what}");
    }
    for (name, reason) in left {
        let _ = writeln!(text, "not mended: {name}: {reason}");
    }
    if mended.is_empty() {
        let _ = writeln!(text, "there was nothing that could be mended");
    }
}

fn tell(text: &mut String, found: &Verification, percent: f64, seed: u64) {
    let _ = writeln!(
        text,
        "{} points, {} files, {} references to contents and {} packs looked at",
        found.points, found.files, found.references, found.packs
    );
    if found.points_left > 0 {
        let _ = writeln!(
            text,
            "{} points are left for the next time",
            found.points_left
        );
    }
    if percent > 0.0 {
        let _ = writeln!(
            text,
            "{} contents ({}) read, decrypted and compared: {percent} %, drawn by seed {seed}",
            found.read_contents,
            amounts::bytes(found.read_bytes)
        );
    }
    for blob in &found.corrected_blobs {
        let _ = writeln!(
            text,
            "warning: blob {blob} is damaged; error correction made up for it"
        );
    }
    for damage in &found.blobs {
        let head = match damage.role {
            role if role.is_needed() => "damaged:",
            BlobRole::Unindexed => "warning, there may be points that need it:",
            _ => "warning, no point needs it:",
        };
        let _ = writeln!(text, "{head} blob {}: {}", damage.blob, damage.reason);
    }
    for damage in &found.damages {
        let damaged = format!(
            "damaged: point {} {} {}: {}",
            damage.point_id, damage.source, damage.path, damage.reason
        );
        let _ = writeln!(text, "{}", plain::line(&damaged));
        for (offset, bytes) in &damage.ranges {
            let end = offset.saturating_add(*bytes);
            let _ = writeln!(text, "         bytes {offset} to {end} of the file");
        }
    }
    if found.damages_not_listed > 0 {
        let _ = writeln!(text, "and {} more", found.damages_not_listed);
    }
    if found.is_sound() {
        text.push_str("no damage found\n");
        let mut blobs = found.blobs.iter();
        if blobs.any(|damage| damage.role == BlobRole::Unindexed) {
            text.push_str(NOT_LISTED);
        }
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("a number from 0 to 100 is needed".to_owned()),
    }
}
