//! `repo lock`: what is stored cannot be deleted for a while, by nobody.

use std::sync::Arc;
use std::time::Duration;

use blob::Location;
use clap::Args;
use kopia::format_blob::BlobConfig;
use kopia::maintenance::MaintenanceParameters;
use repo::{Repository, Writer, lock_config, owner_name};
use serde_json::json;
use time_and_chance::SignedDuration;

use crate::amounts;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::repositories::RepoArguments;
use crate::world::World;

/// How blobs are to be locked.
#[derive(Debug, Args)]
pub struct LockArguments {
    /// Lock what is stored against deletion: GOVERNANCE (who has a right of its own may still
    /// delete) or COMPLIANCE (nobody may).
    #[arg(long, value_name = "MODE", requires = "retention_period", value_parser = mode)]
    retention_mode: Option<Mode>,
    /// For how long from when it is written, such as 30d or 720h; full maintenance makes it longer.
    #[arg(long, value_name = "TIME", requires = "retention_mode", value_parser = period)]
    retention_period: Option<Duration>,
    /// Confirm that locks cost what they cost and cannot be taken back.
    #[arg(long)]
    yes: bool,
}

/// A mode of locks, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Governance,
    Compliance,
}

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent repo lock --repo R --retention-mode GOVERNANCE --retention-period 30d
                                                    says what that means and costs, changes nothing
  e3-backup-agent repo lock --repo R --retention-mode GOVERNANCE --retention-period 30d --yes
  e3-backup-agent repo lock --repo R --off          locks nothing from now on

R is a bucket that was made with object locks. What is there already is locked by the next full
maintenance (`repo maintain --full`), which also makes the locks of whatever is in use longer, each
time by the whole period. The period must be a day longer than the time between two of them.")]
pub struct Lock {
    #[command(flatten)]
    repo: RepoArguments,
    #[command(flatten)]
    locks: LockArguments,
    /// Lock nothing from now on; locks that were given stay until they end.
    #[arg(long, conflicts_with = "retention_mode")]
    off: bool,
}

impl Lock {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        if !self.off && self.locks.retention_mode.is_none() {
            return Err(Failure::wrong_usage(
                "say --retention-mode and --retention-period, or --off",
            ));
        }
        self.locks.check_place(&self.repo.location()?)?;
        let repo = self.repo.open(world)?;
        let known = repo.manifests()?.maintenance()?;
        let parameters = known.unwrap_or_else(|| MaintenanceParameters::new(owner_name(&repo)));
        let config = self.locks.config(&parameters)?;
        set(&repo, &config, parameters)?;
        let text = match config.locks_blobs() {
            true => format!(
                "what is stored from now on is locked: {}\nwhat is there already is locked by the next full maintenance\n",
                told(&config)
            ),
            false => "nothing is locked from now on; locks that were given stay until they end\n"
                .to_owned(),
        };
        let document = json!({
            "retention_mode": config.locks_blobs().then_some(&config.retention_mode),
            "retention_period_seconds":
                SignedDuration::from_nanos(config.retention_period_ns).as_secs(),
        });
        Ok(Answer::new(text, document))
    }
}

/// Stores both: how blobs are locked, and that maintenance makes that longer.
fn set(
    repo: &Arc<Repository>,
    config: &BlobConfig,
    parameters: MaintenanceParameters,
) -> Result<(), Failure> {
    repo.set_blob_config(config)?;
    let extend_object_locks = config.locks_blobs();
    if parameters.extend_object_locks != extend_object_locks {
        let parameters = MaintenanceParameters {
            extend_object_locks,
            ..parameters
        };
        Writer::new(repo, 1)?.set_maintenance(&parameters)?;
    }
    Ok(())
}

impl LockArguments {
    /// Refuses locks where no store has them, and those that nobody confirmed.
    pub fn check_place(&self, location: &Location) -> Result<(), Failure> {
        let (Some(mode), Some(period)) = (self.retention_mode, self.retention_period) else {
            return Ok(());
        };
        if let Location::Folder(path) = location {
            return Err(Failure::wrong_usage(format!(
                "{} is a folder, which has no object locks: whoever may write there may delete; choose a bucket with object locks",
                path.display()
            )));
        }
        eprintln!("{}", cost(mode, period));
        match self.yes {
            true => Ok(()),
            false => Err(Failure::wrong_usage(
                "nothing was changed; say --yes to confirm what is said above",
            )),
        }
    }

    /// Returns the settings, or those that lock nothing.
    pub fn config(&self, parameters: &MaintenanceParameters) -> Result<BlobConfig, Failure> {
        let (Some(mode), Some(period)) = (self.retention_mode, self.retention_period) else {
            return Ok(BlobConfig::default());
        };
        let interval = u64::try_from(parameters.full.interval_ns).unwrap_or(0);
        let config = lock_config(mode.name(), period, Duration::from_nanos(interval));
        config.map_err(|error| Failure::wrong_usage(format!("failed to {error}")))
    }
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }
}

fn told(config: &BlobConfig) -> String {
    let period = SignedDuration::from_nanos(config.retention_period_ns).unsigned_abs();
    format!(
        "{} for {}",
        config.retention_mode,
        amounts::duration(period)
    )
}

/// What locks mean and cost.
fn cost(mode: Mode, period: Duration) -> String {
    let who = match mode {
        Mode::Governance => {
            "nobody can delete it but who holds s3:BypassGovernanceRetention; do not give that to this agent"
        }
        Mode::Compliance => {
            "nobody can delete it, neither you nor the provider, whatever it costs: only closing the account would"
        }
    };
    format!(
        "What object locks mean and cost:
  - Once written, data stays for {0}, and {who}.
  - Expired points free no room before their locks end: you pay for up to {0} more of everything
    that maintenance replaces or deletes, old versions of objects included. A rule of the bucket
    must remove versions that are no longer current, or they stay, and cost, for ever.
  - Every full maintenance makes the locks of all blobs in use longer, with one request for each
    blob: about 50 for each GiB stored, and the price of as many PUT requests.
  - Locks that were given cannot be taken back, and a period cannot be made shorter for them.",
        amounts::duration(period)
    )
}

fn mode(text: &str) -> Result<Mode, String> {
    [Mode::Governance, Mode::Compliance]
        .into_iter()
        .find(|mode| mode.name().eq_ignore_ascii_case(text))
        .ok_or_else(|| "there are GOVERNANCE and COMPLIANCE".to_owned())
}

/// Reads days or hours.
fn period(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no period; write it like 30d or 720h");
    let (number, hours) = match text.strip_suffix('d') {
        Some(days) => (days, 24),
        None => (text.strip_suffix('h').ok_or_else(wrong)?, 1),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let hours = number
        .checked_mul(hours)
        .filter(|hours| *hours <= 100 * 366 * 24);
    hours.map(Duration::from_hours).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_days_or_hours() {
        assert_eq!(period("30d"), Ok(Duration::from_hours(720)));
        assert_eq!(period("36h"), Ok(Duration::from_hours(36)));
        for text in ["", "30", "d", "-1d", "1.5d", "99999999999d", "30m"] {
            assert!(period(text).is_err(), "{text}");
        }
    }
}
