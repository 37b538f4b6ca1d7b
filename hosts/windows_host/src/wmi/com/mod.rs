//! WMI by COM: sessions whose calls run on threads of their own, with time limits.
//!
//! ```text
//! ComNamespaces ─ connect ─► ComSession ─ one call ─► Worker: a thread in the multithreaded apartment
//!                             idle workers              │
//!                             too late: abandoned       Connection: IWbemServices, wrapped one to one
//!                                                        │
//!                                                       class_object   variant   apartment   failure
//! ```
//!
//! Nobody above knows COM, and nothing here knows Hyper-V.

mod class_object;
mod connection;
mod failure;
mod namespaces;
mod session;
mod variant;
mod worker;

pub use namespaces::{ComNamespaces, TimeLimits};
