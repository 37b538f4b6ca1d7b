//! The locator, a namespace, an enumeration and the text source, as a test scripts them.
//!
//! They are registered as this process's own class objects, so that the code under test creates
//! them by `CoCreateInstance` without knowing.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, Once};

use fake_hyperv::services_not_here;
use windows::Win32::Foundation::{E_NOINTERFACE, E_NOTIMPL};
use windows::Win32::System::Com::{
    CLSCTX_INPROC_SERVER, COINIT_MULTITHREADED, CoInitializeEx, CoRegisterClassObject,
    IClassFactory, IClassFactory_Impl, IErrorInfo, REGCLS_MULTIPLEUSE, SetErrorInfo,
};
use windows::Win32::System::Wmi::{
    IEnumWbemClassObject, IEnumWbemClassObject_Impl, IWbemCallResult, IWbemClassObject,
    IWbemContext, IWbemLocator, IWbemLocator_Impl, IWbemObjectSink, IWbemObjectTextSrc,
    IWbemObjectTextSrc_Impl, IWbemServices, IWbemServices_Impl, WBEM_GENERIC_FLAG_TYPE,
    WbemLocator, WbemObjectTextSrc,
};
use windows_core::{
    BOOL, BSTR, Error, GUID, HRESULT, IUnknown, Interface as _, OutRef, Ref, Result, implement,
};

use super::fake_object::FakeObject;

/// `WBEM_S_FALSE` and `WBEM_S_TIMEDOUT`.
const NO_MORE: HRESULT = HRESULT(1);
const TIMED_OUT: HRESULT = HRESULT(0x0004_0004);

/// What the code under test asks a namespace.
pub enum Request<'a> {
    /// A connection.
    Connect,
    /// A query's rows.
    Query(&'a str),
    /// An object by its path.
    Get(&'a str),
    /// A method of the object at a path; the object is the in-parameters.
    Method(&'a str, &'a str, Option<&'a IWbemClassObject>),
}

/// What a namespace answers.
pub enum Answer {
    /// These objects; the first where only one can be.
    Objects(Vec<FakeObject>),
    /// A query whose rows never come.
    NoRows,
    /// A failure.
    Code(u32),
    /// A failure that WMI explains.
    Explained(u32, FakeObject),
}

type Script = Arc<dyn Fn(Request<'_>) -> Answer + Send + Sync>;

static NAMESPACES: Mutex<Option<HashMap<String, Script>>> = Mutex::new(None);

/// Makes a namespace that answers as `script` says.
pub fn namespace(name: &str, script: impl Fn(Request<'_>) -> Answer + Send + Sync + 'static) {
    register();
    let mut namespaces = NAMESPACES.lock().expect("whole");
    let known = namespaces.get_or_insert_default();
    known.insert(name.to_owned(), Arc::new(script));
}

/// Registers our classes in the multithreaded apartment, which a thread of ours keeps up.
fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let (ready, registered) = channel();
        std::thread::spawn(move || {
            let classes: [(GUID, fn() -> IUnknown); 2] = [
                (WbemLocator, || {
                    IWbemLocator::from(FakeLocator).cast().expect("fakes work")
                }),
                (WbemObjectTextSrc, || {
                    IWbemObjectTextSrc::from(FakeText)
                        .cast()
                        .expect("fakes work")
                }),
            ];
            // SAFETY: the thread stays in the apartment for good, and so do the classes.
            unsafe {
                CoInitializeEx(None, COINIT_MULTITHREADED)
                    .ok()
                    .expect("fakes work");
                for (class, make) in classes {
                    let factory = IClassFactory::from(FakeFactory(make));
                    let how = REGCLS_MULTIPLEUSE;
                    CoRegisterClassObject(&class, &factory, CLSCTX_INPROC_SERVER, how)
                        .expect("fakes work");
                }
            }
            ready.send(()).expect("fakes work");
            loop {
                std::thread::park();
            }
        });
        registered.recv().expect("fakes work");
    });
}

#[implement(IClassFactory)]
struct FakeFactory(fn() -> IUnknown);

impl IClassFactory_Impl for FakeFactory_Impl {
    fn CreateInstance(
        &self,
        _: Ref<IUnknown>,
        wanted: *const GUID,
        object: *mut *mut c_void,
    ) -> Result<()> {
        // SAFETY: the caller's pointers, as COM demands.
        unsafe { (self.0)().query(wanted, object) }.ok()
    }

    fn LockServer(&self, _: BOOL) -> Result<()> {
        Ok(())
    }
}

/// Returns what a code says, with WMI's explanation beside it if there is one.
fn failure(answer: Answer) -> Error {
    match answer {
        Answer::Code(code) => Error::from_hresult(HRESULT(code.cast_signed())),
        Answer::Explained(code, status) => {
            let info: IErrorInfo = status.into();
            // SAFETY: the object lives through the call, which takes a reference of its own.
            unsafe { SetErrorInfo(0, &info) }.expect("fakes work");
            Error::from_hresult(HRESULT(code.cast_signed()))
        }
        Answer::Objects(_) | Answer::NoRows => E_NOTIMPL.into(),
    }
}

fn one(answer: Answer) -> Result<Option<IWbemClassObject>> {
    match answer {
        Answer::Objects(objects) => Ok(objects.into_iter().next().map(FakeObject::com)),
        other => Err(failure(other)),
    }
}

#[implement(IWbemLocator)]
struct FakeLocator;

impl IWbemLocator_Impl for FakeLocator_Impl {
    fn ConnectServer(
        &self,
        namespace: &BSTR,
        _: &BSTR,
        _: &BSTR,
        _: &BSTR,
        flags: i32,
        _: &BSTR,
        _: Ref<IWbemContext>,
    ) -> Result<IWbemServices> {
        assert_eq!(flags, 0x80, "a hung WMI must not hang us");
        let namespaces = NAMESPACES.lock().expect("whole");
        let known = namespaces
            .as_ref()
            .and_then(|all| all.get(&namespace.to_string()));
        let Some(script) = known.cloned() else {
            return Err(failure(Answer::Code(0x8004_100E)));
        };
        drop(namespaces);
        match script(Request::Connect) {
            Answer::Objects(_) => Ok(FakeServices(script).into()),
            other => Err(failure(other)),
        }
    }
}

#[implement(IEnumWbemClassObject)]
struct FakeRows {
    rows: Vec<IWbemClassObject>,
    at: AtomicUsize,
    never: bool,
}

impl IEnumWbemClassObject_Impl for FakeRows_Impl {
    fn Reset(&self) -> Result<()> {
        Err(E_NOTIMPL.into())
    }

    fn Next(
        &self,
        wait_ms: i32,
        wanted: u32,
        objects: *mut Option<IWbemClassObject>,
        count: *mut u32,
    ) -> HRESULT {
        assert!(wait_ms > 0, "waiting for rows must end");
        let at = self.at.fetch_add(wanted as usize, Ordering::Relaxed);
        let left = self.rows.get(at..).unwrap_or_default();
        let given = left.len().min(wanted as usize);
        for (index, row) in left[..given].iter().enumerate() {
            // SAFETY: the caller has `wanted` empty places.
            unsafe { objects.add(index).write(Some(row.clone())) };
        }
        // SAFETY: the caller's place for the number.
        unsafe { count.write(u32::try_from(given).expect("fakes work")) };
        match (self.never, given == wanted as usize) {
            (true, _) => TIMED_OUT,
            (false, true) => HRESULT(0),
            (false, false) => NO_MORE,
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

/// Answers with the class and the encoding; `Refuses…` has none in CIM DTD, `Mute…` none at all.
#[implement(IWbemObjectTextSrc)]
struct FakeText;

impl IWbemObjectTextSrc_Impl for FakeText_Impl {
    fn GetText(
        &self,
        _: i32,
        object: Ref<IWbemClassObject>,
        format: u32,
        _: Ref<IWbemContext>,
    ) -> Result<BSTR> {
        let text = |name| super::text_of(object.unwrap(), name);
        let class = text("__CLASS");
        match (class.as_str(), format) {
            ("Mute", _) | ("Refuses", 1) => Err(E_NOINTERFACE.into()),
            _ => Ok(BSTR::from(format!("{format}:{class}:{}", text("Name")))),
        }
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

#[implement(IWbemServices)]
struct FakeServices(Script);

type Flags = WBEM_GENERIC_FLAG_TYPE;
type Context<'a> = Ref<'a, IWbemContext>;
type Sink<'a> = Ref<'a, IWbemObjectSink>;
type Object<'a> = Ref<'a, IWbemClassObject>;
type Pending<'a> = OutRef<'a, IWbemCallResult>;

impl IWbemServices_Impl for FakeServices_Impl {
    fn GetObject(
        &self,
        path: &BSTR,
        _: Flags,
        _: Context,
        object: OutRef<IWbemClassObject>,
        _: Pending,
    ) -> Result<()> {
        object.write(one((self.0)(Request::Get(&path.to_string())))?)
    }

    fn ExecQuery(
        &self,
        language: &BSTR,
        query: &BSTR,
        flags: Flags,
        _: Context,
    ) -> Result<IEnumWbemClassObject> {
        assert_eq!(language.to_string(), "WQL");
        assert_eq!(
            flags.0, 0x30,
            "forward only, and without waiting for all rows"
        );
        let answer = (self.0)(Request::Query(&query.to_string()));
        let never = matches!(answer, Answer::NoRows);
        let rows = match answer {
            Answer::Objects(objects) => objects,
            Answer::NoRows => Vec::new(),
            other => return Err(failure(other)),
        };
        let rows = rows.into_iter().map(FakeObject::com).collect();
        let at = AtomicUsize::new(0);
        Ok(FakeRows { rows, at, never }.into())
    }

    fn ExecMethod(
        &self,
        path: &BSTR,
        method: &BSTR,
        _: Flags,
        _: Context,
        input: Object,
        output: OutRef<IWbemClassObject>,
        _: Pending,
    ) -> Result<()> {
        let (path, method) = (path.to_string(), method.to_string());
        let request = Request::Method(&path, &method, input.as_ref());
        output.write(one((self.0)(request))?)
    }

    services_not_here! {}
}
