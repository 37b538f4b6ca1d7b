//! `agent_update`: fetching a newer program, checking it, and putting it in this one's place. The
//! command is answered once it is known whether the new one works: by that one, or by this one when
//! it was put back.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use protocol::NoAnswer;
use protocol::commands::AgentUpdate;
use protocol::identifier::{CommandId, UpdateJobId};
use protocol::update_progress::{UpdateProgress, UpdateState};

use super::failed;
use super::{Reply, complete, failure, success};
use crate::command_journal::Order as Written;
use crate::control_plane::CallError;
use crate::parts::Parts;
use crate::update::{
    Download, Fetched, Place, Stage, Trial, Update, Version, Wanted, check_direction, check_label,
    said_by, sha256_of, wanted,
};

/// So much room stays on the volume of the program.
const ROOM_LEFT_BYTES: u64 = 64 << 20;
/// How far a download is, is told this long after the last time.
const TELL_PAUSE: Duration = Duration::from_secs(15);
/// Runs that go on are waited for so long; then backups are interrupted, which go on afterwards.
const RUNS_MAX: Duration = Duration::from_mins(10);
/// A program says its version within so long, also on a machine that is busy.
const VERSION_MAX: Duration = Duration::from_secs(60);
/// So often it is looked whether it has.
const VERSION_LOOK: Duration = Duration::from_millis(50);
/// And no more is heard of what it says.
const ANSWER_BYTES_MAX: u64 = 4096;

/// Carries the order out, up to the restart.
pub fn carry_out(parts: &Parts, id: CommandId, order: &AgentUpdate) -> Result<Reply, String> {
    let refused = |why: String| {
        progress(parts, order.update_job_id, UpdateState::Failed, &why);
        Err(why)
    };
    let begun = match begin(parts, id, order) {
        Ok(Some(begun)) => begun,
        Ok(None) => return Ok(Reply::Done("this very program runs already".to_owned())),
        Err(why) => return refused(why),
    };
    let (wanted, place) = begun;
    let _runs_again = RunsAgain(parts);
    match prepare(parts, order, &wanted, &place).and_then(|version| replace(parts, order, &version))
    {
        Ok(()) => {
            parts
                .log
                .info("the service is started anew as its new version");
            parts.restart();
            progress(parts, order.update_job_id, UpdateState::Restarting, "");
        }
        Err(why) => {
            if let Err(error) = parts.updates.fails(&why) {
                if !parts.updates.is_over() {
                    return refused(format!("{why}; failed to {error}"));
                }
                parts.log.error(&format!("failed to {error}"));
            }
            tell_end(parts);
        }
    }
    Ok(Reply::Later)
}

/// Lets runs begin again when it goes, by a panic too; none begins in a service that ends.
struct RunsAgain<'p>(&'p Parts);

impl Drop for RunsAgain<'_> {
    fn drop(&mut self) {
        self.0.updates.wait_for_runs(false);
    }
}

/// Writes down that an update begins; `None` if there is nothing to do.
fn begin(
    parts: &Parts,
    id: CommandId,
    order: &AgentUpdate,
) -> Result<Option<(Wanted, Place)>, String> {
    let wanted = wanted(order, &parts.ports.program)?;
    let program = parts.ports.executable.as_deref().ok_or(
        "this program does not know which file it was started from, so it cannot be replaced",
    )?;
    let old_sha256 = sha256_of(program)
        .map_err(|error| format!("failed to read {}: {error}", program.display()))?;
    if old_sha256 == wanted.sha256 {
        return Ok(None);
    }
    let update = Update {
        identity: parts.identity.clone(),
        command_id: id.0,
        update_job_id: order.update_job_id.0,
        from: parts.ports.program.version.clone(),
        to: order.version_label.clone(),
        program: program.to_owned(),
        old_sha256,
        new_sha256: wanted.sha256.clone(),
        stage: Stage::Preparing,
    };
    parts.updates.begin(update).map_err(failed)?;
    Ok(Some((wanted, Place::of(program))))
}

/// Fetches the new program and checks all that can be checked; returns its version.
fn prepare(
    parts: &Parts,
    order: &AgentUpdate,
    wanted: &Wanted,
    place: &Place,
) -> Result<Version, String> {
    let staged = place.staged();
    let download = Download {
        line: &*parts.ports.downloads,
        clock: &parts.ports.clock,
        stop: &parts.stop,
    };
    fetch(parts, order, wanted, &download, &staged)?;
    progress(parts, order.update_job_id, UpdateState::Verifying, "");
    let sum = sha256_of(&staged)
        .map_err(|error| format!("failed to read {}: {error}", staged.display()))?;
    if sum != wanted.sha256 {
        return Err(format!(
            "the SHA-256 of what was fetched is {sum}, and should be {}",
            wanted.sha256
        ));
    }
    match download.small(&wanted.signature_url) {
        Ok(Fetched::Content(signature)) => {
            let content = fs::read(&staged)
                .map_err(|error| format!("failed to read {}: {error}", staged.display()))?;
            parts
                .ports
                .release_keys
                .check(&content, &signature)
                .map_err(|why| format!("failed to check the signature: {why}"))?;
            parts.log.info("the new version is signed by a release key");
        }
        Ok(Fetched::Nothing) if order.require_signature => {
            return Err(
                "the order demands a signature, and there is none beside the file".to_owned(),
            );
        }
        Ok(Fetched::Nothing) => parts
            .log
            .info("the new version has no signature, and none is demanded"),
        Err(why) => return Err(format!("failed to look for a signature: {why}")),
    }
    place.make_runnable().map_err(failed)?;
    let version = version_of(parts, &staged)?;
    check_label(order, &version)?;
    check_direction(order, &version, &parts.ports.program)?;
    Ok(version)
}

fn fetch(
    parts: &Parts,
    order: &AgentUpdate,
    wanted: &Wanted,
    download: &Download<'_>,
    staged: &Path,
) -> Result<(), String> {
    let folder = staged.parent().unwrap_or(Path::new("/"));
    let room = local_file::room(folder)
        .map_err(|error| format!("failed to look for room in {}: {error}", folder.display()))?;
    let needed = wanted
        .size_bytes
        .unwrap_or(0)
        .saturating_add(ROOM_LEFT_BYTES);
    if room.free_bytes < needed {
        return Err(format!(
            "{} has {} bytes free, and {needed} are needed; make room there",
            folder.display(),
            room.free_bytes
        ));
    }
    progress(parts, order.update_job_id, UpdateState::Downloading, "");
    let mut told = parts.ports.clock.monotonic();
    let mut tell = |have: u64, total: Option<u64>| {
        let now = parts.ports.clock.monotonic();
        if now.saturating_sub(told) < TELL_PAUSE {
            return;
        }
        let detail = match total {
            Some(total) => format!("{have} of {total} bytes"),
            None => format!("{have} bytes"),
        };
        progress(
            parts,
            order.update_job_id,
            UpdateState::Downloading,
            &detail,
        );
        told = parts.ports.clock.monotonic();
    };
    let bytes = download
        .to_file(&wanted.url, wanted.bytes_max, staged, &mut tell)
        .map_err(|why| format!("failed to fetch the new version: {why}"))?;
    match wanted.size_bytes {
        Some(size) if size != bytes => Err(format!(
            "what was fetched has {bytes} bytes, and should have {size}"
        )),
        _ => Ok(()),
    }
}

/// Lets the new program say its version: so it is one that this machine can run.
fn version_of(parts: &Parts, program: &Path) -> Result<Version, String> {
    let why = |what: &str| format!("the new version cannot be used: {what}");
    let clock = &parts.ports.clock;
    let begun = clock.monotonic();
    let is_over = || clock.monotonic().saturating_sub(begun) >= VERSION_MAX;
    let mut child = loop {
        let started = Command::new(program)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        match started {
            Ok(child) => break Running(child),
            // Another thread's child, which is about to begin, has it open from us.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && !is_over() => {
                pause(parts)?;
            }
            Err(error) => return Err(why(&format!("it does not begin: {error}"))),
        }
    };
    let status = loop {
        match child.0.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if is_over() => {
                return Err(why("it does not say its version within a minute"));
            }
            Ok(None) => pause(parts)?,
            Err(error) => return Err(why(&format!("nobody knows how it ended: {error}"))),
        }
    };
    let mut answer = String::new();
    if let Some(out) = child.0.stdout.take() {
        // What is no text is no version either.
        let _ = out.take(ANSWER_BYTES_MAX).read_to_string(&mut answer);
    }
    match said_by(&answer) {
        Some(version) if status.success() => Ok(version),
        _ => Err(why(&format!(
            "asked for its version, it says no name and version of ours ({status})"
        ))),
    }
}

/// A program that is ended when nobody waits for it any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail for one that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pause(parts: &Parts) -> Result<(), String> {
    parts
        .ports
        .clock
        .sleep(VERSION_LOOK, &parts.stop)
        .map_err(|_| STOPPED.to_owned())
}

const STOPPED: &str = "the service is being stopped; order it again";

/// Puts the new program in place once no run goes on.
fn replace(parts: &Parts, order: &AgentUpdate, version: &Version) -> Result<(), String> {
    progress(parts, order.update_job_id, UpdateState::Applying, "");
    parts.updates.wait_for_runs(true);
    let clock = &parts.ports.clock;
    let begun = clock.monotonic();
    let mut is_told = false;
    loop {
        let runs = parts.active.list();
        if runs.is_empty() && parts.backups_running.load(Ordering::SeqCst) == 0 {
            break;
        }
        if !is_told {
            is_told = true;
            let words = format!("waits for {} runs to end", runs.len());
            parts.log.info(&format!("the update {words}"));
            progress(parts, order.update_job_id, UpdateState::Applying, &words);
        }
        if clock.monotonic().saturating_sub(begun) >= RUNS_MAX {
            if runs.iter().any(|(run, _)| !run.is_backup) {
                return Err(
                    "a restore goes on, which an update would end; order it again later".to_owned(),
                );
            }
            parts
                .log
                .warn("backups are interrupted for the update, and go on after it");
            break;
        }
        let slept = clock.sleep(parts.ports.cadence.look, &parts.stop);
        slept.map_err(|_| STOPPED.to_owned())?;
    }
    parts.updates.replace(&version.to_string()).map_err(failed)
}

/// Looks how the trial of a new program goes.
pub fn look(parts: &Parts) {
    match parts.updates.look() {
        Ok(Trial::Open) => {}
        Ok(Trial::Passed) => {
            parts.log.info("this version has shown that it works");
            tell_end(parts);
        }
        Ok(Trial::PutBack) => {
            parts.log.error(
                "this version does not reach the control plane; the one from before takes its place",
            );
            parts.restart();
        }
        Err(error) => parts.log.error(&format!("failed to {error}")),
    }
}

/// Tells how an update ended, if one has and it is not known yet.
pub fn tell_end(parts: &Parts) {
    let mut known = None;
    let told = parts.updates.tell(|update, why| {
        if update.identity != parts.identity {
            // Whoever ordered it is nobody's control plane any more.
            return true;
        }
        let outcome = match why {
            Some(why) => failure(parts.log.redacted(why)),
            None => success(format!(
                "version {} took the place of {}",
                update.to, update.from
            )),
        };
        let id = CommandId(update.command_id);
        parts
            .journal
            .finish(&Written::Command { id: id.0 }, outcome.clone());
        let job = UpdateJobId(update.update_job_id);
        let is_told =
            why.is_none_or(|_| progress(parts, job, UpdateState::Failed, &outcome.message));
        if is_told {
            known = Some((id, outcome));
        }
        is_told
    });
    if let Err(error) = told {
        parts.log.error(&format!("failed to {error}"));
    }
    if let Some((id, outcome)) = known {
        let why = Some(&*outcome.message).filter(|_| !outcome.is_done);
        match why {
            Some(why) => parts
                .log
                .warn(&format!("command {id} (agent_update) failed: {why}")),
            None => parts.log.info(&outcome.message),
        }
        parts.health.command_ended(id, "agent_update", why);
        complete(parts, id, &outcome);
    }
}

/// Tells how far it is; returns whether that needs no telling any more.
fn progress(parts: &Parts, job: UpdateJobId, state: UpdateState, detail: &str) -> bool {
    let call = UpdateProgress {
        update_job_id: job,
        state,
        detail: parts.log.redacted(detail),
        agent_version: parts.ports.program.version.clone(),
    };
    match parts.plane.call(&call, &parts.cut) {
        Ok(()) => true,
        Err(CallError::NoAnswer(NoAnswer::Refused { .. } | NoAnswer::NoSuchEndpoint)) => true,
        Err(error) => {
            parts
                .log
                .debug(&format!("how far the update is could not be told: {error}"));
            false
        }
    }
}
