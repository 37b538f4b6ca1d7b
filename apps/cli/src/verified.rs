//! What verification found of points: remembered in the repository or, where nothing can be written
//! there, in the state folder; and told wherever a point is named.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::verify::{VerifyErrorKind, remember};
use point::{Point, Points};
use repo::Repository;
use serde_json::{Value, json};
use snapshot::{Proof, Remembered, Verified};

use crate::amounts;
use crate::failure::{Failure, FailureKind};
use crate::world::World;

/// Returns what is remembered of the points of a repository.
pub fn load(world: &World, repo: &Arc<Repository>, points: &Points) -> Verified {
    let mut verified = points.snapshots().verified().clone();
    let path = path(world, repo).ok();
    if let Some(json) = path.and_then(|path| fs::read_to_string(path).ok()) {
        verified.take(&json);
    }
    verified
}

/// Remembers what was found: in the repository, or on this machine where that cannot be written.
pub fn keep(world: &World, repo: &Arc<Repository>, verified: &Verified) -> Result<(), Failure> {
    let error = match remember(repo, verified) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == VerifyErrorKind::Stopped => return Err(error.into()),
        Err(error) => error,
    };
    eprintln!(
        "warning: the result is kept on this machine and not in the repository, for it was not possible to {error}"
    );
    keep_here(world, repo, verified)
}

/// Remembers what was found on this machine alone, beside what was found earlier of other points.
pub fn keep_here(
    world: &World,
    repo: &Arc<Repository>,
    verified: &Verified,
) -> Result<(), Failure> {
    let path = path(world, repo)?;
    let mut kept = verified.clone();
    if let Ok(json) = fs::read_to_string(&path) {
        kept.take(&json);
        kept.note_lost(verified.lost().clone());
        let points = Points::load(repo)?;
        let roots = points.iter().filter_map(|point| point.root().ok());
        kept.keep_only(&roots.map(|root| root.object).collect());
    }
    write(&path, &kept.encode()).map_err(|error| {
        let what = format!("failed to write {}: {error}", path.display());
        Failure::new(FailureKind::State, what)
    })
}

fn write(path: &Path, json: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let file = tempfile::NamedTempFile::new_in(folder)?;
    fs::write(file.path(), json)?;
    file.persist(path)?;
    Ok(())
}

fn path(world: &World, repo: &Arc<Repository>) -> Result<PathBuf, Failure> {
    let name = format!("{}.json", repo.unique_id_hex());
    Ok(world.state_folder()?.join("verified").join(name))
}

/// Returns what is remembered of a point.
pub fn of<'v>(verified: &'v Verified, point: &Point<'_>) -> Option<&'v Remembered> {
    verified.of(&point.root().ok()?.object)
}

/// Says in a few words how well a point is proven.
pub fn in_short(remembered: Option<&Remembered>) -> String {
    match remembered {
        Some(Remembered {
            damage: Some(_), ..
        }) => "DAMAGED".to_owned(),
        Some(known) => known.deepest().map_or("-".to_owned(), proof),
        None => "-".to_owned(),
    }
}

fn proof(proof: Proof) -> String {
    format!("{} {}", amounts::time(proof.time), depth(proof))
}

fn depth(proof: Proof) -> String {
    match proof.percent {
        none if none <= 0.0 => "structure".to_owned(),
        all if all >= 100.0 => "full".to_owned(),
        share => format!("{share} %"),
    }
}

/// Returns how well a point is proven, line by line.
pub fn in_full(remembered: Option<&Remembered>) -> String {
    let Some(known) = remembered else {
        return "proven  never\n".to_owned();
    };
    if let Some(damage) = &known.damage {
        let mut text = format!("DAMAGED as of {}\n", amounts::time(damage.time));
        for file in &damage.files {
            text.push_str(&format!("        {}: {}\n", file.path, file.reason));
        }
        return text;
    }
    let proofs = known.proofs.iter().rev();
    proofs
        .map(|known| format!("proven  {}\n", proof(*known)))
        .collect()
}

/// Returns how well a point is proven as it stands in documents.
pub fn document(remembered: Option<&Remembered>) -> Value {
    let proofs = remembered.map_or(&[][..], |known| &known.proofs[..]);
    let damage = remembered.and_then(|known| known.damage.as_ref());
    json!({
        "proven": proofs.iter().rev().map(|proof| json!({
            "time": proof.time,
            "data_percent": proof.percent,
            "depth": match proof.percent {
                none if none <= 0.0 => "structure",
                all if all >= 100.0 => "full",
                _ => "sample",
            },
        })).collect::<Vec<_>>(),
        "damage": damage.map(|damage| json!({
            "time": damage.time,
            "files": damage.files.iter().map(|file| json!({
                "path": file.path,
                "reason": file.reason,
            })).collect::<Vec<_>>(),
            "files_not_listed": damage.files_not_listed,
        })),
    })
}

/// Warns before something is restored from a point that is known to be damaged.
pub fn warn(world: &World, repo: &Arc<Repository>, points: &Points, point: &Point<'_>) {
    let verified = load(world, repo, points);
    let damage = of(&verified, point).and_then(|known| known.damage.as_ref());
    let Some(damage) = damage else { return };
    let names: Vec<&str> = damage
        .files
        .iter()
        .map(|file| match file.path.as_str() {
            "" => "all of it",
            path => path,
        })
        .collect();
    eprintln!(
        "warning: verification found this point damaged at {}: {}; what is damaged cannot be restored",
        amounts::time(damage.time),
        names.join(", ")
    );
}
