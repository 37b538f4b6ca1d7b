//! `scale`: makes a repository with a large index, and measures opening and asking it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use blob::{FilesystemStore, NewLayout, SharedBlobStore};
use clap::{Parser, Subcommand};
use repo::{CreateOptions, Repository, create};
use scale::{
    AnonymousMemory, Contents, PASSWORD, add_images, add_packs, add_points, folder_bytes, make,
    surroundings,
};
use time_and_chance::{Chance, SystemClock};

#[derive(Debug, Parser)]
struct Arguments {
    /// How many contents there are.
    #[arg(long, default_value_t = 50_000_000)]
    contents: u64,
    /// How long each is.
    #[arg(long, default_value_t = 256)]
    chunk_kib: u32,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a repository in a new folder.
    Make {
        /// The folder.
        folder: PathBuf,
        /// How many snapshots name the contents; none, and there are no packs either.
        #[arg(long, default_value_t = 0)]
        images: u64,
    },
    /// Make a repository with many snapshots in a new folder.
    MakePoints {
        /// The folder.
        folder: PathBuf,
        /// How many snapshots.
        #[arg(long, default_value_t = 100_000)]
        points: u64,
        /// Of how many VMs and folders.
        #[arg(long, default_value_t = 400)]
        sources: u64,
    },
    /// Open it with an empty cache, open it again, and look contents up.
    Measure {
        /// The repository's folder.
        folder: PathBuf,
        /// A folder for the cache; what is in it makes the first opening a warm one.
        cache: PathBuf,
        /// How many contents are looked up; a dense TiB in chunks of 256 KiB has as many.
        #[arg(long, default_value_t = 4 << 20)]
        lookups: u64,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let contents = Contents::new(arguments.contents, arguments.chunk_kib << 10);
    match arguments.command {
        Command::Make { folder, images } => {
            let clock = SystemClock::new();
            let made = make(&folder, &contents)?;
            if images > 0 {
                add_packs(&folder, &contents)?;
                let store = Arc::new(FilesystemStore::open(&folder, Chance::from_seed(7))?);
                let cache = folder.join("cache-of-the-maker");
                let repo = Repository::open(store, PASSWORD, surroundings(&cache, 8))?;
                add_images(&repo, &contents, images)?;
                drop(repo);
                std::fs::remove_dir_all(cache).context("remove the maker's cache")?;
            }
            println!(
                "made: {} index blobs, {} MiB, the longest {} MiB, in {:.1} s",
                made.blobs,
                made.bytes >> 20,
                made.bytes_max >> 20,
                clock.monotonic().as_secs_f64()
            );
            Ok(())
        }
        Command::MakePoints {
            folder,
            points,
            sources,
        } => {
            let clock = SystemClock::new();
            let store: SharedBlobStore = Arc::new(FilesystemStore::create(
                &folder,
                NewLayout::Sharded,
                Chance::from_seed(7),
            )?);
            let cache = folder.join("cache-of-the-maker");
            let around = surroundings(&cache, 8);
            let repo = create(store, PASSWORD, &CreateOptions::default(), around)?;
            let ids = add_points(&repo, points, sources)?;
            drop(repo);
            std::fs::remove_dir_all(cache).context("remove the maker's cache")?;
            println!(
                "made: {} snapshots, the last one {}, in {:.1} s",
                ids.len(),
                ids.last().map_or("none", String::as_str),
                clock.monotonic().as_secs_f64()
            );
            Ok(())
        }
        Command::Measure {
            folder,
            cache,
            lookups,
        } => measure(&contents, &folder, &cache, lookups),
    }
}

fn measure(contents: &Contents, folder: &Path, cache: &Path, lookups: u64) -> Result<()> {
    let clock = SystemClock::new();
    let memory = AnonymousMemory::watch(Arc::clone(&clock));
    let mib = |bytes: Option<u64>| match bytes {
        Some(bytes) => format!("{} MiB", bytes >> 20),
        None => "unknown".to_owned(),
    };
    let mut repository = None;
    for name in ["first open", "second open"] {
        drop(repository.take());
        let begun = clock.monotonic();
        let store = Arc::new(FilesystemStore::open(folder, Chance::from_seed(1))?);
        repository = Some(Repository::open(store, PASSWORD, surroundings(cache, 2))?);
        println!(
            "{name}: {:.2} s, peak anonymous memory {}, cache {} MiB",
            (clock.monotonic() - begun).as_secs_f64(),
            mib(memory.take_peak_bytes()),
            folder_bytes(cache)? >> 20
        );
    }
    let repository = repository.context("the repository was opened")?;
    let chance = Chance::from_seed(3);
    for (name, present) in [("hits", true), ("misses", false)] {
        let begun = clock.monotonic();
        let mut found = 0;
        for _ in 0..lookups {
            let number = chance.below(contents.count());
            let id = match present {
                true => contents.id(number),
                false => contents.absent_id(number),
            };
            found += u64::from(repository.find(&id)?.is_some());
        }
        let seconds = (clock.monotonic() - begun).as_secs_f64();
        println!(
            "{name}: {found} of {lookups} found in {seconds:.2} s, {:.0} a second, peak anonymous memory {}",
            lookups as f64 / seconds,
            mib(memory.take_peak_bytes())
        );
    }
    Ok(())
}
