//! An IWbemClassObject with the properties a test gives it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use windows::Win32::Foundation::E_NOTIMPL;
use windows::Win32::System::Com::{IErrorInfo, IErrorInfo_Impl, SAFEARRAY};
use windows::Win32::System::Variant::{VARIANT, VT_NULL};
use windows::Win32::System::Wmi::{
    IWbemClassObject, IWbemClassObject_Impl, IWbemQualifierSet, WBEM_COMPARISON_FLAG,
    WBEM_CONDITION_FLAG_TYPE, WBEM_E_NOT_FOUND,
};
use windows_core::{BSTR, GUID, HRESULT, OutRef, PCWSTR, Ref, Result, implement};

/// `WBEM_S_NO_MORE_DATA`: the end of an enumeration, which is a success.
const NO_MORE_DATA: HRESULT = HRESULT(0x0004_0005);

/// A class, an instance, parameters, or the status that comes with an error.
#[implement(IWbemClassObject, IErrorInfo)]
pub struct FakeObject {
    class: &'static str,
    path: Option<&'static str>,
    /// Name, CIM type and value.
    properties: Mutex<Vec<(&'static str, i32, VARIANT)>>,
    /// Names and in-parameters.
    methods: Vec<(&'static str, Vec<(&'static str, i32)>)>,
    at: AtomicUsize,
}

/// VT_NULL, as WMI has it where nothing is set.
pub fn null() -> VARIANT {
    let mut variant = VARIANT::default();
    // SAFETY: an empty VARIANT holds nothing that a new tag could take for something else.
    unsafe { (*variant.Anonymous.Anonymous).vt = VT_NULL };
    variant
}

impl FakeObject {
    /// Returns an object with these properties.
    pub fn new(class: &'static str, properties: Vec<(&'static str, i32, VARIANT)>) -> Self {
        Self {
            class,
            path: None,
            properties: Mutex::new(properties),
            methods: Vec::new(),
            at: AtomicUsize::new(0),
        }
    }

    /// Gives it a path.
    pub fn at(mut self, path: &'static str) -> Self {
        self.path = Some(path);
        self
    }

    /// Gives it a method.
    pub fn with_method(mut self, name: &'static str, parameters: &[(&'static str, i32)]) -> Self {
        self.methods.push((name, parameters.to_vec()));
        self
    }

    /// Returns it as COM knows it.
    pub fn com(self) -> IWbemClassObject {
        self.into()
    }

    fn property(&self, name: &str) -> Option<(i32, VARIANT)> {
        let system = |text: Option<&str>| (8, text.map_or_else(null, VARIANT::from));
        match name {
            "__CLASS" => return Some(system(Some(self.class))),
            "__PATH" => return Some(system(self.path)),
            _ => {}
        }
        let properties = self.properties.lock().expect("whole");
        let found = properties
            .iter()
            .find(|(known, _, _)| known.eq_ignore_ascii_case(name))?;
        Some((found.1, found.2.clone()))
    }
}

fn text(name: &PCWSTR) -> String {
    // SAFETY: callers hand over a string that ends with 0, as COM demands.
    unsafe { name.to_string() }.expect("names are UTF-16")
}

fn not_found<T>() -> Result<T> {
    Err(HRESULT(WBEM_E_NOT_FOUND.0).into())
}

fn not_here<T>() -> Result<T> {
    Err(E_NOTIMPL.into())
}

impl IWbemClassObject_Impl for FakeObject_Impl {
    fn GetQualifierSet(&self) -> Result<IWbemQualifierSet> {
        not_here()
    }

    fn Get(
        &self,
        name: &PCWSTR,
        _: i32,
        value: *mut VARIANT,
        cim_type: *mut i32,
        _: *mut i32,
    ) -> Result<()> {
        let Some((of, held)) = self.property(&text(name)) else {
            return not_found();
        };
        // SAFETY: both places are null or the caller's, empty and ready to be written.
        unsafe {
            if !value.is_null() {
                value.write(held);
            }
            if !cim_type.is_null() {
                cim_type.write(of);
            }
        }
        Ok(())
    }

    fn Put(&self, name: &PCWSTR, _: i32, value: *const VARIANT, _: i32) -> Result<()> {
        let name = text(name);
        let mut properties = self.properties.lock().expect("whole");
        let Some(found) = properties
            .iter_mut()
            .find(|(known, _, _)| known.eq_ignore_ascii_case(&name))
        else {
            return not_found();
        };
        // SAFETY: the caller hands over a whole VARIANT.
        found.2 = unsafe { (*value).clone() };
        Ok(())
    }

    fn Delete(&self, _: &PCWSTR) -> Result<()> {
        not_here()
    }

    fn GetNames(
        &self,
        _: &PCWSTR,
        _: WBEM_CONDITION_FLAG_TYPE,
        _: *const VARIANT,
    ) -> Result<*mut SAFEARRAY> {
        not_here()
    }

    fn BeginEnumeration(&self, _: i32) -> Result<()> {
        self.at.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn Next(
        &self,
        _: i32,
        name: *mut BSTR,
        value: *mut VARIANT,
        cim_type: *mut i32,
        _: *mut i32,
    ) -> Result<()> {
        let at = self.at.fetch_add(1, Ordering::Relaxed);
        let properties = self.properties.lock().expect("whole");
        let Some((known, of, held)) = properties.get(at) else {
            return Err(windows_core::Error::from_hresult(NO_MORE_DATA));
        };
        // SAFETY: all places are the caller's, empty and ready to be written.
        unsafe {
            name.write(BSTR::from(*known));
            value.write(held.clone());
            cim_type.write(*of);
        }
        Ok(())
    }

    fn EndEnumeration(&self) -> Result<()> {
        Ok(())
    }

    fn GetPropertyQualifierSet(&self, _: &PCWSTR) -> Result<IWbemQualifierSet> {
        not_here()
    }

    fn Clone(&self) -> Result<IWbemClassObject> {
        not_here()
    }

    fn GetObjectText(&self, _: i32) -> Result<BSTR> {
        not_here()
    }

    fn SpawnDerivedClass(&self, _: i32) -> Result<IWbemClassObject> {
        not_here()
    }

    fn SpawnInstance(&self, _: i32) -> Result<IWbemClassObject> {
        let properties = self.properties.lock().expect("whole").clone();
        Ok(FakeObject::new(self.class, properties).com())
    }

    fn CompareTo(&self, _: WBEM_COMPARISON_FLAG, _: Ref<IWbemClassObject>) -> Result<()> {
        not_here()
    }

    fn GetPropertyOrigin(&self, _: &PCWSTR) -> Result<BSTR> {
        not_here()
    }

    fn InheritsFrom(&self, _: &PCWSTR) -> Result<()> {
        not_here()
    }

    fn GetMethod(
        &self,
        name: &PCWSTR,
        _: i32,
        taken: OutRef<IWbemClassObject>,
        given: OutRef<IWbemClassObject>,
    ) -> Result<()> {
        let name = text(name);
        let Some((_, parameters)) = self.methods.iter().find(|(known, _)| *known == name) else {
            return not_found();
        };
        given.write(None)?;
        if parameters.is_empty() {
            return taken.write(None);
        }
        let properties = parameters.iter().map(|(name, of)| (*name, *of, null()));
        taken.write(Some(
            FakeObject::new("__PARAMETERS", properties.collect()).com(),
        ))
    }

    fn PutMethod(
        &self,
        _: &PCWSTR,
        _: i32,
        _: Ref<IWbemClassObject>,
        _: Ref<IWbemClassObject>,
    ) -> Result<()> {
        not_here()
    }

    fn DeleteMethod(&self, _: &PCWSTR) -> Result<()> {
        not_here()
    }

    fn BeginMethodEnumeration(&self, _: i32) -> Result<()> {
        not_here()
    }

    fn NextMethod(
        &self,
        _: i32,
        _: *mut BSTR,
        _: OutRef<IWbemClassObject>,
        _: OutRef<IWbemClassObject>,
    ) -> Result<()> {
        not_here()
    }

    fn EndMethodEnumeration(&self) -> Result<()> {
        not_here()
    }

    fn GetMethodQualifierSet(&self, _: &PCWSTR) -> Result<IWbemQualifierSet> {
        not_here()
    }

    fn GetMethodOrigin(&self, _: &PCWSTR) -> Result<BSTR> {
        not_here()
    }
}

impl IErrorInfo_Impl for FakeObject_Impl {
    fn GetGUID(&self) -> Result<GUID> {
        not_here()
    }

    fn GetSource(&self) -> Result<BSTR> {
        not_here()
    }

    fn GetDescription(&self) -> Result<BSTR> {
        Ok(BSTR::from("what Automation says"))
    }

    fn GetHelpFile(&self) -> Result<BSTR> {
        not_here()
    }

    fn GetHelpContext(&self) -> Result<u32> {
        not_here()
    }
}
