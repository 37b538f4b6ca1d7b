//! The DLL in this process, its factories registered in place of WMI's own.
//!
//! The registry of the prefix is everyone's, so it is left as it is: what it would lead to is
//! asked for directly.

#![expect(unsafe_code, reason = "a DLL's entries are C's")]

use std::ffi::c_void;
use std::sync::Once;
use std::sync::mpsc::channel;

use windows::Win32::System::Com::{
    CLSCTX_INPROC_SERVER, COINIT_MULTITHREADED, CoInitializeEx, CoRegisterClassObject,
    IClassFactory, REGCLS_MULTIPLEUSE,
};
use windows::Win32::System::LibraryLoader::{GetProcAddress, LoadLibraryW};
use windows::Win32::System::Wmi::{WbemLocator, WbemObjectTextSrc};
use windows_core::{GUID, HRESULT, HSTRING, Interface as _, s};

type GetClassObject =
    unsafe extern "system" fn(*const GUID, *const GUID, *mut *mut c_void) -> HRESULT;

/// Registers the DLL's classes in the multithreaded apartment, which a thread of ours keeps up.
pub fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let (ready, registered) = channel();
        std::thread::spawn(move || {
            let get = entry();
            // SAFETY: the thread stays in the apartment for good, and so do DLL and classes; the
            // places of the factories are ours, empty, and hold what was asked for.
            unsafe {
                CoInitializeEx(None, COINIT_MULTITHREADED).ok().unwrap();
                for class in [WbemLocator, WbemObjectTextSrc] {
                    let mut raw = std::ptr::null_mut();
                    get(&class, &IClassFactory::IID, &mut raw).ok().unwrap();
                    let factory = IClassFactory::from_raw(raw);
                    let how = REGCLS_MULTIPLEUSE;
                    CoRegisterClassObject(&class, &factory, CLSCTX_INPROC_SERVER, how).unwrap();
                }
            }
            ready.send(()).unwrap();
            loop {
                std::thread::park();
            }
        });
        registered.recv().unwrap();
    });
}

fn entry() -> GetClassObject {
    let program = std::env::current_exe().unwrap();
    let library = HSTRING::from(program.with_file_name(super::DLL.built).as_path());
    // SAFETY: the name lives through the call; the entry has the type that COM gives it.
    unsafe {
        let library = LoadLibraryW(&library).unwrap();
        let entry = GetProcAddress(library, s!("DllGetClassObject")).unwrap();
        std::mem::transmute::<unsafe extern "system" fn() -> isize, GetClassObject>(entry)
    }
}
