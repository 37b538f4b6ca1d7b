//! A disk that the host shows as a drive: whether it is online, and what may be written to it then.

use disk::ByteRange;
use windows::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_WRITE_PROTECT};
use windows::Win32::System::Ioctl::{DISK_ATTRIBUTE_OFFLINE, DISK_ATTRIBUTE_READ_ONLY};

/// Where the table of partitions stands in the first sector, and what ends that.
const TABLE: usize = 446;
const ENTRY_BYTES: usize = 16;
const ENTRIES: usize = 4;
const SIGNATURE: [u8; 2] = [0x55, 0xAA];

/// How many bytes of a disk hold its table of partitions.
pub const TABLE_BYTES: usize = 512;

/// What Windows holds of a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drive {
    attributes: u64,
    attached_read_only: bool,
}

impl Drive {
    /// Returns a drive as it comes.
    pub fn shown(online: bool, attached_read_only: bool) -> Self {
        let attributes = match online {
            true => 0,
            false => DISK_ATTRIBUTE_OFFLINE | DISK_ATTRIBUTE_READ_ONLY,
        };
        Self {
            attributes,
            attached_read_only,
        }
    }

    /// Returns its attributes, as the control code gives them.
    pub fn attributes(self) -> u64 {
        match self.attached_read_only {
            true => self.attributes | DISK_ATTRIBUTE_READ_ONLY,
            false => self.attributes,
        }
    }

    /// Changes those attributes that `mask` names.
    pub fn set(&mut self, attributes: u64, mask: u64) {
        self.attributes = (self.attributes & !mask) | (attributes & mask);
    }

    /// Returns the code with which a write is refused, if it is, on a disk that begins with `table`.
    pub fn refusal(
        self,
        table: &[u8; TABLE_BYTES],
        sector_bytes: u32,
        write: ByteRange,
    ) -> Option<u32> {
        if self.attributes() & DISK_ATTRIBUTE_READ_ONLY != 0 {
            return Some(ERROR_WRITE_PROTECT.0);
        }
        let offline = self.attributes & DISK_ATTRIBUTE_OFFLINE != 0;
        let mut volumes = partitions(table, sector_bytes);
        let falls_into =
            |volume: ByteRange| write.start() < volume.end() && volume.start() < write.end();
        (!offline && volumes.any(falls_into)).then_some(ERROR_ACCESS_DENIED.0)
    }
}

/// Returns where the partitions of an MBR lie; of a GPT, that is all behind the first sector.
fn partitions(
    table: &[u8; TABLE_BYTES],
    sector_bytes: u32,
) -> impl Iterator<Item = ByteRange> + use<'_> {
    let entries = match table.ends_with(&SIGNATURE) {
        true => &table[TABLE..TABLE + ENTRIES * ENTRY_BYTES],
        false => &[],
    };
    let sector_bytes = u64::from(sector_bytes);
    entries.chunks(ENTRY_BYTES).filter_map(move |entry| {
        let word = |at: usize| {
            let bytes = [entry[at], entry[at + 1], entry[at + 2], entry[at + 3]];
            u64::from(u32::from_le_bytes(bytes)) * sector_bytes
        };
        let (kind, start, bytes) = (entry[4], word(8), word(12));
        (kind != 0 && bytes > 0)
            .then(|| ByteRange::at(start, bytes))
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A table with one partition, from 1 MiB to 2 MiB.
    fn table() -> [u8; TABLE_BYTES] {
        let mut table = [0; TABLE_BYTES];
        table[TABLE + 4] = 7;
        table[TABLE + 8..][..4].copy_from_slice(&2048_u32.to_le_bytes());
        table[TABLE + 12..][..4].copy_from_slice(&2048_u32.to_le_bytes());
        table[TABLE_BYTES - 2..].copy_from_slice(&SIGNATURE);
        table
    }

    fn refusal(drive: Drive, table: &[u8; TABLE_BYTES], start: u64, bytes: u64) -> Option<u32> {
        drive.refusal(
            table,
            512,
            ByteRange::at(start, bytes).expect("it is short"),
        )
    }

    #[test]
    fn an_online_drive_refuses_what_falls_into_its_volumes_alone() {
        let drive = Drive::shown(true, false);
        let everything = [
            (0, 512, None),
            (MIB - 512, 512, None),
            (MIB - 512, 1024, Some(5)),
            (MIB, 512, Some(5)),
            (2 * MIB - 512, 4096, Some(5)),
            (2 * MIB, 4096, None),
        ];
        for (start, bytes, code) in everything {
            assert_eq!(refusal(drive, &table(), start, bytes), code, "{start}");
            assert_eq!(refusal(drive, &[0; TABLE_BYTES], start, bytes), None);
        }
    }

    #[test]
    fn an_offline_drive_has_no_volumes_and_may_be_read_only() {
        let mut drive = Drive::shown(false, false);
        assert_eq!(refusal(drive, &table(), 0, 512), Some(19));
        drive.set(0, DISK_ATTRIBUTE_READ_ONLY);
        assert_eq!(drive.attributes(), DISK_ATTRIBUTE_OFFLINE);
        assert_eq!(refusal(drive, &table(), MIB, 512), None);
        let mut read_only = Drive::shown(true, true);
        read_only.set(DISK_ATTRIBUTE_OFFLINE, 3);
        assert_eq!(read_only.attributes(), 3);
        assert_eq!(refusal(read_only, &table(), 0, 512), Some(19));
    }
}
