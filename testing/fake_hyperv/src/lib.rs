//! Hyper-V as Windows shows it, as a model over the simulated host.
//!
//! The simulated host knows what is there and what happens; this crate dresses it in Hyper-V's
//! WMI classes, return codes and jobs, and in virtdisk's calls; beside it stand the machine's disks
//! and volumes as Windows' storage management shows them. It is strict where the real
//! provider is, and knows nothing of backups. Each behaviour names the section of the Hyper-V
//! spec it stands on; what only a real host can confirm has a switch in [`Manners`].
//!
//! ```text
//! FakeNamespaces ── connect ─► a session ── query ─► wql over world     objects from the truth
//!                                        └─ call ──► methods ─► the simulated host, jobs
//! FakeStorage ───── connect ─► a session ── query ─► wql over world     disks and volumes of the simulated machine
//! ```

pub mod apart;
mod codes;
mod embedded;
mod environment;
mod extras;
mod failure;
mod jobs;
mod manners;
pub mod meddling;
mod methods;
mod not_here;
mod object_path;
pub mod schema;
mod session;
mod storage;
pub mod virtdisk;
mod world;
mod wql;

pub use environment::{HOST_VARIABLE, MANNERS_VARIABLE, from_environment, machine_folder};
pub use extras::{Cluster, Extras, GuestCluster, MemorySettings};
pub use manners::{Manners, PointEntries};
pub use session::FakeNamespaces;
pub use storage::FakeStorage;

/// Hyper-V's namespace.
pub(crate) const VIRTUALIZATION: &str = r"ROOT\virtualization\v2";
/// Windows' own.
pub(crate) const CIMV2: &str = r"ROOT\cimv2";
/// A failover cluster's.
pub(crate) const MSCLUSTER: &str = r"ROOT\MSCluster";
/// The storage management's.
pub(crate) const STORAGE: &str = r"ROOT\Microsoft\Windows\Storage";

/// Returns whether a name means this namespace, however it is written.
pub(crate) fn is_namespace(known: &str, name: &str) -> bool {
    let wanted = name.trim_start_matches(r"\\.\").replace('/', r"\");
    known.eq_ignore_ascii_case(&wanted)
}
