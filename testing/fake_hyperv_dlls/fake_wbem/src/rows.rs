//! `IEnumWbemClassObject`: the rows of a query.
//!
//! Unsafe code is run by: `the_client_gets_from_the_dll_what_the_model_answers`.

#![expect(unsafe_code, reason = "COM's places are pointers")]

use std::sync::atomic::{AtomicUsize, Ordering};

use windows::Win32::Foundation::{E_NOTIMPL, E_POINTER};
use windows::Win32::System::Wmi::{
    IEnumWbemClassObject, IEnumWbemClassObject_Impl, IWbemClassObject, IWbemObjectSink,
};
use windows_core::{HRESULT, Ref, Result, implement};

/// `WBEM_S_FALSE`: fewer than asked for, because there are no more.
const NO_MORE: HRESULT = HRESULT(1);

/// Rows, and how many of them were taken.
#[implement(IEnumWbemClassObject)]
pub struct Rows {
    rows: Vec<IWbemClassObject>,
    at: AtomicUsize,
}

impl Rows {
    /// Returns rows from the first on.
    pub fn new(rows: Vec<IWbemClassObject>) -> Self {
        Self {
            rows,
            at: AtomicUsize::new(0),
        }
    }
}

impl IEnumWbemClassObject_Impl for Rows_Impl {
    fn Reset(&self) -> Result<()> {
        // Forward-only rows cannot be taken again.
        Err(HRESULT(0x8004_101D_u32.cast_signed()).into())
    }

    fn Next(
        &self,
        _: i32,
        wanted: u32,
        objects: *mut Option<IWbemClassObject>,
        count: *mut u32,
    ) -> HRESULT {
        if objects.is_null() || count.is_null() {
            return E_POINTER;
        }
        let at = self.at.fetch_add(wanted as usize, Ordering::Relaxed);
        let left = self.rows.get(at..).unwrap_or_default();
        let given = left.len().min(wanted as usize);
        for (index, row) in left[..given].iter().enumerate() {
            // SAFETY: the caller has `wanted` empty places, and the pointer is not null.
            unsafe { objects.add(index).write(Some(row.clone())) };
        }
        // SAFETY: the caller's place for the number, not null.
        unsafe { count.write(given as u32) };
        match given == wanted as usize {
            true => HRESULT(0),
            false => NO_MORE,
        }
    }

    fn NextAsync(&self, _: u32, _: Ref<IWbemObjectSink>) -> HRESULT {
        E_NOTIMPL
    }

    fn Clone(&self) -> Result<IEnumWbemClassObject> {
        Err(E_NOTIMPL.into())
    }

    fn Skip(&self, _: i32, _: u32) -> HRESULT {
        E_NOTIMPL
    }
}
