//! The executable as a customer runs it, on a machine whose Hyper-V is the simulated host: Windows
//! gives it our DLLs in place of WMI's locator and of virtdisk.dll, and it knows nothing of that.
//!
//! Beside the executable lie `virtdisk.dll`, which Windows takes before its own, and
//! `fake_wbem.dll`, which a manifest names as the server of WMI's classes (COM without the
//! registry): whoever else runs on the machine keeps his own.

mod drives;
mod killed;
mod machine;
mod moments;
mod names;
mod selftest;
mod story;
