//! The real Windows behind the ports of the house.
//!
//! ```text
//! hyperv/            HypervHost by WMI and virtdisk                no unsafe, runs everywhere
//!   │
//! wmi/  virtdisk/    what they need of Windows, as traits and      no unsafe, runs everywhere
//!   │                plain values
//! wmi/com/  …        the same by COM and Win32, one to one         unsafe, Windows only
//! ```
//!
//! What decides anything is plain Rust over two narrow traits, so every machine can test it
//! against a model of Hyper-V's provider; what only translates calls is unsafe, thin, and runs
//! under Wine against the same model. It knows nothing of repositories and backups.

pub mod calls;
pub mod hyperv;
pub mod virtdisk;
pub mod wmi;
