//! WMI's locator over the simulated host and machine in the folder that `E3_FAKE_HYPERV` names: Hyper-V's
//! namespaces, and the storage management's.
//!
//! ```text
//! exports        DllGetClassObject: class factories            unsafe
//!   │
//! services       IWbemLocator, IWbemServices                   no unsafe
//! rows           IEnumWbemClassObject                          unsafe
//! class_object   IWbemClassObject: classes, instances, errors  unsafe
//! text_source    IWbemObjectTextSrc                            no unsafe
//!   │
//! variant        VARIANT and SAFEARRAY                         unsafe
//! failure        error objects with a `Description`            unsafe
//! model          one model for the whole process: its jobs     no unsafe
//!                are there for every call
//! ```
//!
//! Everything that could be wrong about Windows stands in the model (`fake_hyperv`); here only the
//! border is COM's. Switches of the model come from `E3_FAKE_HYPERV_MANNERS`. The conversions are
//! not the client's own, so that a fault in one is not mirrored by the other.
#![cfg(windows)]

mod class_object;
mod exports;
mod failure;
mod model;
mod rows;
mod services;
mod text_source;
mod variant;
