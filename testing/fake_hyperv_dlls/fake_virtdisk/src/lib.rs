//! virtdisk.dll over the simulated host in the folder that `E3_FAKE_HYPERV` names.
//!
//! ```text
//! exports      the C border: pointers, versions, flags                       unsafe
//!   │
//! disks        open handles, by number: what each may do, what it answers    no unsafe
//!   │          drive: what a drive lets be written to it
//!   │
//! answer       information as the bytes that Windows returns
//! raw_image    the content of an attached disk as a file, for ReadFile       two calls unsafe
//!
//! calls_of_the_system    what of kernel32 a drive's handle is for            unsafe
//! ```
//!
//! ReadFile and CloseHandle go to the system, past this DLL. So a handle is that of a real file:
//! attaching fills it with the disk's content, detaching takes what was written into the VHDX.
//! Whoever closes without detaching is detached when the next file is opened, and one that dies
//! when another opens the disk. An unreadable place is where the file ends: a short read. Switches of
//! the model come from `E3_FAKE_HYPERV_MANNERS`.
//!
//! | Behaviour | Spec | Confidence |
//! |---|---|---|
//! | parameters of version 2 go with access 0, else 87 | 7.1 | high |
//! | null pointers, unknown flags and versions: 87 | 7.1, 16 | medium |
//! | what this fake has no use for, such as a security descriptor: 50 | | own |
//! | a buffer too short for information: 122, and its length | 7.1 | high |
//! | the parent of a file that has none: 0xC03A001B | 7.1 | low |
//! | writing attachment of a file opened for reading: 5 | 8 | low |
//! | the checkpoint is held while it is attached, not while it is only open | RH-19 | low |
//! | a drive's name only for disks attached as drives; it is a file's here | 8, way B | own |
//! | a drive that is online refuses writes into its volumes: 5; one that is offline has none | 8, way B | high |
//! | every partition counts as a mounted volume, and of a GPT all but the first sector | | own, stricter |
//! | a drive comes online and writable; `drives-come-offline` for offline and read-only | 8, way B | medium |
//! | writes to a drive that is read-only: 19 | 8, way B | medium |
//! | attributes are set by a whole structure that says its own length, else 24 and 87 | 8, way B | medium |
//! | a drive can be taken offline; `offline-refused=5`, or 0 for no effect | 8, way B | low |
//! | an attachment that outlives its handle: 50, as nobody may want one | 8 | own |
#![cfg(windows)]

mod answer;
mod calls_of_the_system;
mod disks;
mod drive;
mod exports;
mod raw_image;
