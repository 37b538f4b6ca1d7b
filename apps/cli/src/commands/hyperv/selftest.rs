//! `hyperv selftest`: what only a real host can answer, asked of one, with a report.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use backup::vm::HoldLimits;
use clap::Args;
use hyperv::{Vm, VmState};
use selftest::{HostFacts, Options, Report, SelfTest};
use serde_json::json;
use windows_host::hyperv::Beliefs;

use crate::answer::Answer;
use crate::display::Subjects;
use crate::failure::{FAILED, Failure, FailureKind};
use crate::hosts::HostArguments;
use crate::vm_names;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Selftest {
    /// The VM to try it with, by name or GUID; without, it makes a small one.
    #[arg(long, value_name = "NAME")]
    vm: Option<String>,
    /// Where the report goes, in Markdown; the same as JSON goes to FILE.json.
    #[arg(long, value_name = "FILE")]
    report: PathBuf,
    /// Do not ask before a running VM is touched.
    #[arg(long)]
    yes: bool,
    /// Give a checkpoint up when a volume of the VM has less room than this.
    #[arg(long, value_name = "N", default_value_t = 4)]
    min_free_gib: u32,
    /// Leave a frozen disk alone for so long between two readings.
    #[arg(long, value_name = "N", default_value_t = 15)]
    settle_seconds: u64,
    #[command(flatten)]
    host: HostArguments,
}

const AFTER_HELP: &str = "\
Examples:
  e3-backup-agent hyperv selftest --vm test1 --report selftest.md
  e3-backup-agent hyperv selftest --vm web --report selftest.md --yes --json
  e3-backup-agent hyperv selftest --report selftest.md

It takes up to seven checkpoints of the VM, one after another, as backups do, reads up to 256 MiB
of each disk three times, makes two reference points, imports the VM's configuration under a new
id without ever starting it, and undoes all of that. The guest is quiesced once. Change tracking
of the VM's disks stays on, as after any backup. What a killed self-test left is removed by the next
one, or by `host clean`.

Without --vm it makes a VM of generation 1 named `e3 selftest VM …`, with a disk of 16 MiB, never
starts it, and removes it with its files in the end. A VM that runs and writes answers more.

The report says what was confirmed, what was refuted, what was not tried and why, and what the
agent does differently because of it. It names this VM, no other, no account, and no path unless an
error does. The answers are kept in the state folder and used for as long as this build of Windows
runs here.

Exit status: 0 if all was asked and undone, whatever the answers; 1 otherwise.";

impl Selftest {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let connector = self.host.connector(world)?;
        let state_folder = world.state_folder()?;
        let options = self.options();
        let test = SelfTest {
            connect: &*connector,
            state_folder: &state_folder,
            options: &options,
            clock: world.clock(),
            chance: world.chance(),
            agent_version: env!("CARGO_PKG_VERSION"),
        };
        let progress = world.progress(Subjects::Wholes);
        let (progress, report) = match &self.vm {
            Some(name) => {
                let host = connector.connect(&Beliefs::default())?.host;
                let vms = host.vms()?;
                let vm = vm_names::find(&vms, name)?;
                self.ask(world, vm)?;
                let progress = progress.about(&vm.name);
                let report = test.run(vm.id, &progress);
                (progress, report)
            }
            None => {
                let progress = progress.about("a VM of its own");
                let report = test.run_with_own_vm(&progress);
                (progress, report)
            }
        };
        progress.ends(report.is_ok());
        self.answer(&report?)
    }

    fn options(&self) -> Options {
        let options = Options::default();
        Options {
            settle: Duration::from_secs(self.settle_seconds),
            hold_limits: HoldLimits {
                free_bytes_min: u64::from(self.min_free_gib) << 30,
                ..options.hold_limits
            },
            ..options
        }
    }

    /// Asks before a running VM is touched.
    fn ask(&self, world: &World, vm: &Vm) -> Result<(), Failure> {
        if self.yes || vm.state != VmState::Running {
            return Ok(());
        }
        let what = format!(
            "{} runs. Its guest will be quiesced once, up to seven checkpoints of it will be taken and removed, and its disks will be read",
            vm.name
        );
        if !std::io::stdin().is_terminal() {
            return Err(Failure::wrong_usage(format!("{what}: say --yes")));
        }
        eprint!("{what}. Go on? [y/N] ");
        let _ = std::io::stderr().flush();
        let mut line = String::new();
        let read = world.while_asking(|| std::io::stdin().read_line(&mut line));
        match read.is_ok() && matches!(line.trim(), "y" | "Y" | "yes") {
            true => Ok(()),
            false => Err(Failure::new(FailureKind::Cancelled, "nothing was done")),
        }
    }

    fn answer(&self, report: &Report) -> Result<Answer, Failure> {
        let json_file = beside(&self.report);
        let document = report.document();
        let bytes = serde_json::to_vec_pretty(&document).expect("a report has no odd keys");
        write(&self.report, report.markdown().as_bytes())?;
        write(&json_file, &bytes)?;
        let whole = report.ended_early.is_none() && report.is_undone();
        let (text, status) = (self.text(report), if whole { 0 } else { FAILED });
        let files = json!({ "markdown": self.report, "json": json_file });
        let document = json!({ "report": document, "files": files });
        Ok(Answer::with_status(text, document, status))
    }

    fn text(&self, report: &Report) -> String {
        let (confirmed, refuted, not_tried) = report.counts();
        let mut text = format!("{confirmed} confirmed, {refuted} refuted, {not_tried} not tried\n");
        for (id, what) in report.differently() {
            let _ = writeln!(text, "  {id}: {what}");
        }
        if let Some(why) = &report.ended_early {
            let _ = writeln!(text, "it ended early: failed to {why}");
        }
        if !report.is_undone() {
            text.push_str("not everything is undone; `host clean` removes what is left\n");
        }
        text.push_str(match &report.host {
            HostFacts::Windows { .. } if report.ended_early.is_some() || self.vm.is_none() => {
                "the answers are kept; earlier ones stay, but for what this self-test refuted\n"
            }
            HostFacts::Windows { .. } => "the answers are kept, and used from now on\n",
            HostFacts::Simulated => {
                "a simulated host: its answers say nothing of a real one, and are not kept\n"
            }
        });
        let _ = writeln!(
            text,
            "report: {} and {}",
            self.report.display(),
            beside(&self.report).display()
        );
        text
    }
}

/// Returns the name of the document beside a report.
fn beside(report: &Path) -> PathBuf {
    let mut name = report.as_os_str().to_owned();
    name.push(".json");
    PathBuf::from(name)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|error| {
        let message = format!("failed to write the report {}: {error}", path.display());
        Failure::new(FailureKind::Failed, message)
    })
}
