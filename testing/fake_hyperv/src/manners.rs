//! What the model does where only a real host could tell which way is right.

/// Switches for behaviours of low confidence; the default is what the Hyper-V spec believes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manners {}
