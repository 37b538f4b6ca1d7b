//! How files are backed up.

use std::collections::BTreeMap;
use std::time::Duration;

use kopia::compression::CompressionAlgorithm;
use kopia::policy::Policy;

/// How files are backed up. What is not said here, the repository's policies say.
#[derive(Debug, Clone)]
pub struct FileOptions {
    /// Read every file, whatever its times say.
    pub full: bool,
    /// What is left out, in the syntax of `.gitignore`, beside what policies say.
    pub exclude: Vec<String>,
    /// Leave out other file systems mounted below, whatever policies say.
    pub one_file_system: bool,
    /// Leave out longer files, whatever policies say.
    pub file_bytes_max: Option<u64>,
    /// End the run at the first entry that cannot be read.
    pub fail_fast: bool,
    /// How files are compressed, if at all, whatever policies say.
    pub compression: Option<Option<CompressionAlgorithm>>,
    /// What the snapshot's maker says about it.
    pub description: String,
    /// Tags of the snapshot; the keys without Kopia's `tag:` before them.
    pub tags: BTreeMap<String, String>,
    /// How many files are read at once.
    pub workers: usize,
    /// How far a file is read beyond the length that it had when it was opened: one that grows as fast
    /// as it is read would never end.
    pub growth_bytes_max: u64,
    /// What is stored is protected by a checkpoint manifest this often.
    pub checkpoint_manifest_every: Duration,
}

impl FileOptions {
    /// Returns what counts of a policy for a source where the options say otherwise.
    pub(super) fn applied_to(&self, policy: &Policy) -> Policy {
        let mut policy = policy.clone();
        if self.one_file_system {
            policy.files.one_file_system = Some(true);
        }
        if let Some(bytes) = self.file_bytes_max {
            policy.files.max_file_size = i64::try_from(bytes).unwrap_or(i64::MAX);
        }
        policy
    }
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            full: false,
            exclude: Vec::new(),
            one_file_system: false,
            file_bytes_max: None,
            fail_fast: false,
            compression: None,
            description: String::new(),
            tags: BTreeMap::new(),
            workers: std::thread::available_parallelism()
                .map_or(4, usize::from)
                .clamp(2, 8),
            growth_bytes_max: 1 << 30,
            checkpoint_manifest_every: Duration::from_mins(45),
        }
    }
}
