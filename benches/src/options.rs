//! What is to be measured, with what, where.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use time_and_chance::{SharedClock, SystemClock};

use crate::kopia;

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const RUNS: usize = 3;
const IMAGE_BYTES: u64 = 4 * GIB;

/// The page that figures are written into, from the root.
pub const PAGE: &str = "docs/performance.md";

/// How to call the program.
pub const USAGE: &str = "\
usage: benches/performance [THEME…] [options]
themes: stages whole files chunks s3 scale; all of them if none is named
  --agent FILE    the executable to measure [default: the one built beside this program]
  --folder DIR    work in a new folder in DIR [default: the system's temporary folder]
  --runs N        measure each work N times and take medians [default: 3]
  --image-mib N   the length of the images [default: 4096, which the recorded figures are about]
  --large         also a disk of 32 GiB, 50 million contents, a million files, and files of 12 GiB: takes 52 GB of room for a while
  --write         put the tables into docs/performance.md
environment: KOPIA names stock Kopia's executable, if it is not on PATH; E3_TEST_TOOLS is where
./check put the S3 server (target/test_tools/bin)";

/// Part of what there is to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// Each stage of the pipeline by itself.
    Stages,
    /// The executable, from its start to its end.
    Whole,
    /// Trees of many small files, and of a few long ones.
    Files,
    /// What other sizes of chunks would upload.
    Chunks,
    /// An S3 server behind a slow line.
    S3,
    /// Repositories with many points and many contents.
    Scale,
}

impl Theme {
    /// All of them, in the page's order.
    pub const ALL: [Self; 6] = [
        Self::Whole,
        Self::Files,
        Self::S3,
        Self::Scale,
        Self::Stages,
        Self::Chunks,
    ];

    /// Returns the name it is called by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stages => "stages",
            Self::Whole => "whole",
            Self::Files => "files",
            Self::Chunks => "chunks",
            Self::S3 => "s3",
            Self::Scale => "scale",
        }
    }
}

/// What is to be measured, with what, where.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is measured.
    pub themes: Vec<Theme>,
    /// The executable.
    pub agent: PathBuf,
    /// Where everything is made; a new folder in it is removed at the end.
    pub folder: PathBuf,
    /// Each work is measured so many times.
    pub runs: usize,
    /// The length of the images.
    pub image_bytes: u64,
    /// Whether an image without zeros is measured too.
    pub dense: bool,
    /// The length of another image whose increment alone is measured.
    pub large_bytes: Option<u64>,
    /// The lengths of thin disks with little on them.
    pub thin_bytes: Vec<u64>,
    /// How much data a stage is fed in one round.
    pub stage_bytes: usize,
    /// A stage is repeated until it has taken this long.
    pub stage_time: Duration,
    /// Which lengths of chunks are compared.
    pub chunk_bytes: Vec<u64>,
    /// How many files a tree has, one tree for each.
    pub files: Vec<u64>,
    /// How long each of a few long files is, one tree for each length.
    pub long_file_bytes: Vec<u64>,
    /// What each request to S3 takes more.
    pub request_delay: Duration,
    /// How many restore points there are, one repository for each.
    pub points: Vec<u64>,
    /// How many contents there are, one repository for each.
    pub contents: Vec<u64>,
    /// The program that makes such repositories.
    pub scale: Option<PathBuf>,
    /// Stock Kopia's executable.
    pub kopia: Option<PathBuf>,
    /// The S3 server's executable.
    pub rclone: Option<PathBuf>,
    /// Whether the page is written.
    pub write_page: bool,
    /// What tells the time.
    pub clock: SharedClock,
}

impl Options {
    /// Returns what takes seconds even in a debug build: every work once, on little data.
    pub fn quick(agent: &Path) -> Self {
        Self {
            themes: Theme::ALL.to_vec(),
            agent: agent.to_owned(),
            folder: std::env::temp_dir(),
            runs: 1,
            image_bytes: 16 << 20,
            dense: false,
            large_bytes: Some(16 << 20),
            thin_bytes: vec![64 * GIB],
            stage_bytes: 1 << 20,
            stage_time: Duration::ZERO,
            chunk_bytes: vec![256 * KIB],
            files: vec![250],
            long_file_bytes: vec![4 << 20],
            request_delay: Duration::from_millis(1),
            points: vec![20],
            contents: vec![20_000],
            scale: scale(agent),
            kopia: None,
            rclone: rclone(),
            write_page: false,
            clock: SystemClock::new(),
        }
    }

    /// Reads the command line; `None` if help was asked for.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let beside = std::env::current_exe()
            .context("failed to find this program")?
            .with_file_name("e3-backup-agent");
        let mut options = Self {
            themes: Vec::new(),
            runs: RUNS,
            image_bytes: IMAGE_BYTES,
            dense: true,
            large_bytes: None,
            thin_bytes: vec![2 * TIB, 64 * TIB],
            stage_bytes: 256 << 20,
            stage_time: Duration::from_millis(300),
            chunk_bytes: [128, 256, 512, 1024].map(|kib| kib * KIB).to_vec(),
            files: vec![100_000],
            long_file_bytes: vec![3 * GIB],
            request_delay: Duration::from_millis(50),
            points: vec![1_000, 10_000, 100_000],
            contents: vec![1_000_000, 5_000_000],
            kopia: kopia::find(),
            ..Self::quick(&beside)
        };
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("{word} needs a value"))
            };
            match word.as_str() {
                "--agent" => options.agent = value()?.into(),
                "--folder" => options.folder = value()?.into(),
                "--runs" => options.runs = value()?.parse().context("--runs needs a number")?,
                "--image-mib" => {
                    let mib: u64 = value()?.parse().context("--image-mib needs a number")?;
                    options.image_bytes = mib << 20;
                }
                "--large" => {
                    options.large_bytes = Some(32 * GIB);
                    options.contents.push(50_000_000);
                    options.files.push(1_000_000);
                    options.long_file_bytes.push(12 * GIB);
                }
                "--write" => options.write_page = true,
                "--help" | "-h" => return Ok(None),
                name => match Theme::ALL.into_iter().find(|theme| theme.name() == name) {
                    Some(theme) => options.themes.push(theme),
                    None => bail!("there is no theme or option {name:?}\n{USAGE}"),
                },
            }
        }
        if options.themes.is_empty() {
            options.themes = Theme::ALL.to_vec();
        }
        ensure!(options.runs > 0, "--runs needs at least 1");
        options.agent = options.agent.canonicalize().with_context(|| {
            format!(
                "failed to find {}: build it with `cargo build --release -p cli`",
                options.agent.display()
            )
        })?;
        Ok(Some(options))
    }
}

impl Options {
    /// Returns the command that measures a theme so again.
    pub fn command(&self, theme: Theme) -> String {
        let mut command = format!("`benches/performance {}", theme.name());
        if self.image_bytes != IMAGE_BYTES {
            command += &format!(" --image-mib {}", self.image_bytes >> 20);
        }
        if self.large_bytes.is_some() {
            command += " --large";
        }
        if self.runs != RUNS {
            command += &format!(" --runs {}", self.runs);
        }
        command + "`"
    }

    /// Returns how a theme's figures come from runs, in a few words.
    pub fn repetition(&self, theme: Theme) -> String {
        match theme {
            Theme::Whole | Theme::Files | Theme::S3 => format!("medians of {} runs", self.runs),
            Theme::Scale => "one run of each".to_owned(),
            Theme::Stages => format!("{} ms or more for each stage", self.stage_time.as_millis()),
            Theme::Chunks => "bytes are the same in every run".to_owned(),
        }
    }
}

/// Returns the program that makes large repositories, if it is built beside the executable.
fn scale(agent: &Path) -> Option<PathBuf> {
    let path = agent.with_file_name("scale");
    path.is_file().then_some(path)
}

/// Returns the S3 server that `./check` installs, if it has.
fn rclone() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("E3_TEST_TOOLS")?).join("rclone");
    path.is_file().then_some(path)
}
