//! `repo status`: what a repository is, what it holds, how stock Kopia connects to it.

use std::collections::HashSet;
use std::sync::Arc;

use blob::{Location, S3Location};
use clap::Args;
use kopia::snapshot::SnapshotSource;
use point::Points;
use repo::{RepoError, RepoErrorKind, Repository};
use serde_json::json;
use snapshot::compression_for;

use crate::amounts;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::repositories::RepoArguments;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  e3-backup-agent repo status --repo /srv/backup")]
pub struct Status {
    #[command(flatten)]
    repo: RepoArguments,
}

/// What the index counts.
#[derive(Debug, Default)]
struct Counts {
    contents: u64,
    packed_bytes: u64,
    original_bytes: u64,
    packs: HashSet<Arc<str>>,
}

impl Status {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let location = self.repo.location()?;
        let repo = self.repo.open(world)?;
        let format = repo.format();
        let points = Points::load(&repo)?;
        let of_vms = points
            .iter()
            .filter(|point| point.point().is_some())
            .count();
        let snapshots = points.iter().count() - of_vms;
        let everyone = SnapshotSource {
            host: String::new(),
            user_name: String::new(),
            path: String::new(),
        };
        let compression = match compression_for(points.snapshots().manifests(), &everyone)? {
            Some(algorithm) => algorithm.name(),
            None => "none",
        };
        let counts = counts(&repo, world)?;
        let space = repo.store().space()?;
        let room = space.map_or_else(String::new, |space| {
            format!(
                "room        {} free of {}\n",
                amounts::bytes(space.free_bytes),
                amounts::bytes(space.total_bytes)
            )
        });
        let command = connect_command(&location);
        let text = format!(
            "location    {location}\n\
             unique id   {}\n\
             format      version {}\n\
             hash        {}\n\
             encryption  {}\n\
             splitter    {}\n\
             compression {compression}\n\
             points      {of_vms} of VMs, {snapshots} other snapshots\n\
             contents    {} in {} packs, {} ({} before compression)\n\
             {room}Stock Kopia connects with:\n  {command}\n",
            repo.unique_id_hex(),
            format.version,
            format.hash,
            format.encryption,
            format.splitter,
            counts.contents,
            counts.packs.len(),
            amounts::bytes(counts.packed_bytes),
            amounts::bytes(counts.original_bytes),
        );
        let document = json!({
            "location": location.to_string(),
            "unique_id": repo.unique_id_hex(),
            "format_version": format.version,
            "hash": format.hash,
            "encryption": format.encryption,
            "splitter": format.splitter,
            "compression": compression,
            "vm_points": of_vms,
            "other_snapshots": snapshots,
            "unreadable_manifests": points.snapshots().unreadable().len(),
            "contents": counts.contents,
            "packs": counts.packs.len(),
            "packed_bytes": counts.packed_bytes,
            "original_bytes": counts.original_bytes,
            "free_bytes": space.map(|space| space.free_bytes),
            "warnings": repo.warnings(),
            "connect_command": command,
        });
        Ok(Answer::new(text, document))
    }
}

fn counts(repo: &Repository, world: &World) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    repo.for_each_content(None, &mut |record| {
        world.stop().check().map_err(|_| {
            RepoError::new(RepoErrorKind::Stopped, "count contents: stopped on request")
        })?;
        if !record.deleted {
            counts.contents += 1;
            counts.packed_bytes += u64::from(record.packed_bytes);
            counts.original_bytes += u64::from(record.original_bytes);
            counts.packs.insert(record.pack_blob);
        }
        Ok(())
    })?;
    Ok(counts)
}

/// Returns the command by which stock Kopia connects to the same place; never with secrets.
pub(super) fn connect_command(location: &Location) -> String {
    match location {
        Location::Folder(path) => {
            format!(
                "kopia repository connect filesystem --path={}",
                quoted(&path.display().to_string())
            )
        }
        Location::S3(location) => connect_s3(location),
    }
}

fn connect_s3(location: &S3Location) -> String {
    let mut command = format!(
        "kopia repository connect s3 --bucket={}",
        quoted(&location.bucket)
    );
    let mut option = |name: &str, value: &str| {
        command.push_str(&format!(" --{name}={}", quoted(value)));
    };
    if !location.prefix.is_empty() {
        option("prefix", &location.prefix);
    }
    if let Some(region) = &location.region {
        option("region", region);
    }
    let endpoint = location
        .endpoint
        .as_deref()
        .map(|url| url.split_once("://").unwrap_or(("https", url)));
    if let Some((_, server)) = endpoint {
        option("endpoint", server.trim_end_matches('/'));
    }
    if let Some(ca) = &location.ca {
        option("root-ca-pem-path", &ca.display().to_string());
    }
    if endpoint.is_some_and(|(scheme, _)| scheme == "http") {
        command.push_str(" --disable-tls");
    }
    if location.insecure {
        command.push_str(" --disable-tls-verification");
    }
    command
}

/// Puts what a shell would take apart between quotes.
fn quoted(text: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "/._-:+@=,".contains(letter);
    match text.chars().all(plain) && !text.is_empty() {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stock_kopia_is_told_the_same_place() {
        for (location, expected) in [
            (
                "/srv/backup",
                "kopia repository connect filesystem --path=/srv/backup",
            ),
            (
                "/srv/it's here",
                r"kopia repository connect filesystem --path='/srv/it'\''s here'",
            ),
            ("s3://b", "kopia repository connect s3 --bucket=b"),
            (
                "s3://b/a/c?endpoint=http://127.0.0.1:9000&region=r",
                "kopia repository connect s3 --bucket=b --prefix=a/c/ --region=r --endpoint=127.0.0.1:9000 --disable-tls",
            ),
            (
                "s3://b?endpoint=https://s3.example.com&insecure=true&ca=/etc/ca.pem",
                "kopia repository connect s3 --bucket=b --endpoint=s3.example.com --root-ca-pem-path=/etc/ca.pem --disable-tls-verification",
            ),
        ] {
            assert_eq!(connect_command(&location.parse().unwrap()), expected);
        }
    }
}
