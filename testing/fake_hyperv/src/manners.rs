//! What the model does where only a real host could tell which way is right.

/// Switches for behaviours of low confidence; the default is what the Hyper-V spec believes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manners {
    /// Whether a frozen disk says that there were writes after its newest id (Hyper-V spec 7.1,
    /// RH-1).
    pub newer_changes_on_frozen_disks: bool,
    /// Whether asking a file for information needs what reading it needs, so that what a running
    /// VM writes to cannot be asked (Hyper-V spec 7.1, low).
    pub information_is_like_reading: bool,
}
