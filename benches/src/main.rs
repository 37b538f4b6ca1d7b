//! Measures, prints the tables, and writes them into the page if asked to.

use std::process::ExitCode;

use anyhow::Result;
use benches::machine;
use benches::options::{Options, USAGE};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed to measure: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let Some(options) = Options::parse(std::env::args().skip(1))? else {
        println!("{USAGE}");
        return Ok(());
    };
    println!("{}\n", machine::description(&options.folder));
    for table in benches::measure(&options)? {
        println!("{table}");
    }
    Ok(())
}
