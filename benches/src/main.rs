//! Measures, prints the tables, and writes them into the page if asked to.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use benches::options::{Options, PAGE, Theme, USAGE};
use benches::{machine, measure, page};

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
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(options) = Options::parse(words.iter().cloned())? else {
        println!("{USAGE}");
        return Ok(());
    };
    for theme in &options.themes {
        let figures = figures(&options, *theme)?;
        println!("{figures}");
        if options.write_page {
            let text = std::fs::read_to_string(PAGE)
                .with_context(|| format!("failed to read {PAGE} from here"))?;
            std::fs::write(PAGE, page::with_figures(&text, theme.name(), &figures)?)
                .with_context(|| format!("failed to write {PAGE}"))?;
        }
    }
    Ok(())
}

/// Returns a theme's tables, headed by how they were made.
fn figures(options: &Options, theme: Theme) -> Result<String> {
    let unrest = machine::unrest();
    let tables = measure(options, theme)?;
    let mut text = format!(
        "{} on {}: {}; {}.",
        options.command(theme),
        options.clock.now().strftime("%Y-%m-%d"),
        machine::description(&options.folder),
        options.repetition(theme)
    );
    if let Some(unrest) = unrest.filter(|_| theme != Theme::Chunks) {
        let _ = write!(text, " **{unrest}.**");
    }
    text.push_str("\n\n");
    for table in tables {
        let _ = writeln!(text, "{table}");
    }
    Ok(text)
}
