//! Passwords and keys kept on this machine, under whatever protection it offers.
//!
//! [`SecretStore`] is the port; each system's protection is one implementation of it. What is in a
//! secret, and whose it is, nobody here knows (`docs/decisions/remembered-passwords.md`).

pub mod contract;
mod port;
#[cfg(unix)]
mod private_files;
mod secret;

pub use port::{SecretError, SecretErrorKind, SecretStore};
#[cfg(unix)]
pub use private_files::PrivateFiles;
pub use secret::Secret;
