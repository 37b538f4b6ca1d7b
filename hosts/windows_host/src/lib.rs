//! The real Windows behind the ports of the house.
//!
//! ```text
//! hyperv/            HypervHost by WMI and virtdisk                no unsafe, runs everywhere
//! volume/            VolumeHost by WMI and VSS
//!   │
//! wmi/  virtdisk/    what they need of Windows, as traits and      no unsafe, runs everywhere
//! vss/               plain values
//!   │
//! wmi/com/  …        the same by COM and Win32, one to one         unsafe, Windows only
//!
//! files/             which file, what it is, where links lead      the calls unsafe, Windows only
//! ```
//!
//! What decides anything is plain Rust over narrow traits, so every machine can test it
//! against models of Hyper-V's provider and of VSS; what only translates calls is unsafe, thin, and runs
//! under Wine against the same models. It knows nothing of repositories and backups.

#[cfg(windows)]
pub mod acl;
#[cfg(windows)]
mod apartment;
pub mod calls;
#[cfg(windows)]
pub mod dpapi;
#[cfg(windows)]
pub mod elevation;
#[cfg(windows)]
pub mod event_channel;
#[cfg(windows)]
pub mod event_log;
pub mod files;
pub mod hyperv;
#[cfg(windows)]
mod machine_secrets;
#[cfg(windows)]
pub mod priority;
#[cfg(windows)]
pub mod privileges;
#[cfg(windows)]
mod raw_devices;
#[cfg(windows)]
pub mod service;
#[cfg(windows)]
pub mod shares;
#[cfg(windows)]
mod token;
pub mod virtdisk;
pub mod volume;
#[cfg(windows)]
pub mod volumes;
pub mod vss;
#[cfg(windows)]
mod win32_error;
pub mod wmi;

#[cfg(windows)]
pub use machine_secrets::MachineSecrets;
#[cfg(windows)]
pub use win32_error::Win32Error;
