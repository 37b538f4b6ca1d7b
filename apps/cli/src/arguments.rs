//! The command line: what there is to say.

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::answer::Answer;
use crate::commands::{
    backup, completions, enroll, host, hyperv, points, policy, repo, restore, run, service, sim,
    status,
};
use crate::failure::Failure;
use crate::globals::Globals;
use crate::world::World;

/// Backs up whole Hyper-V virtual machines into Kopia repositories, and brings them back.
#[derive(Debug, Parser)]
#[command(name = "e3-backup-agent", bin_name = "e3-backup-agent", version, propagate_version = true, max_term_width = 110, after_help = AFTER_HELP)]
pub struct CommandLine {
    /// Options of every command.
    #[command(flatten)]
    pub globals: Globals,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  e3-backup-agent repo create --repo /srv/backup
  e3-backup-agent backup vm --all --repo /srv/backup
  e3-backup-agent points list --repo /srv/backup
  e3-backup-agent restore vm 8f3a --repo /srv/backup --to /restore/web

No Hyper-V at hand? A folder can play the host:
  e3-backup-agent sim create /tmp/host
  e3-backup-agent sim add-vm /tmp/host --name web --disk disk.vhdx
  e3-backup-agent backup vm web --host sim:/tmp/host --repo /srv/backup

A repository (--repo) is a folder, or
  s3://bucket/prefix?endpoint=URL&region=R&style=path|virtual&ca=FILE&insecure=true
with credentials from the AWS variables, ~/.aws/credentials or the machine's role. Its password
comes from --password-file, from E3_REPO_PASSWORD, from what `repo remember` keeps on this machine,
or is asked for, in this order. On Windows, folders on a share (\\\\server\\share\\…) are reached with
the account in E3_SMB_USER and E3_SMB_PASSWORD, where these are set.

Exit status: 0 all done, 1 failed, 2 wrong usage, 3 done in part, 4 wrong password, 5 repository
or point not found, 130 cancelled.";

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at a Hyper-V host: its VMs, their disks and tracking, what was left behind.
    #[command(subcommand)]
    Host(host::Command),
    /// Back up virtual machines, files and folders.
    #[command(subcommand)]
    Backup(backup::Command),
    /// Look at the restore points of a repository, keep and delete them.
    #[command(subcommand)]
    Points(points::Command),
    /// Say how long points are kept and how data is stored.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Bring back virtual machines, disks or files.
    #[command(subcommand)]
    Restore(restore::Command),
    /// Create, look at and verify repositories.
    #[command(subcommand)]
    Repo(repo::Command),
    /// Be the service: take work from a control plane and report to it, in the foreground.
    Run(run::Run),
    /// Make this machine known to a control plane.
    Enroll(enroll::Enroll),
    /// Show what the service is doing now.
    Status(status::Status),
    /// Install this program as a service, start and stop it, see how it is.
    #[command(subcommand)]
    Service(service::Command),
    /// Ask this machine's Hyper-V what it does.
    #[command(subcommand)]
    Hyperv(hyperv::Command),
    /// Drive a simulated Hyper-V host: a folder that behaves like one.
    #[command(subcommand)]
    Sim(sim::Command),
    /// Print a script that lets a shell complete this command line.
    Completions(completions::Completions),
}

impl Command {
    /// Returns whether this is what a service manager starts.
    #[cfg(windows)]
    pub fn is_the_service(&self) -> bool {
        matches!(self, Self::Run(_))
    }

    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        match self {
            Self::Host(command) => command.run(world),
            Self::Backup(command) => command.run(world),
            Self::Points(command) => command.run(world),
            Self::Policy(command) => command.run(world),
            Self::Restore(command) => command.run(world),
            Self::Repo(command) => command.run(world),
            Self::Run(command) => command.run(world),
            Self::Enroll(command) => command.run(world),
            Self::Status(command) => command.run(world),
            Self::Service(command) => command.run(world),
            Self::Hyperv(command) => command.run(world),
            Self::Sim(command) => command.run(world),
            Self::Completions(command) => command.run(CommandLine::command()),
        }
    }
}
