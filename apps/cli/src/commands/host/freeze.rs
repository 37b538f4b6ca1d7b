//! `host freeze`: freezes volumes for a moment, to see whether a backup could.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};
use volume::{Freeze as Wanted, WriterOutcome, Writers};

use crate::answer::Answer;
use crate::failure::Failure;
use crate::storage;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  e3-backup-agent host freeze C:\\\n  e3-backup-agent host freeze C:\\ D:\\ --writers require\n\nThe volumes are released at once, and nothing is left of it. Windows only, as an administrator\nwho is elevated. Exit status 3 if a writer was left out."
)]
pub struct Freeze {
    /// Volumes, by mount point or by name.
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
    /// What becomes of programs that can bring their files in order first (VSS's writers).
    #[arg(long, value_enum, default_value = "leave-out-failing")]
    writers: WritersArgument,
}

/// What becomes of writers.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum WritersArgument {
    /// All are asked; those that fail are left out, and named.
    LeaveOutFailing,
    /// All are asked, and none may fail.
    Require,
    /// None is asked: frozen as after a crash.
    None,
}

impl Freeze {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let wanted = Wanted {
            volumes: self.volumes.clone(),
            writers: match self.writers {
                WritersArgument::LeaveOutFailing => Writers::LeaveOutFailing,
                WritersArgument::Require => Writers::Require,
                WritersArgument::None => Writers::None,
            },
        };
        let host = storage::volume_host(world)?;
        // There is nothing to note: the set goes with this process, however it ends.
        let frozen = host.freeze(&wanted, &mut |_| Ok(()), world.stop())?;
        let mut text = String::new();
        let mut shadows = Vec::new();
        for shadow in frozen.shadows() {
            let _ = writeln!(
                text,
                "{} was frozen: {}",
                shadow.volume,
                shadow.device.display()
            );
            shadows.push(json!({
                "volume": shadow.volume,
                "id": shadow.id,
                "device": shadow.device,
            }));
        }
        for writer in frozen.writers() {
            let did = match &writer.left_out {
                None => "took part".to_owned(),
                Some(reason) => format!("was left out: {reason}"),
            };
            let _ = writeln!(text, "{} {did}", writer.name);
        }
        let whole = frozen.writers().iter().all(|it| it.left_out.is_none());
        let document = json!({
            "set": frozen.id().to_string(),
            "shadows": shadows,
            "writers": frozen.writers().iter().map(document).collect::<Vec<_>>(),
        });
        frozen.release()?;
        Ok(match whole {
            true => Answer::new(text, document),
            false => Answer::in_part(text, document),
        })
    }
}

fn document(writer: &WriterOutcome) -> Value {
    json!({ "id": writer.id, "name": writer.name, "left_out": writer.left_out })
}
