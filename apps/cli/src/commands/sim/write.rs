//! `sim write`: the guest writes to its disk.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::simulated_vm::DiskArguments;
use crate::amounts;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent sim write /tmp/host --vm web --disk 0 --from later.raw
  e3-backup-agent sim write /tmp/host --vm web --disk 0 --random 64M --seed 7")]
pub struct Write {
    #[command(flatten)]
    disk: DiskArguments,
    /// Make the disk equal to this raw file of the same size, by writing where they differ.
    #[arg(
        long,
        value_name = "RAW",
        required_unless_present = "random",
        conflicts_with = "random"
    )]
    from: Option<PathBuf>,
    /// Write that many random bytes here and there, such as 64M.
    #[arg(long, value_name = "BYTES", value_parser = amounts::parse_bytes)]
    random: Option<u64>,
    /// The same seed writes the same [default: a new one, which is printed].
    #[arg(long, value_name = "S", requires = "random")]
    seed: Option<u64>,
}

impl Write {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let (host, vm) = self.disk.vm.find(world)?;
        let seed = self.seed.unwrap_or_else(|| world.chance().below(1 << 32));
        let (ranges, seed) = match (&self.from, self.random) {
            (Some(raw), _) => (host.write_from_raw(vm, self.disk.disk, raw)?, None),
            (None, random) => (
                host.write_random(vm, self.disk.disk, random.unwrap_or(0), seed)?,
                Some(seed),
            ),
        };
        let bytes: u64 = ranges.iter().map(|range| range.bytes()).sum();
        let by_seed = seed
            .map(|seed| format!(", by seed {seed}"))
            .unwrap_or_default();
        let text = format!(
            "the guest wrote {} in {} ranges{by_seed}",
            amounts::bytes(bytes),
            ranges.len()
        );
        let documents: Vec<Value> = ranges
            .iter()
            .map(|range| json!({ "start": range.start(), "bytes": range.bytes() }))
            .collect();
        Ok(Answer::new(
            text,
            json!({ "written_bytes": bytes, "seed": seed, "ranges": documents }),
        ))
    }
}
