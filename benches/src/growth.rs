//! How time and memory grow with what a repository holds: with restore points, and with contents.
//!
//! The repositories come from `scale`, a program of `testing/`, which is built beside this one.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::agent::{Agent, write_out};
use crate::chart::{Bar, chart};
use crate::measured::{self, Measured};
use crate::options::Options;
use crate::table::{Table, mib, seconds};

/// The password of the repositories that `scale` makes.
const PASSWORD: &str = "scale";
/// Images whose lists name the contents.
const IMAGES: &str = "50";

const COLUMNS: [&str; 5] = [
    "work",
    "how many",
    "wall",
    "CPU: user + system",
    "peak anonymous memory",
];

/// Measures growth with points, then with contents.
pub fn measure(options: &Options, folder: &Path) -> Result<Vec<Table>> {
    let mut points = Growth::new("Growth with restore points");
    let mut contents = Growth::new("Growth with contents");
    let Some(scale) = &options.scale else {
        for growth in [&mut points, &mut contents] {
            growth.table.note(
                "left out: all of it; `cargo build -p scale` makes the program that is needed",
            );
        }
        return Ok(vec![points.table, contents.table]);
    };
    let site = Site {
        options,
        scale,
        folder,
    };
    for count in options.points.iter().copied() {
        site.points(count, &mut points)
            .with_context(|| format!("failed to measure {count} points"))?;
    }
    for count in options.contents.iter().copied() {
        site.contents(count, &mut contents)
            .with_context(|| format!("failed to measure {count} contents"))?;
    }
    Ok(vec![points.into_table(), contents.into_table()])
}

/// What was measured, as rows and as bars.
struct Growth {
    table: Table,
    done: Vec<(&'static str, u64, Measured)>,
}

impl Growth {
    fn new(heading: &str) -> Self {
        Self {
            table: Table::new(heading, &COLUMNS),
            done: Vec::new(),
        }
    }

    fn add(&mut self, work: &'static str, count: u64, cost: Measured) {
        self.table.add(vec![
            work.to_owned(),
            count.to_string(),
            seconds(cost.wall),
            format!(
                "{}: {:.2} + {:.2}",
                seconds(cost.cpu()),
                cost.user.as_secs_f64(),
                cost.system.as_secs_f64()
            ),
            mib(cost.peak_anonymous_bytes),
        ]);
        self.done.push((work, count, cost));
    }

    /// Returns the table with a chart of times and one of memory, work by work.
    fn into_table(mut self) -> Table {
        // A stable sort: works stay in the order in which they were first done.
        let works: Vec<&str> = self.done.iter().map(|(work, ..)| *work).collect();
        let first = |work: &str| works.iter().position(|other| *other == work);
        self.done.sort_by_key(|(work, ..)| first(work));
        let bars = |value: &dyn Fn(&Measured) -> (f64, String)| -> Vec<Bar> {
            let done = self.done.iter();
            done.map(|(work, count, cost)| {
                let (length, text) = value(cost);
                Bar {
                    group: work.replace('`', ""),
                    name: count.to_string(),
                    length,
                    text,
                }
            })
            .collect()
        };
        let times = bars(&|cost| (cost.wall.as_secs_f64(), seconds(cost.wall)));
        let memory = bars(&|cost| {
            let bytes = cost.peak_anonymous_bytes;
            (bytes as f64, mib(bytes))
        });
        self.table.chart = format!(
            "{}\n{}",
            chart("Time", &times),
            chart("Peak anonymous memory", &memory)
        );
        self.table
    }
}

struct Site<'a> {
    options: &'a Options,
    scale: &'a Path,
    folder: &'a Path,
}

impl Site<'_> {
    fn points(&self, count: u64, growth: &mut Growth) -> Result<()> {
        let agent = self.new_site()?;
        let made = self.make(&["make-points", "repo", "--points", &count.to_string()])?;
        let last = made.split("the last one ").nth(1);
        let last = last.and_then(|rest| rest.split(',').next());
        let last = last.context("failed to learn the last point's id")?;
        let mut run = |work: &'static str, arguments: &[&str]| -> Result<()> {
            let arguments = [arguments, &["--repo", "repo"]].concat();
            growth.add(work, count, agent.run_after_sync(&arguments)?.measured);
            Ok(())
        };
        run("`points list`, with an empty cache", &["points", "list"])?;
        run("`points list`", &["points", "list"])?;
        run("`points list --vm`", &["points", "list", "--vm", "vm-0001"])?;
        run("`points show`", &["points", "show", last])?;
        run(
            "`points expire --dry-run`",
            &["points", "expire", "--dry-run"],
        )?;
        run("`backup vm`, a new one", &BACKUP)?;
        run("`repo verify`", &["repo", "verify"])?;
        let maintain = ["repo", "maintain", "--full", "--take-ownership"];
        run("`repo maintain --full`", &maintain)?;
        agent.remove("repo")
    }

    fn contents(&self, count: u64, growth: &mut Growth) -> Result<()> {
        let agent = self.new_site()?;
        let contents = count.to_string();
        self.make(&["--contents", &contents, "make", "repo", "--images", IMAGES])?;
        let mut run = |work: &'static str, arguments: &[&str]| -> Result<()> {
            let arguments = [arguments, &["--repo", "repo"]].concat();
            growth.add(work, count, agent.run_after_sync(&arguments)?.measured);
            Ok(())
        };
        run("open, with an empty cache", &["points", "list"])?;
        run("open", &["points", "list"])?;
        run("`backup vm`, a new one", &BACKUP)?;
        let maintain = ["repo", "maintain", "--full", "--take-ownership"];
        run("`repo maintain --full`", &maintain)?;
        run("`repo maintain --full`, again", &maintain)?;
        agent.remove("repo")?;
        agent.remove("cache")
    }

    /// Returns the executable with a host that has one small VM, and without a repository.
    fn new_site(&self) -> Result<Agent> {
        let agent = Agent::new(&self.options.agent, self.folder, &self.options.clock)
            .with_variable("E3_REPO_PASSWORD", PASSWORD);
        for name in ["repo", "cache", "state", "host"] {
            agent.remove(name)?;
        }
        agent.run(&["sim", "create", "host"])?;
        agent.run(&["sim", "add-vm", "host", "--name", "new", "--new", "1G"])?;
        agent.run(&[
            "sim", "write", "host", "--vm", "new", "--disk", "0", "--random", "1000000",
        ])?;
        Ok(agent)
    }

    fn make(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(self.scale);
        command.args(arguments).current_dir(self.folder);
        let (_, stdout) = measured::run(&mut command, &self.options.clock)?;
        write_out()?;
        Ok(stdout)
    }
}

const BACKUP: [&str; 5] = ["backup", "vm", "new", "--host", "sim:host"];
