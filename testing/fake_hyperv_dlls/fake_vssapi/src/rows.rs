//! `IVssEnumObject`: shadows, one after the other.
//!
//! Unsafe code is run by: `the_requester_by_com_keeps_the_contract`.

#![expect(unsafe_code, reason = "COM calls by pointer")]

use std::sync::{Mutex, PoisonError};

use windows::Win32::Foundation::{E_NOTIMPL, E_POINTER, S_FALSE};
use windows::Win32::Storage::Vss::{
    IVssEnumObject, IVssEnumObject_Impl, VSS_OBJECT_PROP, VSS_OBJECT_SNAPSHOT, VSS_OBJECT_UNION,
};
use windows_core::{Error, OutRef, Result, implement};
use windows_host::vss::SnapshotProperties;

use crate::descriptions::describe;

/// What a query found and nobody took yet.
#[implement(IVssEnumObject)]
pub struct Rows {
    left: Mutex<Vec<SnapshotProperties>>,
}

impl Rows {
    /// Returns a list.
    pub fn new(mut found: Vec<SnapshotProperties>) -> Self {
        found.reverse();
        Self {
            left: Mutex::new(found),
        }
    }
}

impl IVssEnumObject_Impl for Rows_Impl {
    fn Next(&self, wanted: u32, places: *mut VSS_OBJECT_PROP, taken: *mut u32) -> Result<()> {
        if places.is_null() || taken.is_null() {
            return Err(E_POINTER.into());
        }
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        while count < wanted {
            let Some(shadow) = left.pop() else { break };
            let row = VSS_OBJECT_PROP {
                Type: VSS_OBJECT_SNAPSHOT,
                Obj: VSS_OBJECT_UNION {
                    Snap: describe(&shadow, 1),
                },
            };
            // SAFETY: the caller has `wanted` places, of which this is one.
            unsafe { places.add(count as usize).write(row) };
            count += 1;
        }
        // SAFETY: the pointer is the caller's and not null.
        unsafe { taken.write(count) };
        match count == wanted {
            true => Ok(()),
            // An end is no failure; the macro passes the code on as it is.
            false => Err(Error::from_hresult(S_FALSE)),
        }
    }

    fn Skip(&self, _: u32) -> Result<()> {
        Err(E_NOTIMPL.into())
    }

    fn Reset(&self) -> Result<()> {
        Err(E_NOTIMPL.into())
    }

    fn Clone(&self, _: OutRef<IVssEnumObject>) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
}
