//! Verification: whether every restore point of a repository can still be read; and repair.
//!
//! ```text
//! points ─► trees ─► objects ─► lists ─► contents ─► in the index? in a pack that is there?
//!                                            └─ a sample ─► read, decrypted, hashed, compared
//! blobs that hold no content: index, epoch markers, schedule, sessions, logs, packs' own indexes
//! ```
//!
//! Damage is told with the point and the file it hurts. A store that does not answer is an error
//! of the verification, never damage. A verification changes nothing; [`Repair`] mends what can be
//! had from elsewhere, and [`remember`] keeps what was found.

mod bad;
mod blobs;
mod bounds;
mod error;
mod harm;
mod pack_scan;
mod packs;
mod reading;
mod remember;
mod repair;
mod report;
mod still_lost;
mod verification;
mod walk;

pub use error::{VerifyError, VerifyErrorKind};
pub use remember::remember;
pub use repair::{LostManifests, Mended, MendedKind, Repair, Repaired};
pub use report::{BlobDamage, BlobRole, Damage, Verification, VerifyOptions};
pub use verification::verify;
