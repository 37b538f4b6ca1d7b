//! WMI as plain values: a session, objects with typed properties, paths, and errors.
//!
//! Nothing here knows Hyper-V's classes. Types arrive as COM delivers them (Hyper-V spec 2.2):
//! 64-bit numbers, dates and references are text, 16- and 32-bit numbers are 32-bit signed.

#[cfg(windows)]
pub mod com;
mod error;
mod object;
mod path;
mod session;
mod value;

pub use error::WmiError;
pub use object::WmiObject;
pub use path::{key_of, with_key, wql_literal};
pub use session::{EmbeddedSource, Namespaces, TextForm, WmiSession};
pub use value::Value;
