//! Verification: whether every restore point of a repository can still be read.
//!
//! ```text
//! points ─► trees ─► objects ─► lists ─► contents ─► in the index? in a pack that is there?
//!                                            └─ a sample ─► read, decrypted, hashed, compared
//! ```
//!
//! Damage is told with the point and the file it hurts. A store that does not answer is an error
//! of the verification, never damage. Nothing is repaired here.

mod error;
mod packs;
mod reading;
mod verification;
mod walk;

pub use error::{VerifyError, VerifyErrorKind};
pub use verification::{Damage, Verification, VerifyOptions, verify};
