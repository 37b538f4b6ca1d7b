//! What the repository's policies say about the files of one folder, ready to be carried out.

use std::sync::{Arc, OnceLock};

use kopia::compression::CompressionAlgorithm;
use kopia::content_id::ContentId;
use kopia::policy::Policy;
use kopia::splitter::Splitter;
use repo::{Encoder, RepoError, RepoErrorKind, Writer};
use snapshot::writable_compressor;

/// The policy of a folder.
#[derive(Debug)]
pub(super) struct FolderPolicy {
    /// All that applies.
    pub effective: Policy,
    compression: Option<CompressionAlgorithm>,
    /// How directories and lists are compressed.
    pub metadata_compression: Option<CompressionAlgorithm>,
    splitter: Splitter,
    /// Longer files are cut into parts of this length first.
    pub part_bytes: Option<u64>,
    zero_bytes: OnceLock<u64>,
    zeros: OnceLock<ZeroSegment>,
}

/// What the splitter makes of zeros.
#[derive(Debug, Clone, Copy)]
pub(super) struct ZeroSegment {
    /// The content of a segment that is all zeros; it is stored.
    pub content: ContentId,
    /// Its length.
    pub bytes: u64,
}

impl FolderPolicy {
    /// Makes a policy ready, given the repository's own splitter.
    ///
    /// # Errors
    /// `Unsupported` if it names what this program does not write.
    pub fn new(effective: Policy, default_splitter: &Splitter) -> Result<Arc<Self>, RepoError> {
        let compressor = |name: Option<&str>| name.map(writable_compressor).transpose();
        let splitter = match effective.splitter.algorithm.as_str() {
            "" => default_splitter.clone(),
            name => Splitter::from_name(name).ok_or_else(|| {
                RepoError::new(
                    RepoErrorKind::Unsupported,
                    format!("cut files as the policy says: there is no splitter {name}"),
                )
            })?,
        };
        let part_bytes = effective.upload.parallel_upload_above_size;
        Ok(Arc::new(Self {
            compression: compressor(effective.compression.compressor())?,
            metadata_compression: compressor(effective.metadata_compression.compressor())?,
            splitter,
            part_bytes: part_bytes
                .and_then(|bytes| u64::try_from(bytes).ok())
                .filter(|bytes| *bytes > 0),
            zero_bytes: OnceLock::new(),
            zeros: OnceLock::new(),
            effective,
        }))
    }

    /// Returns how a file is compressed.
    pub fn compression_of(&self, name: &str, bytes: u64) -> Option<CompressionAlgorithm> {
        let compressor = self.effective.compression.compressor_of(name, bytes);
        compressor.and(self.compression)
    }

    /// Returns what cuts a file.
    pub fn splitter(&self) -> Splitter {
        self.splitter.clone()
    }

    /// Returns how many parts a file of this length is cut into first: as Kopia, whole parts and
    /// a last one of whatever is left, even if that is nothing.
    pub fn parts(&self, bytes: u64) -> Option<(u64, u64)> {
        let part_bytes = self.part_bytes.filter(|part| bytes > *part)?;
        Some((bytes / part_bytes + 1, part_bytes))
    }

    /// Whether files that cannot be read do not make the snapshot fail.
    pub fn ignores_file_errors(&self) -> bool {
        self.effective.error_handling.ignore_file_errors == Some(true)
    }

    /// Whether folders that cannot be read do not make the snapshot fail.
    pub fn ignores_folder_errors(&self) -> bool {
        self.effective.error_handling.ignore_directory_errors == Some(true)
    }

    /// Whether what is neither file, folder nor link does not make the snapshot fail.
    pub fn ignores_unknown_types(&self) -> bool {
        self.effective.error_handling.ignore_unknown_types != Some(false)
    }

    /// Returns the length of the segments that zeros are cut into.
    pub fn zero_bytes(&self) -> u64 {
        *self.zero_bytes.get_or_init(|| {
            let zeros = vec![0; self.splitter.segment_bytes_max()];
            let cut = self.splitter.clone().next_cut(&zeros);
            cut.unwrap_or(zeros.len()) as u64
        })
    }

    /// Returns the segment that zeros are cut into, stored by the first who asks.
    pub fn zero_segment(&self, writer: &Writer) -> Result<ZeroSegment, RepoError> {
        if let Some(zeros) = self.zeros.get() {
            return Ok(*zeros);
        }
        let bytes = self.zero_bytes();
        let mut encoder = Encoder::new(self.compression);
        let written = writer.write_content(&mut encoder, None, &vec![0; bytes as usize])?;
        Ok(*self.zeros.get_or_init(|| ZeroSegment {
            content: written.id,
            bytes,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_cut_into_whole_parts_and_what_is_left() {
        let mut policy = Policy::defaults();
        policy.upload.parallel_upload_above_size = Some(10);
        let splitter = Splitter::from_name("FIXED-1M").unwrap();
        let policy = FolderPolicy::new(policy, &splitter).unwrap();
        assert_eq!(policy.parts(10), None);
        assert_eq!(policy.parts(11), Some((2, 10)));
        assert_eq!(policy.parts(20), Some((3, 10)));
        assert_eq!(policy.parts(29), Some((3, 10)));
    }
}
