//! A Kopia repository opened on a blob store: contents, objects, manifests.
//!
//! Reading follows whatever the repository's parameters say; writing appends only: packs,
//! index blobs, manifests (Kopia spec 4.5 to 4.8, 5.7, 8.4). Only the steps in `maintenance`
//! move, compact and delete. What a disk or a file is, this crate does not know.

mod cache_folder;
mod contents;
mod create;
mod error;
mod index;
mod index_walk;
mod local_note;
mod lost;
mod maintenance;
mod manifests;
mod object_lock;
mod object_writer;
mod objects;
mod opener;
mod password;
mod repair;
mod repository;
mod settings;
mod writer;

pub use create::{CreateOptions, create, finish_creation};
pub use error::{RepoError, RepoErrorKind};
pub use index_walk::{IndexRow, IndexWalk, PackPlace, PerPack};
pub use lost::LostContents;
pub use maintenance::{Compaction, MaintenanceLock, Moved, ScheduleKeeper, owner_name};
pub use manifests::Manifests;
pub use object_lock::{LOCK_MARGIN, LOCK_PERIOD_MIN, lock_config};
pub use object_writer::{ObjectWriter, Segments, WrittenObject};
pub use objects::{ObjectReader, WrittenList};
pub use password::{PasswordChange, change_password};
pub use repository::{Identity, Repository, Surroundings};
pub use settings::LOCKED_PREFIXES;
pub use writer::{Encoder, PACK_BYTES_MAX, Writer, WriterUse, Written};
