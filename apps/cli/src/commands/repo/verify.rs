//! `repo verify`: whether every restore point can still be read.

use std::fmt::Write as _;

use ::verify::{Verification, VerifyOptions, verify};
use clap::Args;
use serde_json::json;

use crate::amounts;
use crate::answer::Answer;
use crate::display::Subjects;
use crate::failure::{FAILED, Failure, FailureKind};
use crate::repositories::RepoArguments;
use crate::world::World;

/// Contents read at once.
const READERS: usize = 8;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent repo verify --repo /srv/backup              the structure: everything is there
  e3-backup-agent repo verify --repo /srv/backup --data 5     and a twentieth of it can be read
  e3-backup-agent repo verify --repo /srv/backup --data 100   and all of it is what was stored

Exit status 1 if anything is damaged; each damage is named with the point and the file it hurts.
Damage that the repository's error correction made up for is a warning, with the blob's name.")]
pub struct Verify {
    #[command(flatten)]
    repo: RepoArguments,
    /// Read this share of all contents, decrypt them and compare their hashes.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    data: f64,
    /// Draw the contents that are read by this seed [default: a new one, which is printed].
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

impl Verify {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let repo = self.repo.open(world)?;
        let seed = self.seed.unwrap_or_else(|| world.chance().below(1 << 32));
        let options = VerifyOptions {
            data_percent: self.data,
            seed,
            readers: READERS,
        };
        let found = verify(&repo, &options, &world.progress(Subjects::Wholes))?;
        let mut document = json!({
            "points": found.points,
            "files": found.files,
            "references": found.references,
            "packs": found.packs,
            "data_percent": self.data,
            "seed": seed,
            "read_contents": found.read_contents,
            "read_bytes": found.read_bytes,
            "corrected_blobs": found.corrected_blobs,
            "damages": found.damages.iter().map(|damage| json!({
                "point_id": damage.point_id,
                "source": damage.source,
                "path": damage.path,
                "reason": damage.reason,
            })).collect::<Vec<_>>(),
            "damages_not_listed": found.damages_not_listed,
        });
        let text = text(&found, self.data, seed);
        if found.is_sound() {
            return Ok(Answer::new(text, document));
        }
        let failure = Failure::new(FailureKind::DamageFound, "the repository is damaged");
        failure.tell();
        document["error"] = failure.document();
        Ok(Answer::with_status(text, document, FAILED))
    }
}

fn text(found: &Verification, percent: f64, seed: u64) -> String {
    let mut text = format!(
        "{} points, {} files, {} references to contents and {} packs looked at\n",
        found.points, found.files, found.references, found.packs
    );
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
    for damage in &found.damages {
        let _ = writeln!(
            text,
            "damaged: point {} {} {}: {}",
            damage.point_id, damage.source, damage.path, damage.reason
        );
    }
    if found.damages_not_listed > 0 {
        let _ = writeln!(text, "and {} more", found.damages_not_listed);
    }
    if found.is_sound() {
        text.push_str("no damage found\n");
    }
    text
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("a number from 0 to 100 is needed".to_owned()),
    }
}
