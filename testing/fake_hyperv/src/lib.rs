//! Hyper-V as Windows shows it, as a model over the simulated host.
//!
//! The simulated host knows what is there and what happens; this crate dresses it in Hyper-V's
//! WMI classes, return codes and jobs, and in virtdisk's calls. It is strict where the real
//! provider is, and knows nothing of backups. Each behaviour names the section of the Hyper-V
//! spec it stands on; what only a real host can confirm has a switch in [`Manners`].

mod manners;
pub mod virtdisk;

pub use manners::Manners;
