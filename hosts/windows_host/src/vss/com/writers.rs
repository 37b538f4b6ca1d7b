//! What writers say of themselves, and how they do.
//!
//! Unsafe code is run by: `the_requester_by_com_keeps_the_contract`,
//! `what_writers_say_is_read_whole`.

#![expect(unsafe_code, reason = "COM calls")]

use windows_core::{BSTR, GUID, HRESULT};

use super::calls::{Components, check, uuid};
use super::interfaces::{ComponentInfo, IVssExamineWriterMetadata, IVssWMComponent};
use crate::calls;
use crate::vss::{VssError, WriterComponent, WriterMetadata, WriterState, WriterStatus};

const LOOKING: &str = "read what a writer has";
/// `E_POINTER`, for a success that gave nothing.
const NOTHING: HRESULT = HRESULT(0x8000_4003_u32.cast_signed());

/// Reads what was gathered of all writers, and frees it.
pub(super) fn metadata(components: &Components) -> Result<Vec<WriterMetadata>, VssError> {
    calls::count("vss.get_writer_metadata");
    let raw = &components.raw;
    let mut count = 0;
    // SAFETY: the place is ours.
    check(LOOKING, unsafe { raw.GetWriterMetadataCount(&mut count) })?;
    let writers = (0..count).map(|index| {
        let (mut instance, mut found) = (GUID::zeroed(), None);
        // SAFETY: the places are ours; the interface comes with a reference of its own.
        check(LOOKING, unsafe {
            raw.GetWriterMetadata(index, &mut instance, &mut found)
        })?;
        writer(&given(found)?)
    });
    let writers = writers.collect();
    calls::count("vss.free_writer_metadata");
    // SAFETY: nothing that was gathered is held any more. It could only fail if nothing were.
    let _ = unsafe { raw.FreeWriterMetadata() };
    writers
}

fn given<T>(found: Option<T>) -> Result<T, VssError> {
    found.ok_or_else(|| VssError::code(LOOKING, NOTHING.0.cast_unsigned()))
}

fn writer(metadata: &IVssExamineWriterMetadata) -> Result<WriterMetadata, VssError> {
    calls::count("vss.examine_writer_metadata");
    let (mut instance, mut id, mut name) = (GUID::zeroed(), GUID::zeroed(), BSTR::new());
    let (mut usage, mut source) = (0, 0);
    // SAFETY: the places are ours; the string becomes ours.
    check(LOOKING, unsafe {
        metadata.GetIdentity(&mut instance, &mut id, &mut name, &mut usage, &mut source)
    })?;
    let (mut included, mut excluded, mut count) = (0, 0, 0);
    // SAFETY: the places are ours.
    check(LOOKING, unsafe {
        metadata.GetFileCounts(&mut included, &mut excluded, &mut count)
    })?;
    let components = (0..count).map(|index| {
        let mut found = None;
        // SAFETY: the place is ours; the interface comes with a reference of its own.
        check(LOOKING, unsafe { metadata.GetComponent(index, &mut found) })?;
        component(&given(found)?)
    });
    Ok(WriterMetadata {
        id: uuid(id),
        instance: uuid(instance),
        name: name.to_string(),
        components: components.collect::<Result<_, _>>()?,
    })
}

/// What a component says of itself; given back on drop.
struct Info<'a> {
    component: &'a IVssWMComponent,
    raw: *const ComponentInfo,
}

impl Drop for Info<'_> {
    fn drop(&mut self) {
        calls::count("vss.free_component_info");
        // SAFETY: it came from this component, and is not used again.
        let _ = unsafe { self.component.FreeComponentInfo(self.raw) };
    }
}

fn component(component: &IVssWMComponent) -> Result<WriterComponent, VssError> {
    calls::count("vss.get_component_info");
    let mut raw = std::ptr::null();
    // SAFETY: the place is ours; what it points to then is given back by `Info`.
    check(LOOKING, unsafe { component.GetComponentInfo(&mut raw) })?;
    let info = Info { component, raw };
    // SAFETY: null, or what the component describes itself with until it is given back.
    let found = given(unsafe { info.raw.as_ref() })?;
    Ok(WriterComponent {
        logical_path: found.logical_path.to_string(),
        name: found.name.to_string(),
    })
}

/// Reads what was gathered of how writers do, and frees it.
pub(super) fn status(components: &Components) -> Result<Vec<WriterStatus>, VssError> {
    const ASKING: &str = "ask how writers do";
    calls::count("vss.get_writer_status");
    let raw = &components.raw;
    let mut count = 0;
    // SAFETY: the place is ours.
    check(ASKING, unsafe { raw.GetWriterStatusCount(&mut count) })?;
    let writers = (0..count).map(|index| {
        let (mut instance, mut id, mut name) = (GUID::zeroed(), GUID::zeroed(), BSTR::new());
        let (mut state, mut failure) = (0, HRESULT::default());
        // SAFETY: the places are ours; the string becomes ours.
        check(ASKING, unsafe {
            raw.GetWriterStatus(
                index,
                &mut instance,
                &mut id,
                &mut name,
                &mut state,
                &mut failure,
            )
        })?;
        Ok(WriterStatus {
            id: uuid(id),
            name: name.to_string(),
            state: WriterState::of(state),
            failure: failure.0.cast_unsigned(),
        })
    });
    let writers = writers.collect();
    calls::count("vss.free_writer_status");
    // SAFETY: nothing that was gathered is held any more. It could only fail if nothing were.
    let _ = unsafe { raw.FreeWriterStatus() };
    writers
}
