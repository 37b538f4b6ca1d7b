//! `repo create`: a repository in an empty place.

use std::sync::Arc;

use clap::Args;
use kopia::cipher::EncryptionAlgorithm;
use kopia::compression::CompressionAlgorithm;
use kopia::hash::HashAlgorithm;
use kopia::maintenance::MaintenanceParameters;
use kopia::splitter::Splitter;
use repo::{CreateOptions, Repository};
use serde_json::json;

use super::connect_command::connect_command;
use super::lock::LockArguments;
use crate::answer::Answer;
use crate::failure::{Failure, FailureKind};
use crate::repositories::{RepoArguments, surroundings};
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent repo create --repo /srv/backup
  e3-backup-agent repo create --repo 's3://bucket/hv01?endpoint=https://s3.example.com&region=eu-1'

Keep the password: without it nobody, including us, can read anything in the repository.")]
pub struct Create {
    #[command(flatten)]
    repo: RepoArguments,
    /// 3, or 2 for repositories that the older agent has to open.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=3))]
    format_version: u32,
    /// How contents are named, such as BLAKE2B-256-128 or BLAKE3-256-128.
    #[arg(long, value_name = "H", default_value = "BLAKE2B-256-128", value_parser = hash)]
    hash: HashAlgorithm,
    /// How contents are sealed: AES256-GCM-HMAC-SHA256 or CHACHA20-POLY1305-HMAC-SHA256.
    #[arg(long, value_name = "E", default_value = "AES256-GCM-HMAC-SHA256", value_parser = encryption)]
    encryption: EncryptionAlgorithm,
    /// How Kopia cuts files into contents; disks are cut in their own way.
    #[arg(long, value_name = "S", default_value = Splitter::DEFAULT_NAME, value_parser = splitter)]
    splitter: String,
    /// What the global policy says to compress with, such as zstd, s2-default, none.
    #[arg(long, value_name = "C", default_value = "zstd-fastest", value_parser = compression)]
    compression: Compression,
    #[command(flatten)]
    locks: LockArguments,
}

/// What became of the wish for a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Created,
    Completed,
}

/// What data is compressed with, if at all.
#[derive(Debug, Clone, Copy)]
struct Compression(Option<CompressionAlgorithm>);

impl Create {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let location = self.repo.location()?;
        self.locks.check_place(&location)?;
        // What a new repository's maintenance is: see `repo::create`.
        let maintenance = MaintenanceParameters::new(String::new());
        let options = CreateOptions {
            format_version: self.format_version,
            hash: self.hash,
            encryption: self.encryption,
            splitter: self.splitter.clone(),
            compression: self.compression.0,
            locks: self.locks.config(&maintenance)?,
        };
        check_format_2(&options)?;
        let password = world.first_password()?;
        let surroundings = surroundings(world)?;
        let created = self.repo.create_store(world).and_then(|store| {
            let created = repo::create(store, &password, &options, surroundings);
            created.map_err(Failure::from)
        });
        let (repository, done) = match created {
            Ok(repository) => (repository, Done::Created),
            Err(failure) if failure.kind() == FailureKind::NotEmpty => {
                let completed = self.complete(world, &password, &options)?;
                (completed.ok_or(failure)?, Done::Completed)
            }
            Err(failure) => return Err(failure),
        };
        let id = repository.unique_id_hex();
        let what = match done {
            Done::Created => format!("created a repository in {location}"),
            Done::Completed => format!(
                "completed the repository in {location}, whose creation was cut short; its format and its locks are those it was begun with"
            ),
        };
        let text = format!(
            "{what}\nunique id  {id}\nStock Kopia connects with:\n  {}\n",
            connect_command(&location)
        );
        let document = json!({ "location": location.to_string(), "unique_id": id, "connect_command": connect_command(&location), "completed": done == Done::Completed });
        Ok(Answer::new(text, document))
    }

    /// Completes what a creation left that was cut short; `None` if that is not what is there, or another
    /// password's.
    fn complete(
        &self,
        world: &World,
        password: &str,
        options: &CreateOptions,
    ) -> Result<Option<Arc<Repository>>, Failure> {
        let Ok(repository) = self.repo.open_by_password(world, password) else {
            return Ok(None);
        };
        let is_completed = repo::finish_creation(&repository, options)?;
        Ok(is_completed.then_some(repository))
    }
}

/// Refuses what the older agent cannot open before anything is made.
fn check_format_2(options: &CreateOptions) -> Result<(), Failure> {
    let usual = CreateOptions {
        format_version: 2,
        compression: options.compression,
        locks: options.locks.clone(),
        ..CreateOptions::default()
    };
    match options.format_version == 2 && *options != usual {
        true => Err(Failure::wrong_usage(format!(
            "format version 2 is for servers with the older agent, which opens only hash {}, encryption {} and splitter {}",
            usual.hash.name(),
            usual.encryption.name(),
            usual.splitter
        ))),
        false => Ok(()),
    }
}

fn hash(name: &str) -> Result<HashAlgorithm, String> {
    HashAlgorithm::from_name(&name.to_uppercase())
        .ok_or_else(|| one_of(HashAlgorithm::ALL.iter().map(|it| it.name())))
}

fn encryption(name: &str) -> Result<EncryptionAlgorithm, String> {
    EncryptionAlgorithm::from_name(&name.to_uppercase())
        .ok_or_else(|| one_of(EncryptionAlgorithm::ALL.iter().map(|it| it.name())))
}

fn splitter(name: &str) -> Result<String, String> {
    let name = name.to_uppercase();
    match Splitter::from_name(&name) {
        Some(_) => Ok(name),
        None => Err(one_of(Splitter::names().iter().map(String::as_str))),
    }
}

fn compression(name: &str) -> Result<Compression, String> {
    let name = name.to_lowercase();
    if name == "none" {
        return Ok(Compression(None));
    }
    let known = CompressionAlgorithm::from_name(&name).filter(|it| it.is_writable());
    known.map(|it| Compression(Some(it))).ok_or_else(|| {
        let writable = CompressionAlgorithm::ALL
            .iter()
            .filter(|it| it.is_writable())
            .map(|it| it.name());
        one_of(std::iter::once("none").chain(writable))
    })
}

fn one_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("there are {}", names.collect::<Vec<_>>().join(", "))
}
