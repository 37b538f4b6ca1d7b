//! The port: what keeps secrets.

use std::fmt::Debug;

use fault::Fault;

use crate::secret::Secret;

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretErrorKind {
    /// What protects the secret is not as it must be: others may have read it, or put it there.
    Exposed,
    /// The secret cannot be read, or is none.
    Unreadable,
    /// The secret cannot be written or deleted.
    Unwritable,
}

/// A secret that could not be kept, read or forgotten.
pub type SecretError = Fault<SecretErrorKind>;

/// Keeps secrets on this machine: through restarts, without anybody logged in, for whoever this
/// program runs as and for nobody else.
///
/// A name is made of lower-case letters, digits and dashes, 100 of them at most. Implementers
/// replace a secret as a whole, durably before they return, and neither show it nor put it into an
/// error.
pub trait SecretStore: Debug + Send + Sync {
    /// Keeps a secret in place of what was kept under the name.
    fn keep(&self, name: &str, secret: &Secret) -> Result<(), SecretError>;

    /// Returns the secret that is kept under the name.
    ///
    /// # Errors
    /// `Exposed` if others could have read or written it: it is then not returned.
    fn read(&self, name: &str) -> Result<Option<Secret>, SecretError>;

    /// Deletes the secret, whatever state it is in; returns whether there was one.
    fn forget(&self, name: &str) -> Result<bool, SecretError>;

    /// Returns where the secret of this name is kept, and how it is protected, for people.
    fn place(&self, name: &str) -> String;
}
