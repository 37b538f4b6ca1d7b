//! The scripted control plane as a program; see the library's description.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use scripted_control_plane::ControlPlane;
use scripted_control_plane::script::{Script, report};
use time_and_chance::{StopSignal, SystemClock};

/// Serves the agent's API by a script, and judges every call
#[derive(Parser)]
#[command(after_help = "\
The base URL is printed first. The server ends with its standard input; calls, rows and violations are then
printed as one JSON document, and the exit status is 1 if there are violations.

  scripted-control-plane --listen 127.0.0.1:8080 --script one_backup.json")]
struct Arguments {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    listen: String,
    /// What to hand out and what goes wrong, as JSON
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let script = match &arguments.script {
        None => Script::default(),
        Some(path) => {
            let json = std::fs::read_to_string(path);
            Script::parse(&json.with_context(|| format!("failed to read {}", path.display()))?)?
        }
    };
    let clock = SystemClock::new();
    let plane = ControlPlane::listen(&arguments.listen, script.settings.clone(), clock.clone())
        .with_context(|| format!("failed to listen on {}", arguments.listen))?;
    let stop = StopSignal::new();
    let of_thread = stop.clone();
    std::thread::spawn(move || {
        // Whatever is said is not for us; only the end counts, and an error is one.
        drop(std::io::stdin().read_to_end(&mut Vec::new()));
        of_thread.stop();
    });
    script.play(&plane, clock.as_ref(), &stop, || {
        println!("{}", plane.url())
    })?;
    let round = std::time::Duration::from_secs(3600);
    while clock.sleep(round, &stop).is_ok() {}
    println!("{}", report(&plane));
    Ok(match plane.violations().is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
