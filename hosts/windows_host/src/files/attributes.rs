//! The attributes of a file or folder: one number, a bit each.

/// Attributes as Windows gives them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes(pub u32);

impl Attributes {
    /// Nobody may write it.
    pub const READ_ONLY: Self = Self(0x1);
    /// Not shown unless asked for.
    pub const HIDDEN: Self = Self(0x2);
    /// Part of the system.
    pub const SYSTEM: Self = Self(0x4);
    /// A folder, or a link to one.
    pub const FOLDER: Self = Self(0x10);
    /// Changed since somebody who cared for this bit saved it.
    pub const ARCHIVE: Self = Self(0x20);
    /// May have holes.
    pub const SPARSE: Self = Self(0x200);
    /// Something other than its file system has a say in it: it has a [`ReparseTag`](super::ReparseTag).
    pub const REPARSE_POINT: Self = Self(0x400);
    /// Its data is not at hand.
    pub const OFFLINE: Self = Self(0x1000);
    /// It is nowhere here: opening it fetches from afar. Only listings of folders tell this; where a
    /// file itself is asked, the bit says that it has extended attributes.
    pub const RECALL_ON_OPEN: Self = Self(0x4_0000);
    /// Not all of it is here: reading fetches the rest from afar.
    pub const RECALL_ON_DATA_ACCESS: Self = Self(0x40_0000);

    /// Returns whether all bits of `other` are set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns whether reading it would fetch data from elsewhere, such as a cloud: a placeholder.
    pub fn is_elsewhere(self) -> bool {
        self.has(Self::OFFLINE) || self.has(Self::RECALL_ON_DATA_ACCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_told_from_what_is_here() {
        // As OneDrive sets them: a file that was never opened here, one that is here, one that
        // shall stay here.
        assert!(Attributes(0x0050_1620).is_elsewhere());
        assert!(!Attributes(0x0000_0420).is_elsewhere());
        assert!(!Attributes(0x0008_0420).is_elsewhere());
        assert!(Attributes(0x1020).is_elsewhere());
        // The bit that means another thing where a file itself is asked.
        assert!(!Attributes(0x0004_0020).is_elsewhere());
    }

    #[test]
    fn every_bit_must_be_there() {
        let both = Attributes(Attributes::HIDDEN.0 | Attributes::SYSTEM.0);
        assert!(Attributes(0x26).has(both));
        assert!(!Attributes(0x22).has(both));
    }
}
