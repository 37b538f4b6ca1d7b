//! VSS itself, by COM.
//!
//! ```text
//! ComVss ─ begin ─► ComRequester ─ one call ─► Worker: a thread in the multithreaded apartment
//!                                                │
//!                     calls   waiting   writers   properties
//!                                                │
//!                     interfaces: what vsbackup.h declares      library: vssapi.dll, if there is one
//! ```
//!
//! The DLL is looked for when VSS is first used, so that the program starts where it is missing.
//!
//! Unsafe code is run by: `the_requester_by_com_keeps_the_contract`,
//! `calls_gain_neither_handles_nor_memory_of_vss`.

mod calls;
mod interfaces;
mod library;
mod properties;
mod requester;
mod waiting;
mod worker;
mod writers;

pub use interfaces::{
    ComponentInfo, IVssBackupComponents, IVssBackupComponents_Impl, IVssBackupComponents_Vtbl,
    IVssExamineWriterMetadata, IVssExamineWriterMetadata_Impl, IVssExamineWriterMetadata_Vtbl,
    IVssWMComponent, IVssWMComponent_Impl, IVssWMComponent_Vtbl,
};
pub use requester::ComVss;
