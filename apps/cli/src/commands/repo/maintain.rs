//! `repo maintain`: keeps a repository small and quick.

use std::fmt::Write as _;

use ::maintain::{Freed, Maintenance, Options, Report};
use clap::Args;
use serde_json::{Value, json};

use crate::amounts;
use crate::answer::Answer;
use crate::display::Subjects;
use crate::failure::{FAILED, Failure, FailureKind};
use crate::repositories::RepoArguments;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent repo maintain --repo /srv/backup                  the index, every hour or so
  e3-backup-agent repo maintain --repo /srv/backup --full           everything, once a day
  e3-backup-agent repo maintain --repo /srv/backup --full --dry-run what that would do

Only the owner maintains. Room comes free over days: what is in no point any more is marked deleted
by one full maintenance and deleted by later ones. Exit status 1 if a point could not be looked
into; nothing is collected then.")]
pub struct Maintain {
    #[command(flatten)]
    repo: RepoArguments,
    /// Collect what no point needs, rewrite short packs and delete, too.
    #[arg(long)]
    full: bool,
    /// Change nothing and tell what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Become the owner of the repository's maintenance first; the owner so far stops then.
    #[arg(long)]
    take_ownership: bool,
    /// The memory that all of it may take, whatever the repository; fewer packs are stored at once if it is little.
    #[arg(long, value_name = "N", default_value_t = Options::MEMORY_MIB, value_parser = clap::value_parser!(u32).range(i64::from(Options::MEMORY_MIB_MIN)..))]
    memory_mib: u32,
}

impl Maintain {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let repo = self.repo.open(world)?;
        let maintenance = Maintenance {
            repo: &repo,
            options: Options {
                full: self.full,
                dry_run: self.dry_run,
                take_ownership: self.take_ownership,
                memory_bytes: u64::from(self.memory_mib) << 20,
            },
            progress: &world.progress(Subjects::Wholes),
        };
        let report = maintenance.run()?;
        let (text, mut document) = (text(&report), document(&report));
        if report.is_whole() {
            return Ok(Answer::new(text, document));
        }
        let kind = match report.locked.failed {
            0 => FailureKind::DamageFound,
            _ => FailureKind::Denied,
        };
        let failure = Failure::new(kind, what_is_damaged(&report));
        failure.tell();
        document["error"] = failure.document();
        Ok(Answer::with_status(text, document, FAILED))
    }
}

fn what_is_damaged(report: &Report) -> String {
    if let Some(why) = &report.collection_stopped {
        return format!("nothing was collected: failed to {why}");
    }
    if report.collected.missing > 0 {
        let missing = report.collected.missing;
        return format!("points need {missing} contents that no index has");
    }
    if report.locked.failed > 0 {
        let (failed, why) = (report.locked.failed, &report.locked.first_failure);
        let why = why.as_deref().unwrap_or_default();
        return format!("the locks of {failed} blobs could not be made longer: failed to {why}");
    }
    let damaged = report.rewritten.damaged.len();
    format!("{damaged} contents are damaged and were left where they are")
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |what: &str, figures: String| {
        let _ = writeln!(text, "{what:<14}{figures}");
    };
    let kind = if report.full { "full" } else { "quick" };
    let dry = if report.dry_run {
        ", dry run: nothing was changed"
    } else {
        ""
    };
    line("maintenance", format!("{kind}, as {}{dry}", report.owner));
    if report.full {
        let collected = &report.collected;
        line(
            "in use",
            format!(
                "{} in {} snapshots; {} lists and folders opened",
                of("contents", collected.in_use),
                collected.snapshots,
                collected.opened
            ),
        );
        line("collected", of("contents", collected.buried));
        line("too young", of("contents", collected.too_young));
        line("brought back", of("contents", collected.revived));
        let rewritten = &report.rewritten;
        line(
            "rewritten",
            format!(
                "{} of {} short packs; {} short packs left",
                of("contents", rewritten.contents),
                rewritten.packs,
                rewritten.packs_left
            ),
        );
        let deleted = &report.deleted;
        for (what, freed) in [
            ("packs", deleted.packs),
            ("dead sessions", deleted.sessions),
            ("index blobs", deleted.indexes),
            ("index markers", deleted.markers),
            ("logs", deleted.logs),
        ] {
            line("deleted", of(what, freed));
        }
    }
    if report.locked.extended.count > 0 {
        line("locked longer", of("blobs", report.locked.extended));
    }
    if !report.deleted.refused.is_empty() {
        let count = report.deleted.refused.len();
        line(
            "still locked",
            format!("{count} blobs; they go when their locks have ended"),
        );
    }
    for compaction in &report.epochs.compactions {
        line(
            "compacted",
            format!(
                "epochs {} to {}: {} index blobs",
                compaction.first, compaction.last, compaction.from_blobs
            ),
        );
    }
    if let Some(epoch) = report.epochs.begun {
        line("begun", format!("epoch {epoch}"));
    }
    for why in &report.put_off {
        line("put off", why.clone());
    }
    for damage in &report.rewritten.damaged {
        line("damaged", damage.clone());
    }
    text
}

fn of(what: &str, freed: Freed) -> String {
    format!("{} {what}, {}", freed.count, amounts::bytes(freed.bytes))
}

fn document(report: &Report) -> Value {
    let freed = |freed: Freed| json!({ "count": freed.count, "bytes": freed.bytes });
    let Report {
        collected,
        rewritten,
        deleted,
        epochs,
        ..
    } = report;
    json!({
        "owner": report.owner,
        "full": report.full,
        "dry_run": report.dry_run,
        "started": report.started.to_string(),
        "collected": {
            "snapshots": collected.snapshots,
            "opened": collected.opened,
            "in_use": freed(collected.in_use),
            "too_young": freed(collected.too_young),
            "collected": freed(collected.buried),
            "brought_back": freed(collected.revived),
            "missing": collected.missing,
        },
        "collection_stopped": report.collection_stopped,
        "rewritten": {
            "packs": rewritten.packs,
            "contents": freed(rewritten.contents),
            "packs_left": rewritten.packs_left,
            "damaged": rewritten.damaged,
        },
        "deleted": {
            "packs": freed(deleted.packs),
            "sessions": freed(deleted.sessions),
            "index_blobs": freed(deleted.indexes),
            "index_markers": freed(deleted.markers),
            "logs": freed(deleted.logs),
            "still_locked": deleted.refused.len(),
        },
        "locked": {
            "extended": freed(report.locked.extended),
            "failed": report.locked.failed,
        },
        "epochs": {
            "begun": epochs.begun,
            "compactions": epochs.compactions.iter().map(|it| json!({
                "first": it.first,
                "last": it.last,
                "from_blobs": it.from_blobs,
                "to_blobs": it.to_blobs,
                "records": it.records,
            })).collect::<Vec<_>>(),
            "watermark_seconds": epochs.watermark_seconds,
        },
        "put_off": report.put_off,
    })
}
