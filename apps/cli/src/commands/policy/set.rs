//! `policy set`: single members of a policy, by options that are called as stock Kopia's.

use std::collections::BTreeSet;
use std::str::FromStr;

use backup::files::rules::checked_pattern;
use clap::Args;
use kopia::policy::Policy;
use repo::Writer;
use serde_json::json;
use snapshot::{policy_of, save_policy};

use super::show::value_of;
use super::target::TargetArguments;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::repositories::RepoArguments;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent policy set --global --keep-latest 30 --keep-annual 0 --repo /srv/backup
  e3-backup-agent policy set --vm web --keep-daily 90 --repo /srv/backup
  e3-backup-agent policy set --vm web --keep-daily inherit --repo /srv/backup
  e3-backup-agent policy set @hv01 --compression zstd --repo /srv/backup
  e3-backup-agent policy set /home --add-ignore '*.bak' --one-file-system true --repo /srv/backup

A value `inherit` leaves the member to less specific policies. This program follows retention and
compression; stock Kopia, which shares the policies, follows all of them when it backs up files.
What has no option here, such as schedules and actions, is changed by `policy edit`.")]
pub struct Set {
    #[command(flatten)]
    target: TargetArguments,
    #[command(flatten)]
    repo: RepoArguments,
    /// Whether less specific policies apply too.
    #[arg(long, value_name = "BOOL")]
    inherit: Option<bool>,
    #[command(flatten)]
    retention: Retention,
    #[command(flatten)]
    compression: Compression,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    upload: Upload,
}

/// How many points are kept.
#[derive(Debug, Args)]
#[command(next_help_heading = "How many points are kept")]
struct Retention {
    /// The newest ones.
    #[arg(long, value_name = "N")]
    keep_latest: Option<Setting<i64>>,
    /// The newest of each of the last N hours.
    #[arg(long, value_name = "N")]
    keep_hourly: Option<Setting<i64>>,
    /// Of each of the last N days.
    #[arg(long, value_name = "N")]
    keep_daily: Option<Setting<i64>>,
    /// Of each of the last N weeks.
    #[arg(long, value_name = "N")]
    keep_weekly: Option<Setting<i64>>,
    /// Of each of the last N months.
    #[arg(long, value_name = "N")]
    keep_monthly: Option<Setting<i64>>,
    /// Of each of the last N years.
    #[arg(long, value_name = "N")]
    keep_annual: Option<Setting<i64>>,
    /// Whether Kopia stores no snapshot that is equal to the one before.
    #[arg(long, value_name = "BOOL")]
    ignore_identical_snapshots: Option<Setting<bool>>,
}

/// How data is compressed and cut.
#[derive(Debug, Args)]
#[command(next_help_heading = "How data is compressed and cut")]
struct Compression {
    /// How data is compressed, such as zstd-fastest, s2-default, none.
    #[arg(long, value_name = "NAME")]
    compression: Option<Setting<String>>,
    /// How Kopia compresses lists and directories.
    #[arg(long, value_name = "NAME")]
    metadata_compression: Option<Setting<String>>,
    /// How Kopia cuts files into contents.
    #[arg(long, value_name = "NAME")]
    splitter: Option<Setting<String>>,
    /// Do not compress shorter files.
    #[arg(long, value_name = "BYTES")]
    compression_min_size: Option<Setting<i64>>,
    /// Do not compress longer files.
    #[arg(long, value_name = "BYTES")]
    compression_max_size: Option<Setting<i64>>,
    /// Compress files with this extension in any case.
    #[arg(long, value_name = "EXTENSION")]
    add_only_compress: Vec<String>,
    /// No longer.
    #[arg(long, value_name = "EXTENSION")]
    remove_only_compress: Vec<String>,
    /// Forget all of these extensions.
    #[arg(long)]
    clear_only_compress: bool,
    /// Never compress files with this extension.
    #[arg(long, value_name = "EXTENSION")]
    add_never_compress: Vec<String>,
    /// No longer.
    #[arg(long, value_name = "EXTENSION")]
    remove_never_compress: Vec<String>,
    /// Forget all of these extensions.
    #[arg(long)]
    clear_never_compress: bool,
}

/// Which files are left out.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which files are left out")]
struct Files {
    /// Leave out what this pattern matches.
    #[arg(long, value_name = "PATTERN", value_parser = checked_pattern)]
    add_ignore: Vec<String>,
    /// No longer.
    #[arg(long, value_name = "PATTERN")]
    remove_ignore: Vec<String>,
    /// Forget all patterns.
    #[arg(long)]
    clear_ignore: bool,
    /// Read further patterns from files of this name.
    #[arg(long, value_name = "FILENAME")]
    add_dot_ignore: Vec<String>,
    /// No longer.
    #[arg(long, value_name = "FILENAME")]
    remove_dot_ignore: Vec<String>,
    /// Forget all of these names.
    #[arg(long)]
    clear_dot_ignore: bool,
    /// Leave out longer files.
    #[arg(long, value_name = "BYTES")]
    max_file_size: Option<Setting<i64>>,
    /// Leave out other file systems that are mounted below.
    #[arg(long, value_name = "BOOL")]
    one_file_system: Option<Setting<bool>>,
    /// Leave out folders that are marked as caches.
    #[arg(long, value_name = "BOOL")]
    ignore_cache_dirs: Option<Setting<bool>>,
    /// Go on when a file cannot be read.
    #[arg(long, value_name = "BOOL")]
    ignore_file_errors: Option<Setting<bool>>,
    /// Go on when a folder cannot be read.
    #[arg(long, value_name = "BOOL")]
    ignore_dir_errors: Option<Setting<bool>>,
    /// Go on when an entry is neither file, folder nor link.
    #[arg(long, value_name = "BOOL")]
    ignore_unknown_types: Option<Setting<bool>>,
}

/// How much Kopia does side by side.
#[derive(Debug, Args)]
#[command(next_help_heading = "How much Kopia does side by side")]
struct Upload {
    /// Files that are read at once.
    #[arg(long, value_name = "N")]
    max_parallel_file_reads: Option<Setting<i64>>,
    /// Snapshots at once; not for paths.
    #[arg(long, value_name = "N")]
    max_parallel_snapshots: Option<Setting<i64>>,
    /// Store longer files in parts, side by side.
    #[arg(long, value_name = "MIB")]
    parallel_upload_above_size_mib: Option<Setting<i64>>,
}

/// A value, or the wish that less specific policies say it.
#[derive(Debug, Clone)]
enum Setting<T> {
    Inherit,
    Is(T),
}

impl<T: FromStr<Err: std::fmt::Display>> FromStr for Setting<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "inherit" | "default" => Ok(Self::Inherit),
            _ => text
                .parse()
                .map(Self::Is)
                .map_err(|error| format!("{error}; or say `inherit`")),
        }
    }
}

impl<T: Clone> Setting<T> {
    fn value(&self) -> Option<T> {
        match self {
            Self::Inherit => None,
            Self::Is(value) => Some(value.clone()),
        }
    }
}

impl Set {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let mut changed = Policy::default();
        if !self.apply(&mut changed) {
            return Err(Failure::wrong_usage(
                "nothing to change: say at least one of the options that --help lists",
            ));
        }
        let repo = self.repo.open(world)?;
        let target = self.target.require(&repo)?;
        let mut policy = policy_of(&repo.manifests()?, &target)?.unwrap_or_default();
        self.apply(&mut policy);
        policy.check(&target).map_err(|error| {
            Failure::wrong_usage(format!(
                "the policy of {target} would not be sound: {error}"
            ))
        })?;
        save_policy(&Writer::new(&repo, 1)?, &target, &policy)?;
        Ok(Answer::new(
            format!("stored the policy of {target}"),
            json!({ "target": target.to_string(), "policy": value_of(&policy) }),
        ))
    }

    /// Changes what the options say; says whether they say anything.
    fn apply(&self, policy: &mut Policy) -> bool {
        let parts = [
            self.retention.apply(policy),
            self.compression.apply(policy),
            self.files.apply(policy),
            self.upload.apply(policy),
            self.inherit.is_some(),
        ];
        if let Some(inherit) = self.inherit {
            policy.no_parent = !inherit;
        }
        parts.contains(&true)
    }
}

/// Takes over options into members that may be open.
macro_rules! put {
    ($($option:expr => $member:expr;)*) => {{
        let mut any = false;
        $(
            if let Some(setting) = &$option {
                $member = setting.value();
                any = true;
            }
        )*
        any
    }};
}

impl Retention {
    fn apply(&self, policy: &mut Policy) -> bool {
        let retention = &mut policy.retention;
        put! {
            self.keep_latest => retention.keep_latest;
            self.keep_hourly => retention.keep_hourly;
            self.keep_daily => retention.keep_daily;
            self.keep_weekly => retention.keep_weekly;
            self.keep_monthly => retention.keep_monthly;
            self.keep_annual => retention.keep_annual;
            self.ignore_identical_snapshots => retention.ignore_identical_snapshots;
        }
    }
}

impl Compression {
    fn apply(&self, policy: &mut Policy) -> bool {
        let compression = &mut policy.compression;
        let mut any = false;
        for (option, member) in [
            (&self.compression, &mut compression.compressor_name),
            (
                &self.metadata_compression,
                &mut policy.metadata_compression.compressor_name,
            ),
            (&self.splitter, &mut policy.splitter.algorithm),
        ] {
            if let Some(setting) = option {
                *member = setting.value().unwrap_or_default();
                any = true;
            }
        }
        for (option, member) in [
            (&self.compression_min_size, &mut compression.min_size),
            (&self.compression_max_size, &mut compression.max_size),
        ] {
            any |= put_number(option.as_ref(), member);
        }
        let only = Change {
            add: &self.add_only_compress,
            remove: &self.remove_only_compress,
            clear: self.clear_only_compress,
        };
        let never = Change {
            add: &self.add_never_compress,
            remove: &self.remove_never_compress,
            clear: self.clear_never_compress,
        };
        any | only.apply(&mut compression.only_compress)
            | never.apply(&mut compression.never_compress)
    }
}

impl Files {
    fn apply(&self, policy: &mut Policy) -> bool {
        let files = &mut policy.files;
        let errors = &mut policy.error_handling;
        let settings = put! {
            self.one_file_system => files.one_file_system;
            self.ignore_cache_dirs => files.ignore_cache_dirs;
            self.ignore_file_errors => errors.ignore_file_errors;
            self.ignore_dir_errors => errors.ignore_directory_errors;
            self.ignore_unknown_types => errors.ignore_unknown_types;
        };
        let patterns = Change {
            add: &self.add_ignore,
            remove: &self.remove_ignore,
            clear: self.clear_ignore,
        };
        let names = Change {
            add: &self.add_dot_ignore,
            remove: &self.remove_dot_ignore,
            clear: self.clear_dot_ignore,
        };
        settings
            | put_number(self.max_file_size.as_ref(), &mut files.max_file_size)
            | patterns.apply(&mut files.ignore)
            | names.apply(&mut files.ignore_dot_files)
    }
}

impl Upload {
    fn apply(&self, policy: &mut Policy) -> bool {
        let upload = &mut policy.upload;
        let mib = |setting: &Setting<i64>| setting.value().map(|mib| mib.saturating_mul(1 << 20));
        if let Some(setting) = &self.parallel_upload_above_size_mib {
            upload.parallel_upload_above_size = mib(setting);
        }
        let counts = put! {
            self.max_parallel_file_reads => upload.max_parallel_file_reads;
            self.max_parallel_snapshots => upload.max_parallel_snapshots;
        };
        counts || self.parallel_upload_above_size_mib.is_some()
    }
}

/// Takes over a number that is 0 when it is open.
fn put_number(setting: Option<&Setting<i64>>, member: &mut i64) -> bool {
    if let Some(setting) = setting {
        *member = setting.value().unwrap_or_default();
    }
    setting.is_some()
}

/// A change of a list, which Kopia keeps sorted.
struct Change<'a> {
    add: &'a [String],
    remove: &'a [String],
    clear: bool,
}

impl Change<'_> {
    fn apply(&self, list: &mut Vec<String>) -> bool {
        if !self.clear && self.add.is_empty() && self.remove.is_empty() {
            return false;
        }
        let mut members: BTreeSet<String> = match self.clear {
            true => BTreeSet::new(),
            false => list.drain(..).collect(),
        };
        members.extend(self.add.iter().cloned());
        for gone in self.remove {
            members.remove(gone);
        }
        *list = members.into_iter().collect();
        true
    }
}
