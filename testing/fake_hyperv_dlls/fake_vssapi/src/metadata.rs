//! What writers say of themselves: `IVssExamineWriterMetadata` and `IVssWMComponent`.
//!
//! Unsafe code is run by: `what_writers_say_is_read_whole`,
//! `calls_gain_neither_handles_nor_memory_of_vss`.

#![expect(unsafe_code, reason = "COM calls by pointer")]

use std::ffi::c_void;
use std::mem::ManuallyDrop;

use windows::Win32::Foundation::{E_INVALIDARG, E_NOTIMPL, E_POINTER, S_OK};
use windows_core::{BSTR, GUID, HRESULT, implement};
use windows_host::vss::com::{
    ComponentInfo, IVssExamineWriterMetadata, IVssExamineWriterMetadata_Impl, IVssWMComponent,
    IVssWMComponent_Impl,
};
use windows_host::vss::{WriterComponent, WriterMetadata};

/// Methods that nothing here calls: they answer that they are not there.
macro_rules! not_here {
    ($($name:ident($($of:ty),*);)*) => {
        $(not_here!(@one $name, $($of),*);)*
    };
    (@one $name:ident, $a:ty) => {
        /// # Safety
        /// Nothing is done with what is handed over.
        unsafe fn $name(&self, _: $a) -> HRESULT { E_NOTIMPL }
    };
    (@one $name:ident, $a:ty, $b:ty) => {
        /// # Safety
        /// Nothing is done with what is handed over.
        unsafe fn $name(&self, _: $a, _: $b) -> HRESULT { E_NOTIMPL }
    };
    (@one $name:ident, $a:ty, $b:ty, $c:ty, $d:ty, $e:ty, $f:ty) => {
        /// # Safety
        /// Nothing is done with what is handed over.
        unsafe fn $name(&self, _: $a, _: $b, _: $c, _: $d, _: $e, _: $f) -> HRESULT { E_NOTIMPL }
    };
}

/// What one writer says.
#[implement(IVssExamineWriterMetadata)]
pub struct Metadata(pub WriterMetadata);

impl IVssExamineWriterMetadata_Impl for Metadata_Impl {
    /// # Safety
    /// Pointers are null or point to places of the caller.
    unsafe fn GetIdentity(
        &self,
        instance: *mut GUID,
        writer: *mut GUID,
        name: *mut BSTR,
        usage: *mut i32,
        source: *mut i32,
    ) -> HRESULT {
        let null = [instance.is_null(), writer.is_null(), name.is_null()].contains(&true);
        if null || usage.is_null() || source.is_null() {
            return E_POINTER;
        }
        // SAFETY: the caller promises places; what they hold is of no meaning yet.
        unsafe {
            instance.write(GUID::from_u128(self.0.instance.as_u128()));
            writer.write(GUID::from_u128(self.0.id.as_u128()));
            name.write(BSTR::from(&self.0.name));
            usage.write(3);
            source.write(3);
        }
        S_OK
    }

    /// # Safety
    /// Pointers are null or point to places of the caller.
    unsafe fn GetFileCounts(
        &self,
        included: *mut u32,
        excluded: *mut u32,
        components: *mut u32,
    ) -> HRESULT {
        if included.is_null() || excluded.is_null() || components.is_null() {
            return E_POINTER;
        }
        // SAFETY: the caller promises places.
        unsafe {
            included.write(0);
            excluded.write(0);
            components.write(self.0.components.len() as u32);
        }
        S_OK
    }

    /// # Safety
    /// The pointer is null or points to a place of the caller.
    unsafe fn GetComponent(&self, index: u32, place: *mut Option<IVssWMComponent>) -> HRESULT {
        let Some(component) = self.0.components.get(index as usize) else {
            return E_INVALIDARG;
        };
        if place.is_null() {
            return E_POINTER;
        }
        // SAFETY: the caller promises a place, whose content is of no meaning yet.
        unsafe { place.write(Some(Component(component.clone()).into())) };
        S_OK
    }

    not_here! {
        GetIncludeFile(u32, *mut *mut c_void);
        GetExcludeFile(u32, *mut *mut c_void);
        GetRestoreMethod(*mut i32, *mut BSTR, *mut BSTR, *mut i32, *mut u8, *mut u32);
        GetAlternateLocationMapping(u32, *mut *mut c_void);
        GetBackupSchema(*mut u32);
        GetDocument(*mut *mut c_void);
        SaveAsXML(*mut BSTR);
        LoadFromXML(*const u16);
    }
}

/// A part of what a writer looks after.
#[implement(IVssWMComponent)]
struct Component(WriterComponent);

impl IVssWMComponent_Impl for Component_Impl {
    /// # Safety
    /// The pointer is null or points to a place of the caller.
    unsafe fn GetComponentInfo(&self, place: *mut *const ComponentInfo) -> HRESULT {
        if place.is_null() {
            return E_POINTER;
        }
        let text = |text: &str| ManuallyDrop::new(BSTR::from(text));
        let info = Box::new(ComponentInfo {
            kind: 2,
            logical_path: text(&self.0.logical_path),
            name: text(&self.0.name),
            caption: text(""),
            icon: std::ptr::null(),
            icon_bytes: 0,
            restore_metadata: 0,
            notify_on_backup_complete: 1,
            selectable: 1,
            selectable_for_restore: 0,
            flags: 0,
            files: 0,
            databases: 0,
            log_files: 0,
            dependencies: 0,
        });
        // SAFETY: the caller promises a place.
        unsafe { place.write(Box::into_raw(info)) };
        S_OK
    }

    /// # Safety
    /// The pointer came from `GetComponentInfo` and is not used again.
    unsafe fn FreeComponentInfo(&self, info: *const ComponentInfo) -> HRESULT {
        if info.is_null() {
            return E_POINTER;
        }
        // SAFETY: the caller promises that it was made above, as a box.
        let mut info = unsafe { Box::from_raw(info.cast_mut()) };
        for text in [&mut info.logical_path, &mut info.name, &mut info.caption] {
            // SAFETY: each is dropped once, since the box goes without dropping them.
            unsafe { ManuallyDrop::drop(text) };
        }
        S_OK
    }

    not_here! {
        GetFile(u32, *mut *mut c_void);
        GetDatabaseFile(u32, *mut *mut c_void);
        GetDatabaseLogFile(u32, *mut *mut c_void);
        GetDependency(u32, *mut *mut c_void);
    }
}
