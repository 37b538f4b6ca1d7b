//! `backup files`: files and folders, as `kopia snapshot create` stores them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backup::files::rules::checked_pattern;
use backup::files::{
    FileBackup, FileCounts, FileFailure, FileOptions, FileReport, FileSource, FileThreads,
};
use backup::vm::StateFolder;
use backup::{LockWait, tidy_up};
use blob::Location;
use clap::Args;
use progress::Progress;
use repo::Writer;
use serde_json::{Value, json};

use crate::amounts;
use crate::answer::Answer;
use crate::display::Subjects;
use crate::failure::{CANCELLED, DONE_IN_PART, FAILED, Failure, FailureKind};
use crate::plain;
use crate::repositories::RepoArguments;
use crate::stderr;
use crate::world::World;

/// Failures of a source that the text names; the document names more.
const NAMED_MAX: usize = 20;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent backup files /home --repo /srv/backup
  e3-backup-agent backup files /etc /srv --repo s3://bucket/web01 --exclude '*.tmp' --exclude /cache/
  e3-backup-agent backup files /etc /srv --name web01-data --repo /srv/backup
  e3-backup-agent backup files /srv --exclude '*' --exclude '!*/' --exclude '!*.sql' --repo R
  e3-backup-agent backup files /home --dry-run --repo /srv/backup

Each PATH becomes a snapshot of its own, filed under its absolute path as Kopia does; with --name
all become one. Files whose name, length, times, owner and permissions are as in the last snapshot
are not read again. What is left out, and how files are compressed, the repository's policies say,
and .kopiaignore files in the folders; what begins with ! is taken all the same, as in the example
that takes nothing but *.sql. Entries that cannot be read are named and the exit status is 3; the
rest is in the snapshot.")]
pub struct Files {
    /// The folders and files to back up.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    repo: RepoArguments,
    /// Put all paths into one snapshot, filed under this name.
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    name: Option<String>,
    /// Leave out what matches, in the syntax of .gitignore, beside what policies say.
    #[arg(long, value_name = "GLOB", value_parser = checked_pattern)]
    exclude: Vec<String>,
    /// Stay on the file system that each PATH is on.
    #[arg(long)]
    one_file_system: bool,
    /// Leave out files longer than so many bytes.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    max_file_size: Option<u64>,
    /// Read every file, whatever its times say.
    #[arg(long)]
    full: bool,
    /// Make no snapshot of a PATH of which something cannot be read.
    #[arg(long)]
    fail_fast: bool,
    /// Tell what would be read and left out, and store nothing.
    #[arg(long)]
    dry_run: bool,
    /// Wait so long for somebody else who works on the same, then fail and say who it is.
    #[arg(long, value_name = "N", default_value_t = 10)]
    wait_minutes: u32,
    /// What to say about the snapshot.
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// A tag of the snapshot.
    #[arg(long, value_name = "KEY:VALUE", value_parser = tag)]
    tag: Vec<(String, String)>,
    /// Files read at once [default: twice the processors]; fewer where memory would not do.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// The memory that all of it may take; fewer threads work if it is little.
    #[arg(long, value_name = "N", default_value_t = FileThreads::MEMORY_MIB, value_parser = clap::value_parser!(u32).range(i64::from(FileThreads::MEMORY_MIB_MIN)..))]
    memory_mib: u32,
}

/// What became of one source.
struct Outcome {
    name: String,
    result: Result<FileReport, Failure>,
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a tag has the form KEY:VALUE".to_owned()),
    }
}

impl Files {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let repo = self.repo.open(world)?;
        for path in &self.paths {
            world.reach(&absolute(path)?)?;
        }
        let sources = self.sources(&repo.identity().username, &repo.identity().hostname)?;
        let segment_bytes_max = repo.splitter()?.segment_bytes_max();
        let memory_bytes = u64::from(self.memory_mib) << 20;
        let wanted = self.workers.map(usize::from);
        let threads = FileThreads::within(memory_bytes, segment_bytes_max, wanted);
        let writer = Writer::new(&repo, threads.uploads)?;
        let options = self.options(threads.workers);
        let progress = world.progress(Subjects::Wholes);
        let backup = FileBackup {
            writer: &writer,
            options: &options,
        };
        if self.dry_run {
            return estimate(&backup, &sources, &progress);
        }
        let state = world.state()?;
        let mut outcomes = Vec::new();
        for (name, source) in sources {
            let wait_max = Duration::from_mins(self.wait_minutes.into());
            let result = run_one(&backup, &state, &source, wait_max, &progress.about(&name));
            outcomes.push(Outcome { name, result });
        }
        let mut warnings = self.holding_the_repository()?;
        if outcomes.iter().any(|outcome| outcome.result.is_ok()) {
            warnings.extend(tidy_up(&writer));
        }
        warnings.iter().for_each(|warning| stderr::warn(warning));
        Ok(answer(&outcomes, &warnings, world.stop().is_stopped()))
    }

    /// Returns what is to be backed up, each with the name that people know it by.
    fn sources(&self, user: &str, host: &str) -> Result<Vec<(String, FileSource)>, Failure> {
        let absolute: Vec<PathBuf> = self
            .paths
            .iter()
            .map(|path| absolute(path))
            .collect::<Result<_, _>>()?;
        if let Some(name) = &self.name {
            let source = FileSource::several(user, host, name, &absolute);
            return Ok(vec![(name.clone(), source)]);
        }
        let mut sources: Vec<(String, FileSource)> = Vec::new();
        for path in &absolute {
            let source = FileSource::one(user, host, path);
            if sources.iter().all(|(_, other)| *other != source) {
                sources.push((source.identity.path.clone(), source));
            }
        }
        Ok(sources)
    }

    /// Warns of paths that hold the repository: each run would store all that the runs before stored.
    fn holding_the_repository(&self) -> Result<Vec<String>, Failure> {
        let Location::Folder(folder) = self.repo.location()? else {
            return Ok(Vec::new());
        };
        let Ok(folder) = folder.canonicalize() else {
            return Ok(Vec::new());
        };
        let paths = self.paths.iter().filter(|path| {
            let whole = path.canonicalize();
            whole.is_ok_and(|whole| folder.starts_with(whole))
        });
        let warnings = paths.map(|path| {
            format!(
                "{} holds the repository itself, which grows by its own size with every run unless rules leave it out: --exclude, or a policy",
                path.display()
            )
        });
        Ok(warnings.collect())
    }

    fn options(&self, workers: usize) -> FileOptions {
        FileOptions {
            full: self.full,
            exclude: self.exclude.clone(),
            one_file_system: self.one_file_system,
            file_bytes_max: self.max_file_size,
            fail_fast: self.fail_fast,
            description: self.description.clone(),
            tags: self.tag.iter().cloned().collect::<BTreeMap<_, _>>(),
            workers,
            ..FileOptions::default()
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::wrong_usage(format!("{}: {error}", path.display())))
}

/// Backs one source up, alone: a second run of it would read and store the same beside this one.
fn run_one(
    backup: &FileBackup<'_>,
    state: &StateFolder,
    source: &FileSource,
    wait_max: Duration,
    progress: &Progress,
) -> Result<FileReport, Failure> {
    let repository = backup.writer.repository().unique_id_hex();
    let wait = LockWait {
        clock: backup.writer.repository().clock().as_ref(),
        progress,
        max: wait_max,
    };
    let result = state
        .lock_source(&repository, &source.identity, &wait)
        .and_then(|_lock| backup.run(source, progress));
    progress.ends(result.is_ok());
    result.map_err(Failure::from)
}

fn estimate(
    backup: &FileBackup<'_>,
    sources: &[(String, FileSource)],
    progress: &Progress,
) -> Result<Answer, Failure> {
    let mut text = String::new();
    let mut documents = Vec::new();
    let mut is_whole = true;
    for (name, source) in sources {
        let progress = progress.about(name);
        let estimate = backup.estimate(source, &progress);
        progress.ends(estimate.is_ok());
        let estimate = estimate?;
        let counts = &estimate.counts;
        is_whole &= counts.failed == 0;
        let name = plain::line(name);
        let _ = writeln!(
            text,
            "{name}: would read {} files ({}); {} unchanged ({}), {} folders",
            counts.read_files,
            amounts::bytes(counts.read_bytes),
            counts.cached_files,
            amounts::bytes(counts.cached_bytes),
            counts.folders,
        );
        describe_rest(&mut text, counts, &estimate.failures);
        let mut document = counts_document(counts);
        document["path"] = json!(source.identity.path);
        document["dry_run"] = json!(true);
        document["errors"] = errors_document(&estimate.failures);
        document["warnings"] = json!(estimate.warnings);
        document["duration_ms"] = json!(millis(estimate.duration));
        documents.push(document);
    }
    let status = if is_whole { 0 } else { DONE_IN_PART };
    let document = json!({ "sources": documents, "warnings": [] });
    Ok(Answer::with_status(text, document, status))
}

fn answer(outcomes: &[Outcome], warnings: &[String], was_stopped: bool) -> Answer {
    let mut text = String::new();
    let mut failures: Vec<&Failure> = Vec::new();
    let mut is_whole = true;
    for outcome in outcomes {
        match &outcome.result {
            Ok(report) => {
                is_whole &= report.counts.failed == 0;
                describe(&mut text, &outcome.name, report);
            }
            Err(failure) => {
                failure.tell_of(&outcome.name);
                failures.push(failure);
            }
        }
    }
    let sources: Vec<Value> = outcomes.iter().map(document).collect();
    let mut document = json!({ "sources": sources, "warnings": warnings });
    let is_cancelled = |failure: &&Failure| failure.kind() == FailureKind::Cancelled;
    let status = match failures.len() {
        0 if is_whole => 0,
        0 => DONE_IN_PART,
        _ if was_stopped && failures.iter().any(is_cancelled) => CANCELLED,
        failed if failed < outcomes.len() => DONE_IN_PART,
        _ => FAILED,
    };
    if let Some(first) = failures.first()
        && failures.len() == outcomes.len()
    {
        document["error"] = first.document();
    }
    if !failures.is_empty() && failures.len() < outcomes.len() {
        let _ = writeln!(
            text,
            "{} of {} sources failed",
            failures.len(),
            outcomes.len()
        );
    }
    Answer::with_status(text, document, status)
}

fn describe(text: &mut String, name: &str, report: &FileReport) {
    let counts = &report.counts;
    let name = plain::line(name);
    let _ = writeln!(
        text,
        "{name}: {} files, {} folders, {} links, {} in {}: point {}",
        counts.files,
        counts.folders,
        counts.symlinks,
        amounts::bytes(counts.bytes),
        amounts::duration(report.duration),
        report.point_id
    );
    let _ = writeln!(
        text,
        "  read {} files ({}), {} unchanged ({}), {} new in the repository",
        counts.read_files,
        amounts::bytes(counts.read_bytes),
        counts.cached_files,
        amounts::bytes(counts.cached_bytes),
        amounts::bytes(counts.uploaded_bytes),
    );
    describe_rest(text, counts, &report.failures);
}

/// Tells what is not in the snapshot.
fn describe_rest(text: &mut String, counts: &FileCounts, failures: &[FileFailure]) {
    if counts.excluded_files + counts.excluded_folders > 0 {
        let _ = writeln!(
            text,
            "  left out by rules: {} files ({}), {} folders",
            counts.excluded_files,
            amounts::bytes(counts.excluded_bytes),
            counts.excluded_folders
        );
    }
    let unread = counts.failed + counts.ignored;
    if unread > 0 {
        let _ = writeln!(text, "  {unread} entries could not be read:");
        for failure in failures.iter().take(NAMED_MAX) {
            let ignored = if failure.is_ignored { " (ignored)" } else { "" };
            let named = format!("{}: {}{ignored}", failure.path, failure.reason);
            let _ = writeln!(text, "    {}", plain::line(&named));
        }
        if unread > NAMED_MAX as u64 {
            let _ = writeln!(text, "    and {} more", unread - NAMED_MAX as u64);
        }
    }
}

fn document(outcome: &Outcome) -> Value {
    let report = match &outcome.result {
        Ok(report) => report,
        Err(failure) => return json!({ "path": outcome.name, "error": failure.document() }),
    };
    let source = &report.source;
    let mut document = counts_document(&report.counts);
    document["path"] = json!(source.path);
    document["user"] = json!(source.user_name);
    document["host"] = json!(source.host);
    document["point_id"] = json!(report.point_id);
    document["root"] = json!(report.root.to_string());
    document["errors"] = errors_document(&report.failures);
    document["warnings"] = json!(report.warnings);
    document["duration_ms"] = json!(millis(report.duration));
    document
}

fn errors_document(failures: &[FileFailure]) -> Value {
    let errors = failures.iter().map(|failure| {
        json!({
            "path": failure.path,
            "error": failure.reason,
            "ignored": failure.is_ignored,
        })
    });
    errors.collect()
}

fn counts_document(counts: &FileCounts) -> Value {
    json!({
        "files": counts.files,
        "folders": counts.folders,
        "symlinks": counts.symlinks,
        "bytes": counts.bytes,
        "unchanged_files": counts.cached_files,
        "unchanged_bytes": counts.cached_bytes,
        "read_files": counts.read_files,
        "read_bytes": counts.read_bytes,
        "uploaded_bytes": counts.uploaded_bytes,
        "excluded_files": counts.excluded_files,
        "excluded_bytes": counts.excluded_bytes,
        "excluded_folders": counts.excluded_folders,
        "vanished": counts.vanished,
        "failed": counts.failed,
        "ignored": counts.ignored,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
