//! Reparse points: whose they are, and where those lead that lead anywhere.
//!
//! Sources: MS-FSCC 2.1.2 (tags and their buffers). Reading the buffers is the caller's business.

use std::fmt;

/// Says to whom a reparse point belongs, and so what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReparseTag(pub u32);

/// Tags that have names, and these.
const NAMES: [(u32, &str); 17] = [
    (0xA000_0003, "a junction or mount point"),
    (0xA000_000C, "a symbolic link"),
    (0x8000_0013, "a deduplicated file"),
    (0x8000_0017, "a compressed file of the system"),
    (0x8000_0021, "a file of OneDrive"),
    (0x8000_001E, "a file of Azure File Sync"),
    (0x8000_0006, "a file of a storage hierarchy"),
    (0xC000_0004, "a file of a storage hierarchy"),
    (0x8000_0015, "a file that is elsewhere"),
    (0x9000_001C, "a file of a projected file system"),
    (0x8000_001B, "a stand-in for a program of an app package"),
    (0x8000_0023, "a socket"),
    (0xA000_001D, "a symbolic link of Linux"),
    (0x8000_0024, "a named pipe of Linux"),
    (0x8000_0025, "a character device of Linux"),
    (0x8000_0026, "a block device of Linux"),
    (0x8000_0014, "a special file of an NFS server"),
];
/// Whose files look like any other to those who read them: their filter brings the content.
const READ_BY_FILTERS: [u32; 7] = [
    0x8000_0006,
    0x8000_0013,
    0x8000_0015,
    0x8000_0017,
    0x8000_001E,
    0x8000_0021,
    0xC000_0004,
];
/// Cloud files: sixteen tags that differ in these bits.
const CLOUD: u32 = 0x9000_001A;
const CLOUD_BITS: u32 = 0xF000;

impl ReparseTag {
    /// Of junctions, and of places where volumes are mounted.
    pub const MOUNT_POINT: Self = Self(0xA000_0003);
    /// Of symbolic links.
    pub const SYMBOLIC_LINK: Self = Self(0xA000_000C);

    /// Returns whether what has this tag is read as if it had none: a filter of Windows brings the
    /// content, which may be elsewhere ([`Attributes::is_elsewhere`](super::Attributes::is_elsewhere)).
    pub fn is_read_through(self) -> bool {
        self.is_cloud() || READ_BY_FILTERS.contains(&self.0)
    }

    fn is_cloud(self) -> bool {
        self.0 & !CLOUD_BITS == CLOUD
    }
}

impl fmt::Display for ReparseTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = NAMES.iter().find(|(tag, _)| *tag == self.0);
        match named {
            Some((_, name)) => f.write_str(name),
            None if self.is_cloud() => f.write_str("a file of a cloud"),
            None => write!(f, "a reparse point with the tag 0x{:08X}", self.0),
        }
    }
}

/// Where a reparse point leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To this path: a symbolic link or junction.
    Path(String),
    /// To the root of this volume, `\\?\Volume{GUID}\`: the volume is mounted here.
    Volume(String),
}

/// Why a reparse point's bytes tell nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// They belong to something that leads nowhere.
    #[error("it is {0}, which leads nowhere")]
    NoLink(ReparseTag),
    /// They are shorter than they say.
    #[error("what Windows says of where it leads is cut short")]
    CutShort,
    /// They name a path that is no Unicode.
    #[error("it leads to a path that is no text")]
    NoText,
}

/// Before the part that depends on the tag: tag, length, reserved.
const HEAD_BYTES: usize = 8;
/// How paths begin that the kernel takes.
const KERNEL: &str = r"\??\";
const KERNEL_UNC: &str = r"\??\UNC\";
const KERNEL_VOLUME: &str = r"\??\Volume{";

impl Target {
    /// Reads where a symbolic link, junction or mount point leads: `REPARSE_DATA_BUFFER`.
    ///
    /// # Errors
    /// If it is none of these, is cut short, or its path is no Unicode.
    pub fn parse(bytes: &[u8]) -> Result<Self, TargetError> {
        let tag = bytes.first_chunk().ok_or(TargetError::CutShort)?;
        let tag = ReparseTag(u32::from_le_bytes(*tag));
        // Two pairs of offset and length; links have flags behind them.
        let names = match tag {
            ReparseTag::MOUNT_POINT => HEAD_BYTES + 8,
            ReparseTag::SYMBOLIC_LINK => HEAD_BYTES + 12,
            other => return Err(TargetError::NoLink(other)),
        };
        let offset = u16_at(bytes, HEAD_BYTES)?;
        let length = u16_at(bytes, HEAD_BYTES + 2)?;
        let start = names + usize::from(offset);
        let name = bytes.get(start..start + usize::from(length));
        let name = name.ok_or(TargetError::CutShort)?;
        let units: Vec<u16> = name
            .chunks_exact(2)
            .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
            .collect();
        let name = String::from_utf16(&units).map_err(|_| TargetError::NoText)?;
        Ok(Self::of_kernel_path(name))
    }

    /// Takes the kernel's form of a path for the one that people and programs use.
    fn of_kernel_path(name: String) -> Self {
        if name.starts_with(KERNEL_VOLUME) {
            return Self::Volume(name.replacen(KERNEL, r"\\?\", 1));
        }
        if let Some(share) = name.strip_prefix(KERNEL_UNC) {
            return Self::Path(format!(r"\\{share}"));
        }
        match name.strip_prefix(KERNEL) {
            Some(path) => Self::Path(path.to_owned()),
            // A symbolic link's may be relative.
            None => Self::Path(name),
        }
    }
}

fn u16_at(bytes: &[u8], offset: usize) -> Result<u16, TargetError> {
    let two = bytes.get(offset..).and_then(<[u8]>::first_chunk);
    let two = two.ok_or(TargetError::CutShort)?;
    Ok(u16::from_le_bytes(*two))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A buffer with both names, as Windows makes it: the printed one first in links.
    fn buffer(tag: ReparseTag, substitute: &str, printed: &str) -> Vec<u8> {
        let wide = |text: &str| -> Vec<u8> {
            let units: Vec<u16> = text.encode_utf16().collect();
            units.iter().flat_map(|unit| unit.to_le_bytes()).collect()
        };
        let (substitute, printed) = (wide(substitute), wide(printed));
        let mut bytes = tag.0.to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        for number in [printed.len(), substitute.len(), 0, printed.len()] {
            bytes.extend((number as u16).to_le_bytes());
        }
        if tag == ReparseTag::SYMBOLIC_LINK {
            bytes.extend([0; 4]);
        }
        bytes.extend(printed);
        bytes.extend(substitute);
        bytes
    }

    #[test]
    fn links_junctions_and_mounted_volumes_say_where_they_lead() {
        let path = |path: &str| Ok(Target::Path(path.to_owned()));
        for (tag, substitute, target) in [
            (ReparseTag::SYMBOLIC_LINK, r"\??\C:\Täg", path(r"C:\Täg")),
            (ReparseTag::SYMBOLIC_LINK, r"..\other", path(r"..\other")),
            (
                ReparseTag::SYMBOLIC_LINK,
                r"\??\UNC\server\share\a",
                path(r"\\server\share\a"),
            ),
            (ReparseTag::MOUNT_POINT, r"\??\D:\old\", path(r"D:\old\")),
            (
                ReparseTag::MOUNT_POINT,
                r"\??\Volume{0f}\",
                Ok(Target::Volume(r"\\?\Volume{0f}\".to_owned())),
            ),
        ] {
            let bytes = buffer(tag, substitute, "shown");
            assert_eq!(Target::parse(&bytes), target, "{substitute}");
        }
    }

    #[test]
    fn a_buffer_that_is_cut_anywhere_is_refused() {
        let whole = buffer(ReparseTag::SYMBOLIC_LINK, r"\??\C:\a", "a");
        for end in 0..whole.len() {
            let cut = Target::parse(&whole[..end]);
            assert_eq!(cut, Err(TargetError::CutShort), "at {end}");
        }
        assert!(Target::parse(&whole).is_ok());
    }

    #[test]
    fn what_leads_nowhere_is_named() {
        let bytes = buffer(ReparseTag(0x8000_0013), "", "");
        let error = Target::parse(&bytes).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it is a deduplicated file, which leads nowhere"
        );
        let mut bytes = buffer(ReparseTag::MOUNT_POINT, "x", "");
        let end = bytes.len();
        bytes[end - 2..].copy_from_slice(&0xD800_u16.to_le_bytes());
        assert_eq!(Target::parse(&bytes), Err(TargetError::NoText));
    }

    #[test]
    fn what_filters_bring_is_read_and_what_stands_for_others_is_not() {
        for cloud in [0x9000_001A, 0x9000_101A, 0x9000_F01A, 0x8000_0021] {
            assert!(ReparseTag(cloud).is_read_through(), "{cloud:X}");
        }
        for read in [0x8000_0013, 0x8000_0017, 0x8000_001E, 0xC000_0004] {
            assert!(ReparseTag(read).is_read_through(), "{read:X}");
        }
        for other in [0xA000_0003, 0xA000_000C, 0x8000_001B, 0x8000_0023, 0x1234] {
            assert!(!ReparseTag(other).is_read_through(), "{other:X}");
        }
        assert_eq!(ReparseTag(0x9000_301A).to_string(), "a file of a cloud");
        let unknown = ReparseTag(0x8000_7777).to_string();
        assert_eq!(unknown, "a reparse point with the tag 0x80007777");
    }

    proptest! {
        #[test]
        fn no_bytes_from_outside_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..64), link: bool) {
            let tag = if link { ReparseTag::SYMBOLIC_LINK } else { ReparseTag::MOUNT_POINT };
            if let Some(head) = bytes.first_chunk_mut() {
                *head = tag.0.to_le_bytes();
            }
            let _ = Target::parse(&bytes);
        }
    }
}
