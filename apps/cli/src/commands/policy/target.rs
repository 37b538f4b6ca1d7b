//! What a policy command is about: everything, a host, a user, a path, or a VM.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use kopia::policy::PolicyTarget;
use kopia::snapshot::SnapshotSource;
use point::Points;
use repo::{Identity, Repository};

use crate::commands::points::list;
use crate::failure::{Failure, FailureKind};
use crate::identity;

/// Which policy.
#[derive(Debug, Args)]
pub struct TargetArguments {
    /// What the policy is of: user@host:path, user@host, @host, or a folder of this machine.
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    /// The policy for everything.
    #[arg(long, conflicts_with_all = ["target", "vm"])]
    global: bool,
    /// The policy of this VM, which has points in the repository: its name or GUID.
    #[arg(long, value_name = "NAME", conflicts_with = "target")]
    vm: Option<String>,
}

impl TargetArguments {
    /// Returns what was named, if anything was.
    pub fn find(&self, repo: &Arc<Repository>) -> Result<Option<PolicyTarget>, Failure> {
        match (&self.target, &self.vm, self.global) {
            (Some(text), ..) => parse(text, &identity::identity()).map(Some),
            (_, Some(vm), _) => of_vm(repo, vm).map(Some),
            (.., true) => Ok(Some(PolicyTarget::global())),
            _ => Ok(None),
        }
    }

    /// Returns what was named.
    ///
    /// # Errors
    /// `WrongUsage` if nothing was.
    pub fn require(&self, repo: &Arc<Repository>) -> Result<PolicyTarget, Failure> {
        self.find(repo)?.ok_or_else(|| {
            Failure::wrong_usage(
                "which policy? Say --global, --vm NAME, user@host:path, user@host, @host or a folder",
            )
        })
    }
}

fn of_vm(repo: &Arc<Repository>, vm: &str) -> Result<PolicyTarget, Failure> {
    let points = Points::load(repo)?;
    let targets: BTreeSet<PolicyTarget> = points
        .iter()
        .filter(|point| list::is_of_vm(point, vm))
        .map(|point| PolicyTarget::source(&point.snapshot().manifest.source))
        .collect();
    let targets: Vec<PolicyTarget> = targets.into_iter().collect();
    match &targets[..] {
        [only] => Ok(only.clone()),
        [] => Err(Failure::new(
            FailureKind::PointNotFound,
            format!("the repository has no points of a VM named {vm:?}"),
        )),
        _ => {
            let names: Vec<String> = targets.iter().map(ToString::to_string).collect();
            Err(Failure::wrong_usage(format!(
                "several sources have points of {vm:?}; name one: {}",
                names.join(", ")
            )))
        }
    }
}

/// Reads a target as Kopia does; a folder is one of this user and machine.
fn parse(text: &str, identity: &Identity) -> Result<PolicyTarget, Failure> {
    let source = |user: &str, host: &str, path: &str| {
        PolicyTarget::source(&SnapshotSource {
            host: host.to_owned(),
            user_name: user.to_owned(),
            path: path.to_owned(),
        })
    };
    if text == "(global)" {
        return Ok(PolicyTarget::global());
    }
    let is_folder = text.starts_with(['/', '.', '\\']) || text.get(1..2) == Some(":");
    if let Some((user, rest)) = text.split_once('@').filter(|_| !is_folder) {
        let (host, path) = rest.split_once(':').unwrap_or((rest, ""));
        if host.is_empty() || user.is_empty() && !path.is_empty() {
            return Err(Failure::wrong_usage(format!(
                "{text:?} is no target: write user@host:path, user@host or @host"
            )));
        }
        return Ok(source(user, host, path));
    }
    let path = std::path::absolute(Path::new(text))
        .map_err(|error| Failure::wrong_usage(format!("{text:?} is no folder: {error}")))?;
    let path = path.to_str().ok_or_else(|| {
        Failure::wrong_usage(format!("{text:?} is no path that a policy can name"))
    })?;
    Ok(source(&identity.username, &identity.hostname, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_kopia_reads_them() {
        let identity = Identity {
            username: "me".to_owned(),
            hostname: "here".to_owned(),
        };
        for (text, expected) in [
            ("(global)", "(global)"),
            ("@hv01", "@hv01"),
            ("agent@hv01", "agent@hv01"),
            ("agent@hv01:hyperv/0a", "agent@hv01:hyperv/0a"),
            (r"joe@pc:C:\Users\joe\", r"joe@pc:C:\Users\joe"),
            ("joe@pc:/home/joe/", "joe@pc:/home/joe"),
        ] {
            assert_eq!(parse(text, &identity).unwrap().to_string(), expected);
        }
        for text in ["@", "joe@", "joe@:/x", "@pc:/x"] {
            assert!(parse(text, &identity).is_err(), "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn folders_are_this_machines() {
        let identity = Identity {
            username: "me".to_owned(),
            hostname: "here".to_owned(),
        };
        for (text, expected) in [("/data/a@b", "me@here:/data/a@b"), ("/", "me@here:/")] {
            assert_eq!(parse(text, &identity).unwrap().to_string(), expected);
        }
        let relative = parse("x", &identity).unwrap().to_string();
        assert!(relative.starts_with("me@here:/") && relative.ends_with("/x"));
    }
}
