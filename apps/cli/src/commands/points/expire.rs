//! `points expire`: deletes the points that no rule of their policy keeps, and explains.

use std::fmt::Write as _;

use backup::vm::{HeldBase, VmBases, next_is_full};
use clap::Args;
use kopia::policy::{PolicyTarget, RetentionPolicy};
use kopia::retention::{Finding, Rule, Verdict, keeps_all};
use point::{Point, Points};
use repo::Writer;
use serde::Serialize;
use serde_json::{Map, Value, json};
use snapshot::{Snapshot, Snapshots, SourcePlan, expires, plan_expiry};

use super::list;
use crate::amounts;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::plain;
use crate::repositories::RepoArguments;
use crate::stderr;
use crate::stdout::{Each, show_document};
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent points expire --dry-run --repo /srv/backup
  e3-backup-agent points expire --vm web --repo /srv/backup

Each source (a VM, or a folder that Kopia backs up) is judged by its own policy, as stock Kopia
does: see `policy show`. --dry-run shows for every point why it stays or goes, and deletes
nothing. Points that stand at the same hour, day, week, month or year take it from each other, and
the newest wins. Weeks are those of this machine's time zone, all else is UTC. Space is freed by
the repository's maintenance, a day or more later. Pinned points stay, and so does the point that
a running backup builds on.")]
pub struct Expire {
    /// Delete nothing, and show why each point stays or goes.
    #[arg(long)]
    dry_run: bool,
    /// Only points of this VM: its name (whole, in any case) or its GUID.
    #[arg(long, value_name = "NAME")]
    vm: Option<String>,
    #[command(flatten)]
    repo: RepoArguments,
}

/// A point with what becomes of it.
struct Judged<'s> {
    snapshot: &'s Snapshot,
    verdict: Verdict,
    goes: bool,
    /// A running backup builds on it.
    in_use: bool,
}

/// What is decided, with what has to be held until it is done.
struct Decision<'s> {
    sources: Vec<(SourcePlan<'s>, Vec<Judged<'s>>)>,
    warnings: Vec<String>,
    held: Vec<HeldBase>,
}

/// The answer as a document.
#[derive(Serialize)]
struct Document<'a, S> {
    dry_run: bool,
    expired: &'a [&'a str],
    sources: S,
    time_zone: Option<&'a str>,
    warnings: &'a [String],
}

impl Expire {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let repo = self.repo.open(world)?;
        let bases = VmBases::new(world.state()?, repo.unique_id_hex());
        let writer = match self.dry_run {
            true => None,
            false => Some(Writer::new(&repo, 1)?),
        };
        let points = Points::load(&repo)?;
        let zone = world.time_zone();
        let plans = plan_expiry(points.snapshots(), &zone)?;
        let mut decision = self.decide(plans, &bases)?;
        let gone: Vec<&str> = decision
            .sources
            .iter()
            .flat_map(|(_, judged)| judged)
            .filter(|judged| judged.goes)
            .map(|judged| &*judged.snapshot.id)
            .collect();
        if let Some(writer) = &writer {
            Snapshots::delete_all(writer, gone.iter().copied())?;
        }
        for (id, why) in points.snapshots().unreadable() {
            decision.warnings.push(format!(
                "the manifest {id} cannot be read and stays, whatever it is: {why}"
            ));
        }
        for warning in &decision.warnings {
            stderr::warn(warning);
        }
        if !world.wants_json() {
            let text = self.text(&decision.sources, gone.len());
            return Ok(Answer::new(text, Value::Null));
        }
        show_document(&Document {
            dry_run: self.dry_run,
            expired: &gone,
            sources: Each(|| decision.sources.iter().map(source_document)),
            time_zone: zone.iana_name(),
            warnings: &decision.warnings,
        });
        Ok(Answer::shown(0))
    }

    fn decide<'s>(
        &self,
        plans: Vec<SourcePlan<'s>>,
        bases: &VmBases,
    ) -> Result<Decision<'s>, Failure> {
        let mut decision = Decision {
            sources: Vec::new(),
            warnings: Vec::new(),
            held: Vec::new(),
        };
        for mut plan in plans {
            let wanted = |snapshot: &Snapshot| {
                let vm = self.vm.as_deref();
                vm.is_none_or(|vm| list::is_of_vm(&Point::of(snapshot), vm))
            };
            if !plan.snapshots.iter().any(|(snapshot, _)| wanted(snapshot)) {
                continue;
            }
            let mut judged = Vec::new();
            for (snapshot, verdict) in std::mem::take(&mut plan.snapshots) {
                judged.push(decision.judge(snapshot, verdict, bases)?);
            }
            decision.sources.push((plan, judged));
        }
        Ok(decision)
    }

    fn text(&self, sources: &[(SourcePlan<'_>, Vec<Judged<'_>>)], gone: usize) -> String {
        let mut text = String::new();
        for (plan, judged) in sources {
            let name = judged
                .iter()
                .rev()
                .find_map(|judged| Point::of(judged.snapshot).tag("vm-name"));
            let name = name.map_or_else(String::new, |name| format!(" ({name})"));
            let source = format!("{}{name}", PolicyTarget::source(plan.source));
            let _ = writeln!(
                text,
                "{}: keeps {}",
                plain::line(&source),
                numbers(&plan.retention)
            );
            for judged in judged.iter().filter(|judged| self.dry_run || judged.goes) {
                let _ = writeln!(
                    text,
                    "  {}  {}  {}  {}",
                    if judged.goes { "goes " } else { "stays" },
                    amounts::time(judged.snapshot.manifest.start_time),
                    judged.snapshot.id,
                    plain::line(&judged.why(&plan.retention).join("; "))
                );
            }
        }
        let all: usize = sources.iter().map(|(_, judged)| judged.len()).sum();
        let words = if self.dry_run { "would go" } else { "went" };
        let _ = writeln!(text, "{gone} of {all} points {words}");
        text
    }
}

impl Decision<'_> {
    /// Decides about one snapshot; a VM whose base goes is held from here on.
    fn judge<'s>(
        &mut self,
        snapshot: &'s Snapshot,
        verdict: Verdict,
        bases: &VmBases,
    ) -> Result<Judged<'s>, Failure> {
        let mut judged = Judged {
            goes: expires(snapshot, &verdict),
            snapshot,
            verdict,
            in_use: false,
        };
        let point = Point::of(snapshot);
        if judged.goes
            && let Some(vm) = bases.vm_on(&point)?
        {
            match bases.hold(vm)? {
                Some(held) => {
                    self.held.push(held);
                    self.warnings.push(next_is_full(&point, vm));
                }
                None => {
                    judged.goes = false;
                    judged.in_use = true;
                }
            }
        }
        Ok(judged)
    }
}

impl Judged<'_> {
    /// Returns why it stays or goes, in words.
    fn why(&self, retention: &RetentionPolicy) -> Vec<String> {
        let mut why = self.verdict.reasons();
        let pins = &self.snapshot.manifest.pins;
        if !pins.is_empty() {
            why.push(format!("pinned {}", pins.join(", ")));
        }
        if self.in_use {
            why.push("a running backup builds on it".to_owned());
        }
        if !self.goes {
            return why;
        }
        match &self.verdict {
            Verdict::Complete(findings) => findings
                .iter()
                .filter_map(|(rule, finding)| against(*rule, *finding, retention))
                .collect(),
            Verdict::Incomplete { .. } => {
                vec![format!(
                    "not finished ({}), and newer ones are there",
                    self.snapshot.manifest.incomplete
                )]
            }
        }
    }
}

/// Returns why a rule does not keep a point; nothing if the policy does without the rule.
fn against(rule: Rule, finding: Finding, retention: &RetentionPolicy) -> Option<String> {
    let limit = rule.limit(retention).filter(|&limit| limit > 0)?;
    let period = match rule {
        Rule::Latest => "place",
        Rule::Hourly => "hour",
        Rule::Daily => "day",
        Rule::Weekly => "week",
        Rule::Monthly => "month",
        Rule::Annual => "year",
    };
    match finding {
        Finding::Full => Some(format!("{rule}: {limit} newer ones are kept")),
        Finding::Taken => Some(format!("{rule}: its {period} is taken")),
        Finding::TooOld => Some(format!(
            "{rule}: more than {limit} {period}{} before the newest",
            if limit == 1 { "" } else { "s" }
        )),
        Finding::Kept(_) | Finding::NoRule => None,
    }
}

/// Returns the numbers of a policy in words.
fn numbers(retention: &RetentionPolicy) -> String {
    if keeps_all(retention) {
        return "everything, as all numbers together are 0".to_owned();
    }
    let numbers = Rule::ALL
        .iter()
        .filter_map(|rule| Some(format!("{rule} {}", rule.limit(retention)?)));
    numbers.collect::<Vec<_>>().join(", ")
}

fn source_document((plan, judged): &(SourcePlan<'_>, Vec<Judged<'_>>)) -> Value {
    let numbers: Map<String, Value> = Rule::ALL
        .iter()
        .map(|rule| {
            let limit = rule
                .limit(&plan.retention)
                .filter(|&limit| limit < i64::MAX);
            (rule.to_string(), json!(limit))
        })
        .collect();
    let points: Vec<Value> = judged
        .iter()
        .map(|judged| {
            let snapshot = judged.snapshot;
            let point = Point::of(snapshot);
            json!({
                "id": point.id(),
                "point": point.point(),
                "time": snapshot.manifest.start_time,
                "vm_name": point.tag("vm-name"),
                "incomplete": snapshot.manifest.incomplete,
                "pins": snapshot.manifest.pins,
                "stays": !judged.goes,
                "reasons": judged.verdict.reasons(),
                "base_of_running_backup": judged.in_use,
                "why": judged.why(&plan.retention),
            })
        })
        .collect();
    json!({
        "source": PolicyTarget::source(plan.source).to_string(),
        "keeps_all": keeps_all(&plan.retention),
        "retention": numbers,
        "points": points,
    })
}
