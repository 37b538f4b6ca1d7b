//! What a blob's name says it is (Kopia spec 1.2).

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BlobName {
    Format,
    BlobConfig,
    MaintenanceSchedule,
    FormatBackup,
    Pack {
        metadata: bool,
    },
    SessionMarker,
    UncompactedIndex {
        epoch: u64,
        session: String,
        shards: u64,
    },
    SingleEpochIndex,
    RangeIndex,
    EpochMarker,
    DeletionWatermark,
    LegacyIndex,
    LegacyCompactionLog,
    LegacyCleanup,
    Poison,
    ClientLog,
}

impl BlobName {
    /// Reads a name; `None` if it fits no pattern. `hash_bytes` is the length of the repository's hash.
    pub(crate) fn parse(id: &str, hash_bytes: usize) -> Option<BlobName> {
        let is_hash = |text: &str| is_hex(text, hash_bytes * 2);
        let fixed = match id {
            "kopia.repository" => Some(BlobName::Format),
            "kopia.blobcfg" => Some(BlobName::BlobConfig),
            "kopia.maintenance" => Some(BlobName::MaintenanceSchedule),
            "n00000000000000000000000000000000-repository_unreadable_by_this_kopia_version_upgrade_required" => {
                Some(BlobName::Poison)
            }
            _ => None,
        };
        if fixed.is_some() {
            return fixed;
        }
        if id
            .strip_prefix("kopia.repository.backup.")
            .is_some_and(|owner| !owner.is_empty())
        {
            return Some(BlobName::FormatBackup);
        }
        if let Some(rest) = id.strip_prefix("_log_") {
            return is_log(rest, hash_bytes * 2).then_some(BlobName::ClientLog);
        }
        let parts: Vec<&str> = id.split('-').collect();
        if let Some(rest) = parts[0].strip_prefix("xe") {
            return (parts.len() == 1 && decimal(rest).is_some()).then_some(BlobName::EpochMarker);
        }
        if let Some(rest) = parts[0].strip_prefix("xw") {
            return (parts.len() == 1 && decimal(rest).is_some())
                .then_some(BlobName::DeletionWatermark);
        }
        if let Some(rest) = parts[0].strip_prefix('x') {
            let [_, set, count] = parts[..] else {
                return None;
            };
            let shards = decimal(count.strip_prefix('c')?).filter(|&shards| shards > 0)?;
            let numbers: Vec<&str> = rest.get(1..)?.split('_').collect();
            let is_compaction_set = set.strip_prefix('s').is_some_and(|set| is_hex(set, 16));
            return match (rest.as_bytes()[0], &numbers[..]) {
                (b'n', [epoch, hash])
                    if is_hash(hash) && (is_session_id(set) || is_compaction_set) =>
                {
                    Some(BlobName::UncompactedIndex {
                        epoch: decimal(epoch)?,
                        session: set.to_owned(),
                        shards,
                    })
                }
                (b's', [epoch, hash]) if is_hash(hash) && is_compaction_set => {
                    decimal(epoch).map(|_| BlobName::SingleEpochIndex)
                }
                (b'r', [first, last, hash]) if is_hash(hash) && is_compaction_set => {
                    (decimal(first)? <= decimal(last)?).then_some(BlobName::RangeIndex)
                }
                _ => None,
            };
        }
        let hash = id.get(1..parts[0].len())?;
        let session = match parts[..] {
            [_] => None,
            [_, session] if is_session_id(session) => Some(session),
            _ => return None,
        };
        match id.as_bytes()[0] {
            b'p' if is_hex(hash, 32) && session.is_some() => {
                Some(BlobName::Pack { metadata: false })
            }
            b'q' if is_hex(hash, 32) && session.is_some() => {
                Some(BlobName::Pack { metadata: true })
            }
            b's' if is_hash(hash) && session.is_some() => Some(BlobName::SessionMarker),
            b'n' if is_hash(hash) => Some(BlobName::LegacyIndex),
            b'm' if is_hash(hash) && session.is_none() => Some(BlobName::LegacyCompactionLog),
            b'l' if is_hash(hash) && session.is_none() => Some(BlobName::LegacyCleanup),
            _ => None,
        }
    }
}

/// The part of a sealed blob's name that holds the hash of what is in it, as bytes.
pub(crate) fn payload_hash(id: &str, hash_bytes: usize) -> Result<Vec<u8>, String> {
    let stem = id.split('-').next().unwrap_or_default();
    stem.len()
        .checked_sub(hash_bytes * 2)
        .and_then(|start| stem.get(start..))
        .and_then(from_hex)
        .ok_or_else(|| format!("blob name {id} has no hash"))
}

/// Whether `text` is `s`, 16 hex digits, and a number of months in hex (Kopia spec 4.8).
pub(crate) fn is_session_id(text: &str) -> bool {
    let Some(digits) = text.strip_prefix('s') else {
        return false;
    };
    let Some(months) = digits.get(16..) else {
        return false;
    };
    is_hex(digits, digits.len())
        && !months.is_empty()
        && months.len() <= 8
        && (months == "0" || !months.starts_with('0'))
}

/// A number in decimal without padding.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    if digits && !padded {
        text.parse().ok()
    } else {
        None
    }
}

pub(crate) fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !is_hex(text, text.len()) || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_log(rest: &str, hash_digits: usize) -> bool {
    let parts: Vec<&str> = rest.split('_').collect();
    let [time, random, start, end, sequence, hash] = parts[..] else {
        return false;
    };
    time.len() == 14
        && time.bytes().all(|byte| byte.is_ascii_digit())
        && is_hex(random, 4)
        && [start, end, sequence]
            .iter()
            .all(|number| decimal(number).is_some())
        && is_hex(hash, hash_digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alien_names_fit_no_pattern() {
        for id in [
            "",
            "x",
            "p",
            "pabc",
            "p00112233445566778899aabbccddeeff",
            "p00112233445566778899aabbccddeeff-x",
            "p00112233445566778899aabbccddeeff-s0011223344556677",
            "P00112233445566778899aabbccddeeff-s0011223344556677147",
            "s00112233445566778899aabbccddeeff",
            "xe01",
            "xe",
            "xn0_00112233445566778899aabbccddeeff",
            "xn0_00112233445566778899aabbccddeeff-s0011223344556677147",
            "xn0_00112233445566778899aabbccddeeff-s0011223344556677147-c0",
            "xn0_00112233445566778899aabbccddeeff-x0011223344556677147-c1",
            "xs0_00112233445566778899aabbccddeeff-s0011223344556677147-c1",
            "xr7_0_00112233445566778899aabbccddeeff-s0011223344556677-c1",
            "é",
            "mé",
            "kopia.other",
            "_log_x",
        ] {
            assert_eq!(BlobName::parse(id, 16), None, "{id}");
        }
    }

    #[test]
    fn the_formats_names_are_recognised() {
        for (id, name) in [
            (
                "p00112233445566778899aabbccddeeff-s0011223344556677147",
                BlobName::Pack { metadata: false },
            ),
            (
                "q00112233445566778899aabbccddeeff-s0011223344556677147",
                BlobName::Pack { metadata: true },
            ),
            (
                "s00112233445566778899aabbccddeeff-s0011223344556677147",
                BlobName::SessionMarker,
            ),
            ("xe12", BlobName::EpochMarker),
            ("xw1700000000", BlobName::DeletionWatermark),
            (
                "xr0_7_00112233445566778899aabbccddeeff-s0011223344556677-c1",
                BlobName::RangeIndex,
            ),
            (
                "xs3_00112233445566778899aabbccddeeff-s0011223344556677-c1",
                BlobName::SingleEpochIndex,
            ),
            ("n00112233445566778899aabbccddeeff", BlobName::LegacyIndex),
        ] {
            assert_eq!(BlobName::parse(id, 16), Some(name), "{id}");
        }
    }
}
