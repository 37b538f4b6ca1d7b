//! What verification found of points: remembered in the repository or, where nothing can be written
//! there, in the state folder; and told wherever a point is named.

use std::sync::Arc;

use ::verify::{VerifyErrorKind, remember};
use point::{Point, Points};
use repo::Repository;
use serde_json::{Value, json};
use snapshot::{Proof, Remembered, Verified};

use crate::amounts;
use crate::failure::Failure;
use crate::plain;
use crate::stderr;
use crate::world::World;

/// Lets what was kept on this machine count like what the repository remembers, from now on.
pub fn take_over(world: &World, repo: &Repository) {
    let Ok(folder) = world.state_folder() else {
        return;
    };
    repo.keep_notes_in(folder.join("verified"));
    if let Err(error) = Verified::check_kept_here(repo) {
        stderr::warn(&format!(
            "what `repo verify` found and kept on this machine counts as never found, for it was not possible to {error}"
        ));
    }
}

/// Remembers what was found: in the repository, or on this machine where that cannot be written.
pub fn keep(repo: &Arc<Repository>, verified: &Verified) -> Result<(), Failure> {
    let error = match remember(repo, verified) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == VerifyErrorKind::Stopped => return Err(error.into()),
        Err(error) => error,
    };
    stderr::warn(&format!(
        "the result is kept on this machine and not in the repository, for it was not possible to {error}"
    ));
    Ok(verified.keep_here(repo)?)
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
            let named = format!("{}: {}", file.path, file.reason);
            text.push_str(&format!("        {}\n", plain::line(&named)));
        }
        if damage.files_not_listed > 0 {
            text.push_str(&format!("        and {} more\n", damage.files_not_listed));
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
pub fn warn(points: &Points, point: &Point<'_>) {
    let damage = point.remembered(points).and_then(|it| it.damage.as_ref());
    let Some(damage) = damage else { return };
    let mut names: Vec<String> = damage
        .files
        .iter()
        .map(|file| match file.path.as_str() {
            "" => "all of it".to_owned(),
            path => path.to_owned(),
        })
        .collect();
    if damage.files_not_listed > 0 {
        names.push(format!("and {} more", damage.files_not_listed));
    }
    stderr::warn(&format!(
        "verification found this point damaged at {}: {}; what is damaged cannot be restored",
        amounts::time(damage.time),
        names.join(", ")
    ));
}
