//! Hyper-V as Windows shows it, as a model over the simulated host.
//!
//! The simulated host knows what is there and what happens; this crate dresses it in Hyper-V's
//! WMI classes, return codes and jobs, and in virtdisk's calls. It is strict where the real
//! provider is, and knows nothing of backups. Each behaviour names the section of the Hyper-V
//! spec it stands on; what only a real host can confirm has a switch in [`Manners`].
//!
//! ```text
//! FakeNamespaces ── connect ─► a session ── query ─► wql over world     objects from the truth
//!                                        └─ call ──► methods ─► the simulated host, jobs
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
pub mod virtdisk;
mod world;
mod wql;

pub use environment::{HOST_VARIABLE, MANNERS_VARIABLE, from_environment};
pub use extras::{Cluster, Extras, GuestCluster};
pub use manners::{Manners, PointEntries};
pub use session::FakeNamespaces;

/// Hyper-V's namespace.
pub(crate) const VIRTUALIZATION: &str = r"ROOT\virtualization\v2";
/// Windows' own.
pub(crate) const CIMV2: &str = r"ROOT\cimv2";
/// A failover cluster's.
pub(crate) const MSCLUSTER: &str = r"ROOT\MSCluster";
