//! `IWbemObjectTextSrc`: objects as the text of embedded instances (Hyper-V spec 2.3).

#![expect(
    unsafe_code,
    reason = "the macro that makes a COM object of a type is unsafe inside"
)]

use windows::Win32::Foundation::{E_NOTIMPL, E_POINTER};
use windows::Win32::System::Wmi::{
    IWbemClassObject, IWbemContext, IWbemObjectTextSrc, IWbemObjectTextSrc_Impl,
};
use windows_core::{BSTR, Ref, Result, implement};
use windows_host::wmi::TextForm;

use crate::class_object::read;
use crate::failure::bare;
use crate::model::model;

/// `WBEM_E_INVALID_PARAMETER`.
const INVALID_PARAMETER: u32 = 0x8004_1008;

/// Puts objects into words.
#[implement(IWbemObjectTextSrc)]
pub struct TextSource;

impl IWbemObjectTextSrc_Impl for TextSource_Impl {
    fn GetText(
        &self,
        _: i32,
        object: Ref<IWbemClassObject>,
        format: u32,
        _: Ref<IWbemContext>,
    ) -> Result<BSTR> {
        let form = match format {
            1 => TextForm::CimDtd20,
            2 => TextForm::WmiDtd20,
            _ => return Err(bare(INVALID_PARAMETER)),
        };
        let object = read(object.as_ref().ok_or(E_POINTER)?)?;
        let hyperv = model().and_then(|model| model.hyperv.as_ref());
        let hyperv = hyperv.ok_or(E_NOTIMPL)?;
        let schema = hyperv.schema(r"root\virtualization\v2").ok_or(E_NOTIMPL)?;
        let class = schema
            .class(&object.class)
            .ok_or_else(|| bare(INVALID_PARAMETER))?;
        Ok(BSTR::from(hyperv.text(form, class, &object)))
    }

    fn CreateFromText(
        &self,
        _: i32,
        _: &BSTR,
        _: u32,
        _: Ref<IWbemContext>,
    ) -> Result<IWbemClassObject> {
        Err(E_NOTIMPL.into())
    }
}
