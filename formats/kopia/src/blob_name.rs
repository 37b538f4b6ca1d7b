//! The names of blobs, and what they say.
//!
//! Kopia spec 1.2 and 3.2. Knows names only: not paths on a file system, not what a blob holds.

use crate::hash::HashOutput;
use crate::session::{SessionId, is_lower_hex};

/// The format blob.
pub const FORMAT_BLOB: &str = "kopia.repository";
/// The object-lock settings.
pub const BLOB_CONFIG: &str = "kopia.blobcfg";
/// The maintenance schedule.
pub const MAINTENANCE: &str = "kopia.maintenance";
/// What is left in place of legacy indexes after an upgrade to epochs. Its content means nothing.
pub const POISON: &str = "n00000000000000000000000000000000-repository_unreadable_by_this_kopia_version_upgrade_required";

/// Prefix of data packs.
pub const PACK_PREFIX: &str = "p";
/// Prefix of packs of metadata.
pub const METADATA_PACK_PREFIX: &str = "q";
/// Prefix of session markers.
pub const SESSION_PREFIX: &str = "s";
/// Prefix of everything that the epoch manager keeps.
pub const EPOCH_PREFIX: &str = "x";
/// Prefix of uncompacted indexes of all epochs.
pub const UNCOMPACTED_PREFIX: &str = "xn";
/// Prefix of indexes compacted from one epoch.
pub const SINGLE_EPOCH_PREFIX: &str = "xs";
/// Prefix of indexes compacted from several epochs.
pub const EPOCH_RANGE_PREFIX: &str = "xr";
/// Prefix of epoch markers.
pub const EPOCH_MARKER_PREFIX: &str = "xe";
/// Prefix of deletion watermarks.
pub const WATERMARK_PREFIX: &str = "xw";
/// Prefix of legacy indexes.
pub const LEGACY_INDEX_PREFIX: &str = "n";
/// Prefix of legacy compaction logs.
pub const COMPACTION_LOG_PREFIX: &str = "m";
/// Prefix of legacy delayed clean-up entries.
pub const LEGACY_CLEANUP_PREFIX: &str = "l";
/// Prefix of client logs.
pub const LOG_PREFIX: &str = "_log_";

const FORMAT_BACKUP_PREFIX: &str = "kopia.repository.backup.";
const RANDOM_HEX_DIGITS: usize = 32;
const IV_HEX_DIGITS: usize = 32;

/// What a blob's name says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobName {
    /// `kopia.repository`.
    FormatBlob,
    /// `kopia.blobcfg`.
    BlobConfig,
    /// `kopia.maintenance`.
    Maintenance,
    /// A copy of the format blob from before an upgrade.
    FormatBackup {
        /// Who upgrades.
        owner: String,
    },
    /// `p…`: contents without prefix.
    Pack {
        /// Who wrote it, if it says so.
        session: Option<SessionId>,
    },
    /// `q…`: contents with a prefix.
    MetadataPack {
        /// Who wrote it, if it says so.
        session: Option<SessionId>,
    },
    /// `s…`: the marker of a session that is not finished.
    Session {
        /// The hash of the marker.
        hash: HashOutput,
        /// Which session.
        session: SessionId,
    },
    /// `xn…`: what one flush added to an epoch.
    IndexUncompacted {
        /// Which epoch.
        epoch: u64,
        /// The hash of the index.
        hash: HashOutput,
        /// Who wrote it.
        session: SessionId,
        /// How many shards that flush has.
        count: u32,
    },
    /// `xs…`: an epoch, compacted.
    IndexSingleEpoch {
        /// Which epoch.
        epoch: u64,
    },
    /// `xr…`: a range of epochs, compacted.
    IndexEpochRange {
        /// The first epoch in it.
        first: u64,
        /// The last epoch in it.
        last: u64,
    },
    /// `xe…`: this epoch has begun.
    EpochMarker {
        /// Which epoch.
        epoch: u64,
    },
    /// `xw…`: tombstones up to this time are dropped.
    DeletionWatermark {
        /// Unix seconds.
        seconds: i64,
    },
    /// `n…`: an index from before epochs.
    LegacyIndex {
        /// The hash of the index.
        hash: HashOutput,
    },
    /// `m…`: which legacy indexes were compacted to which.
    CompactionLog {
        /// The hash of the log.
        hash: HashOutput,
    },
    /// `l…`: which compaction logs are to be removed.
    LegacyCleanup {
        /// The hash of the entry.
        hash: HashOutput,
    },
    /// The blob that keeps old clients away after an upgrade.
    Poison,
    /// `_log_…`: what a client logged.
    Log,
    /// None of the above.
    Unknown,
}

impl BlobName {
    /// Returns what this name says; [`Self::Unknown`] if it follows none of the patterns.
    pub fn parse(name: &str) -> Self {
        match name {
            FORMAT_BLOB => Self::FormatBlob,
            BLOB_CONFIG => Self::BlobConfig,
            MAINTENANCE => Self::Maintenance,
            POISON => Self::Poison,
            _ => parse_pattern(name).unwrap_or(Self::Unknown),
        }
    }
}

fn parse_pattern(name: &str) -> Option<BlobName> {
    if let Some(owner) = name.strip_prefix(FORMAT_BACKUP_PREFIX) {
        return Some(BlobName::FormatBackup {
            owner: owner.to_owned(),
        });
    }
    if name.starts_with(LOG_PREFIX) {
        return Some(BlobName::Log);
    }
    if let Some(rest) = name.strip_prefix(EPOCH_PREFIX) {
        return parse_epoch_pattern(rest);
    }
    let (stem, session) = match name.split_once('-') {
        Some((stem, session)) => (stem, Some(SessionId::parse(session)?)),
        None => (name, None),
    };
    if !name.is_char_boundary(1) {
        return None;
    }
    let (letter, digits) = stem.split_at_checked(1)?;
    Some(match (letter, session) {
        (PACK_PREFIX, session) if is_random(digits) => BlobName::Pack { session },
        (METADATA_PACK_PREFIX, session) if is_random(digits) => BlobName::MetadataPack { session },
        (SESSION_PREFIX, Some(session)) => BlobName::Session {
            hash: parse_hash(digits)?,
            session,
        },
        (LEGACY_INDEX_PREFIX, _) => BlobName::LegacyIndex {
            hash: parse_hash(digits)?,
        },
        (COMPACTION_LOG_PREFIX, None) => BlobName::CompactionLog {
            hash: parse_hash(digits)?,
        },
        (LEGACY_CLEANUP_PREFIX, None) => BlobName::LegacyCleanup {
            hash: parse_hash(digits)?,
        },
        _ => return None,
    })
}

/// Parses what follows the `x`.
fn parse_epoch_pattern(rest: &str) -> Option<BlobName> {
    let (letter, rest) = rest.split_at_checked(1)?;
    match letter {
        "e" => parse_number(rest).map(|epoch| BlobName::EpochMarker { epoch }),
        "w" => parse_number(rest)
            .and_then(|seconds| i64::try_from(seconds).ok())
            .map(|seconds| BlobName::DeletionWatermark { seconds }),
        "n" => {
            let (epoch, rest) = rest.split_once('_')?;
            let mut parts = rest.split('-');
            let name = BlobName::IndexUncompacted {
                epoch: parse_number(epoch)?,
                hash: parse_hash(parts.next()?)?,
                session: SessionId::parse(parts.next()?)?,
                count: u32::try_from(parse_number(parts.next()?.strip_prefix('c')?)?).ok()?,
            };
            parts.next().is_none().then_some(name)
        }
        "s" => {
            let (epoch, _) = rest.split_once('_')?;
            parse_number(epoch).map(|epoch| BlobName::IndexSingleEpoch { epoch })
        }
        "r" => {
            let (first, rest) = rest.split_once('_')?;
            let (last, _) = rest.split_once('_')?;
            Some(BlobName::IndexEpochRange {
                first: parse_number(first)?,
                last: parse_number(last)?,
            })
        }
        _ => None,
    }
}

/// Parses decimal digits and nothing else: no sign, no white space.
pub(crate) fn parse_number(digits: &str) -> Option<u64> {
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| digits.parse().ok()).flatten()
}

fn parse_hash(digits: &str) -> Option<HashOutput> {
    is_lower_hex(digits)
        .then(|| HashOutput::new(&hex::decode(digits).ok()?))
        .flatten()
}

fn is_random(digits: &str) -> bool {
    digits.len() == RANDOM_HEX_DIGITS && is_lower_hex(digits)
}

/// Returns the name of a new data pack.
pub fn pack(random: [u8; 16], session: &SessionId) -> String {
    format!("{PACK_PREFIX}{}-{session}", hex::encode(random))
}

/// Returns the name of a new pack of metadata.
pub fn metadata_pack(random: [u8; 16], session: &SessionId) -> String {
    format!("{METADATA_PACK_PREFIX}{}-{session}", hex::encode(random))
}

/// Returns the name of the marker of a session; the hash is that of its plain bytes.
pub fn session_marker(hash: &HashOutput, session: &SessionId) -> String {
    format!("{SESSION_PREFIX}{}-{session}", hash.to_hex())
}

/// Returns the name of an index that a flush adds to an epoch, as one of `shard_count`.
pub fn uncompacted_index(
    epoch: u64,
    hash: &HashOutput,
    session: &SessionId,
    shard_count: u32,
) -> String {
    let prefix = uncompacted_prefix(epoch);
    format!("{prefix}{}-{session}-c{shard_count}", hash.to_hex())
}

/// Returns the prefix of all uncompacted indexes of one epoch. Its underscore keeps epoch 1
/// apart from epoch 12.
pub fn uncompacted_prefix(epoch: u64) -> String {
    format!("{UNCOMPACTED_PREFIX}{epoch}_")
}

/// Returns the name of an index where epochs are disabled.
pub fn legacy_index(hash: &HashOutput, session: &SessionId) -> String {
    format!("{LEGACY_INDEX_PREFIX}{}-{session}", hash.to_hex())
}

/// Returns the iv under which a blob of this name is sealed (Kopia spec 3.2, "blob crypto"): the
/// end of the hash that is in the name.
pub fn blob_crypto_iv(blob_id: &str) -> Option<[u8; 16]> {
    let stem = match blob_id.split_once('-') {
        Some((stem, _)) => stem,
        None => blob_id,
    };
    let digits = stem.as_bytes();
    let start = digits.len().checked_sub(IV_HEX_DIGITS)?;
    let mut iv = [0; 16];
    hex::decode_to_slice(&digits[start..], &mut iv).ok()?;
    Some(iv)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> SessionId {
        SessionId::parse("s7fc52c3e5ccec065147").unwrap()
    }

    fn hash() -> HashOutput {
        HashOutput::new(&hex::decode("3e5233e5310a86648ecebe33f817cf6b").unwrap()).unwrap()
    }

    #[test]
    fn names_written_are_names_understood() {
        let name = pack([0x11; 16], &session());
        assert_eq!(
            name,
            "p11111111111111111111111111111111-s7fc52c3e5ccec065147"
        );
        let session_there = Some(session());
        assert_eq!(
            BlobName::parse(&name),
            BlobName::Pack {
                session: session_there.clone()
            }
        );
        assert_eq!(
            BlobName::parse(&metadata_pack([0x11; 16], &session())),
            BlobName::MetadataPack {
                session: session_there
            }
        );
        assert_eq!(
            BlobName::parse(&session_marker(&hash(), &session())),
            BlobName::Session {
                hash: hash(),
                session: session()
            }
        );
        let name = uncompacted_index(12, &hash(), &session(), 3);
        assert_eq!(
            name,
            "xn12_3e5233e5310a86648ecebe33f817cf6b-s7fc52c3e5ccec065147-c3"
        );
        assert_eq!(
            BlobName::parse(&name),
            BlobName::IndexUncompacted {
                epoch: 12,
                hash: hash(),
                session: session(),
                count: 3
            }
        );
        assert_eq!(blob_crypto_iv(&name), Some(hash().iv()));
        assert_eq!(
            BlobName::parse(&legacy_index(&hash(), &session())),
            BlobName::LegacyIndex { hash: hash() }
        );
    }

    #[test]
    fn kopias_other_names_are_understood() {
        let digits = "95221b351850b1cb1319e1f828f77d9a";
        let hash = HashOutput::new(&hex::decode(digits).unwrap()).unwrap();
        for (name, expected) in [
            ("kopia.repository".to_owned(), BlobName::FormatBlob),
            ("kopia.blobcfg".to_owned(), BlobName::BlobConfig),
            ("kopia.maintenance".to_owned(), BlobName::Maintenance),
            (
                "kopia.repository.backup.u@h".to_owned(),
                BlobName::FormatBackup {
                    owner: "u@h".to_owned(),
                },
            ),
            (
                format!("xr0_3_{digits}-s7a39dece02419547-c1"),
                BlobName::IndexEpochRange { first: 0, last: 3 },
            ),
            (
                format!("xs6_{digits}-sef5f54cd9474f713-c1"),
                BlobName::IndexSingleEpoch { epoch: 6 },
            ),
            ("xe9".to_owned(), BlobName::EpochMarker { epoch: 9 }),
            (
                "xw1795344295".to_owned(),
                BlobName::DeletionWatermark {
                    seconds: 1_795_344_295,
                },
            ),
            (format!("n{digits}"), BlobName::LegacyIndex { hash }),
            (format!("m{digits}"), BlobName::CompactionLog { hash }),
            (format!("l{digits}"), BlobName::LegacyCleanup { hash }),
            (format!("p{digits}"), BlobName::Pack { session: None }),
            (POISON.to_owned(), BlobName::Poison),
            (
                format!("_log_20261122104229_027e_1795344149_1795344149_1_{digits}"),
                BlobName::Log,
            ),
        ] {
            assert_eq!(BlobName::parse(&name), expected, "{name}");
        }
    }

    #[test]
    fn other_names_are_unknown() {
        for name in [
            "",
            "x",
            "xe",
            "xe+1",
            "xe-1",
            "xe1_",
            "xw",
            "xn1",
            "xn1_",
            "xs_",
            "xr1_",
            "p",
            "p12",
            "s",
            "é",
            "pé",
            "xé",
            "m3e5233e5310a86648ecebe33f817cf6b-s7fc52c3e5ccec065147",
            "p3E5233E5310A86648ECEBE33F817CF6B",
            "s3e5233e5310a86648ecebe33f817cf6b",
            "xe99999999999999999999999",
            ".shards",
        ] {
            assert_eq!(BlobName::parse(name), BlobName::Unknown, "{name}");
        }
    }

    #[test]
    fn the_iv_is_the_end_of_the_hash_and_nothing_else() {
        let long = format!("xn0_{}-s1-c1", "00".repeat(16) + &"ab".repeat(16));
        assert_eq!(blob_crypto_iv(&long), Some([0xab; 16]));
        for name in [
            "",
            "xe1",
            "-",
            "p-3e5233e5310a86648ecebe33f817cf6b",
            "éééééééééééééééé",
        ] {
            assert_eq!(blob_crypto_iv(name), None, "{name}");
        }
    }
}
