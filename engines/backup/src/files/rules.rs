//! Which files of a source a backup takes, as Kopia decides it (Kopia spec 7.5).
//!
//! Patterns come from policies and from files like `.kopiaignore`; further rules are on length and
//! file systems. Knows neither disk nor repository: whoever walks a source tells what it found and
//! asks for a verdict.
//!
//! The rules of a folder stand behind those of the folders above it, policies before files. All
//! are asked in turn: one that excludes only while the entry is still in, one with `!` in front
//! only while it is out. What lies in a folder that is left out is never asked about, so nothing
//! there can be taken back in.

mod class;
mod matching;
mod pattern;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;

use kopia::policy::{FilesPolicy, Policy};

use pattern::Pattern;
pub use pattern::PatternProblem;

/// The file that marks a folder as a cache.
pub const CACHE_TAG_NAME: &str = "CACHEDIR.TAG";

const CACHE_TAG_START: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Kopia reads lines up to this length, and no further where a file has a longer one.
const LINE_BYTES_MAX: usize = (64 << 10) - 1;

/// Says whether a file with the name of a cache's mark begins as it must. Only a plain file
/// counts, not a link to one.
pub fn is_cache_tag(start: &[u8]) -> bool {
    start.starts_with(CACHE_TAG_START)
}

/// Returns a pattern that somebody wrote, if it means something: one that does not would fail every
/// folder it is asked about.
pub fn checked_pattern(text: &str) -> Result<String, PatternProblem> {
    Pattern::parse(text, "").map(|_| text.to_owned())
}

/// A pattern that means nothing.
#[derive(Debug, thiserror::Error)]
#[error("read the pattern {pattern:?} of {origin}: {problem}")]
pub struct PatternError {
    pattern: String,
    origin: Origin,
    problem: PatternProblem,
}

/// Where a pattern stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the policy of a folder, whose path in the source begins with a slash; the source itself
    /// has none.
    Policy(String),
    /// Among those given with the command.
    Command,
    /// In a file, by its path in the source.
    File(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Policy(folder) if folder.is_empty() => f.write_str("the source's policy"),
            Self::Policy(folder) => write!(f, "the policy of {folder}"),
            Self::Command => f.write_str("the command"),
            Self::File(path) => write!(f, "the file {path}"),
        }
    }
}

/// One pattern and where it stands.
#[derive(Debug)]
pub struct Rule {
    pattern: Pattern,
    text: String,
    origin: Origin,
}

impl Rule {
    /// Returns the pattern as it was written.
    pub fn pattern(&self) -> &str {
        &self.text
    }

    /// Returns where it stands.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// What was found in a folder.
#[derive(Clone, Copy, Debug)]
pub struct Found<'n> {
    /// Its name. What of it is no Unicode is replaced: patterns cannot name it.
    pub name: &'n str,
    /// Whether it is a folder; a link to one is not.
    pub is_folder: bool,
    /// Its length; that of a folder does not count.
    pub bytes: u64,
    /// Whether its file system is another than its folder's.
    pub on_other_file_system: bool,
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'r> {
    /// It is taken.
    Keep,
    /// It is left out, a folder with all that is in it.
    Excluded(Reason<'r>),
}

/// Why an entry is left out.
#[derive(Clone, Copy, Debug)]
pub enum Reason<'r> {
    /// A pattern names it.
    Rule(&'r Rule),
    /// It is longer than files may be.
    Longer {
        /// The limit.
        bytes_max: u64,
    },
    /// It is on another file system.
    OtherFileSystem,
}

/// A file of patterns that lies in a folder.
#[derive(Clone, Copy, Debug)]
pub struct DotIgnoreFile<'t> {
    /// One of the names that the folder's rules look for.
    pub name: &'t str,
    /// What is in it.
    pub content: &'t [u8],
}

/// The rules for what lies in one folder.
#[derive(Clone, Debug)]
pub struct FolderRules {
    /// Its path in the source; begins with a slash, and is empty for the source itself.
    path: String,
    /// The patterns of the folders above and its own, each folder's in one piece.
    layers: Vec<Arc<[Rule]>>,
    dot_ignore_names: Arc<[String]>,
    bytes_max: Option<u64>,
    one_file_system: bool,
    leaves_out_caches: bool,
}

impl FolderRules {
    /// Returns the rules of the source itself: `policy` is its effective one. Further patterns
    /// count as if they stood at the end of the policy's.
    ///
    /// The files of patterns that lie in the folder are still to be added.
    pub fn root(policy: &Policy, further_patterns: &[String]) -> Result<Arc<Self>, PatternError> {
        let nothing = Self {
            path: String::new(),
            layers: Vec::new(),
            dot_ignore_names: Arc::new([]),
            bytes_max: None,
            one_file_system: false,
            leaves_out_caches: true,
        };
        let rules = nothing.with_policy(&policy.files, further_patterns)?;
        Ok(Arc::new(rules))
    }

    /// Returns the rules of a folder in this one. `own_policy` is the one defined for that very
    /// folder, not merged with others: what it leaves open about files of patterns, caches and file
    /// systems is as if no policy said anything. Patterns and the limit on length are inherited.
    ///
    /// The files of patterns that lie in the folder are still to be added.
    pub fn below(
        self: &Arc<Self>,
        name: &str,
        own_policy: Option<&Policy>,
    ) -> Result<Arc<Self>, PatternError> {
        let inherited = Self {
            path: format!("{}/{name}", self.path),
            ..Self::clone(self)
        };
        let rules = match own_policy {
            Some(policy) => inherited.with_policy(&policy.files, &[])?,
            None => inherited,
        };
        Ok(Arc::new(rules))
    }

    /// Returns the rules with the files of patterns that were found in the folder, in the order of
    /// their names in [`Self::dot_ignore_names`].
    pub fn with_dot_ignore_files(
        self: Arc<Self>,
        files: &[DotIgnoreFile<'_>],
    ) -> Result<Arc<Self>, PatternError> {
        let mut rules = Vec::new();
        for file in files {
            let origin = Origin::File(format!("{}/{}", self.path, file.name));
            for line in lines(file.content) {
                let line = String::from_utf8_lossy(line);
                if !line.starts_with('#') && !line.trim().is_empty() {
                    rules.push(Rule::parse(&line, &self.path, &origin)?);
                }
            }
        }
        if rules.is_empty() {
            return Ok(self);
        }
        let mut whole = Arc::unwrap_or_clone(self);
        whole.layers.push(rules.into());
        Ok(Arc::new(whole))
    }

    /// Returns the names of the files of patterns to look for in the folder. A link stands for the
    /// file it leads to.
    pub fn dot_ignore_names(&self) -> &[String] {
        &self.dot_ignore_names
    }

    /// Says whether the folder is taken as an empty one if it is marked as a cache.
    pub fn leaves_out_caches(&self) -> bool {
        self.leaves_out_caches
    }

    /// Returns what becomes of something in the folder.
    pub fn verdict(&self, found: Found<'_>) -> Verdict<'_> {
        if let Some(rule) = self.rule_against(found) {
            return Verdict::Excluded(Reason::Rule(rule));
        }
        match self.bytes_max {
            Some(bytes_max) if !found.is_folder && found.bytes > bytes_max => {
                return Verdict::Excluded(Reason::Longer { bytes_max });
            }
            _ => {}
        }
        if self.one_file_system && found.on_other_file_system {
            return Verdict::Excluded(Reason::OtherFileSystem);
        }
        Verdict::Keep
    }

    fn rule_against(&self, found: Found<'_>) -> Option<&Rule> {
        if self.layers.is_empty() {
            return None;
        }
        let path: Vec<char> = self
            .path
            .chars()
            .chain(['/'])
            .chain(found.name.chars())
            .collect();
        let mut against = None;
        for rule in self.layers.iter().flat_map(|layer| layer.iter()) {
            let asked = rule.pattern.is_negated() == against.is_some();
            if asked && rule.pattern.names(&path, found.is_folder) {
                against = against.is_none().then_some(rule);
            }
        }
        against
    }

    /// Kopia's `noParentIgnore` and `noParentDotFiles` change nothing: patterns of folders above
    /// are always asked, names of files never inherited where there is a policy.
    fn with_policy(
        mut self,
        policy: &FilesPolicy,
        further_patterns: &[String],
    ) -> Result<Self, PatternError> {
        let from_policy = Origin::Policy(self.path.clone());
        let of_policy = policy.ignore.iter().map(|text| (text, &from_policy));
        let of_command = further_patterns.iter().map(|text| (text, &Origin::Command));
        let rules = of_policy
            .chain(of_command)
            .map(|(text, origin)| Rule::parse(text, &self.path, origin))
            .collect::<Result<Vec<_>, _>>()?;
        if !rules.is_empty() {
            self.layers.push(rules.into());
        }
        self.dot_ignore_names = without_repeats(&policy.ignore_dot_files).into();
        if policy.max_file_size != 0 {
            self.bytes_max = u64::try_from(policy.max_file_size).ok();
        }
        self.one_file_system = policy.one_file_system.unwrap_or(false);
        self.leaves_out_caches = policy.ignore_cache_dirs.unwrap_or(true);
        Ok(self)
    }
}

impl Rule {
    fn parse(text: &str, folder: &str, origin: &Origin) -> Result<Self, PatternError> {
        let pattern = Pattern::parse(text, folder).map_err(|problem| PatternError {
            pattern: text.to_owned(),
            origin: origin.clone(),
            problem,
        })?;
        Ok(Self {
            pattern,
            text: text.to_owned(),
            origin: origin.clone(),
        })
    }
}

fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content
        .split(|&byte| byte == b'\n')
        .take_while(|line| line.len() <= LINE_BYTES_MAX)
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn without_repeats(names: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for name in names {
        if !kept.contains(name) {
            kept.push(name.clone());
        }
    }
    kept
}
