//! `points pin`: marks points so that no rule lets them expire, and takes marks away.

use clap::Args;
use point::Points;
use repo::{RepoError, RepoErrorKind, Writer};
use serde_json::json;
use snapshot::Snapshots;

use super::list;
use crate::answer::Answer;
use crate::failure::{Failure, FailureKind};
use crate::repositories::RepoArguments;
use crate::world::World;

/// The pin that is set if nobody names one.
const DEFAULT_PIN: &str = "keep";

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent points pin 8f3a --repo /srv/backup
  e3-backup-agent points pin 8f3a --pin before-upgrade --repo /srv/backup
  e3-backup-agent points pin 8f3a --remove --repo /srv/backup

A pinned point is kept until its last pin is taken away. Its id stays the same. Stock Kopia shows
the pins of `kopia snapshot pin` and these as one.")]
pub struct Pin {
    /// The points: ids, UUIDs, or the beginning of either.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// The pin's name [default: keep; with --remove: every pin].
    #[arg(long, value_name = "NAME")]
    pin: Option<String>,
    /// Take the pin away.
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    repo: RepoArguments,
}

impl Pin {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        if self.pin.as_ref().is_some_and(|pin| pin.trim().is_empty()) {
            return Err(Failure::wrong_usage("a pin needs a name"));
        }
        let repo = self.repo.open(world)?;
        let points = Points::load(&repo)?;
        let found = list::find_all(&points, &self.ids)?;
        let writer = Writer::new(&repo, 1)?;
        let mut text = String::new();
        let mut documents = Vec::new();
        for point in found {
            let edited = Snapshots::edit(&writer, point.id(), |manifest| {
                self.change(&mut manifest.pins);
            })
            .map_err(gone_or_failed)?;
            let pins = match edited.pins.is_empty() {
                true => "no pins".to_owned(),
                false => format!("pinned {}", edited.pins.join(", ")),
            };
            text += &format!("{}: {pins}\n", point.id());
            documents
                .push(json!({ "id": point.id(), "point": point.point(), "pins": edited.pins }));
        }
        Ok(Answer::new(text, json!({ "points": documents })))
    }

    fn change(&self, pins: &mut Vec<String>) {
        match (&self.pin, self.remove) {
            (None, true) => pins.clear(),
            (Some(name), true) => pins.retain(|pin| pin != name),
            (name, false) => {
                let name = name.as_deref().unwrap_or(DEFAULT_PIN);
                if !pins.iter().any(|pin| pin == name) {
                    pins.push(name.to_owned());
                    pins.sort();
                }
            }
        }
    }
}

fn gone_or_failed(error: RepoError) -> Failure {
    match error.kind() {
        RepoErrorKind::NotFound => {
            Failure::new(FailureKind::PointNotFound, format!("failed to {error}"))
        }
        _ => error.into(),
    }
}
