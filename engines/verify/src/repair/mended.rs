//! What a repair mends, and the words for it.

/// Something that was mended, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// What.
    pub what: MendedKind,
    /// The blob it is about; the manifest, where it is one.
    pub name: String,
    /// How many records or contents.
    pub count: u64,
}

/// What was mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MendedKind {
    /// The marker of an epoch was put back.
    EpochMarker,
    /// Contents of a pack that no index named are in the index again.
    Unindexed,
    /// A damaged index blob was replaced by new ones.
    IndexBlob,
    /// A manifest that no index named is listed again.
    Manifest,
    /// Contents that cannot be read in this pack were stored anew from sound copies.
    Contents,
    /// Contents of a pack whose own index is damaged were stored anew.
    PackIndex,
    /// The maintenance schedule was begun anew.
    Schedule,
}

impl MendedKind {
    /// Returns the word for it in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EpochMarker => "epoch_marker",
            Self::Unindexed => "unindexed_contents",
            Self::IndexBlob => "index_blob",
            Self::Manifest => "manifest",
            Self::Contents => "contents",
            Self::PackIndex => "pack_index",
            Self::Schedule => "maintenance_schedule",
        }
    }
}
