//! IWbemServices of one namespace, wrapped call by call. It lives on one thread.
//!
//! Unsafe code is run by: `an_object_is_got_by_the_path_it_came_with`, `methods_take_and_give_numbers_and_texts`,
//! `objects_become_text_in_the_first_encoding_that_works`, `calls_gain_neither_handles_nor_memory`.

#![expect(unsafe_code, reason = "COM's methods are unsafe to call")]

use std::time::Duration;

use windows::Win32::System::Com::{CLSCTX_INPROC_SERVER, CoCreateInstance};
use windows::Win32::System::Wmi::{
    IEnumWbemClassObject, IWbemClassObject, IWbemLocator, IWbemObjectTextSrc, IWbemServices,
    WBEM_FLAG_CONNECT_USE_MAX_WAIT, WBEM_FLAG_FORWARD_ONLY, WBEM_FLAG_RETURN_IMMEDIATELY,
    WBEM_GENERIC_FLAG_TYPE, WBEM_S_FALSE, WBEM_S_TIMEDOUT, WbemLocator, WbemObjectTextSrc,
};
use windows::core::{BSTR, Error};

use super::class_object;
use super::failure::{NO_ANSWER, code_of, failed};
use crate::apartment::secure;
use crate::calls;
use crate::wmi::{TextForm, Value, WmiError, WmiObject};

/// Rows that one `Next` asks for.
const ROWS: usize = 64;
/// The formats of `GetText`: CIM DTD 2.0 and WMI DTD 2.0 (Hyper-V spec 2.3).
const CIM_DTD_20: u32 = 1;
const WMI_DTD_20: u32 = 2;

const NO_FLAGS: WBEM_GENERIC_FLAG_TYPE = WBEM_GENERIC_FLAG_TYPE(0);
const INVALID_METHOD: u32 = 0x8004_102E;
const INVALID_PARAMETERS: u32 = 0x8004_102F;

/// A namespace this thread is connected to.
pub struct Connection {
    services: IWbemServices,
    rows_limit: Duration,
}

impl Connection {
    /// Connects to a namespace of this machine; the thread must be in an apartment.
    pub fn open(namespace: &str, rows_limit: Duration) -> Result<Self, WmiError> {
        calls::count("wmi.connect");
        let doing = format!("connect to WMI's namespace {namespace}");
        let failed = |error: Error| failed(&doing, &error);
        // SAFETY: the thread is in an apartment; class and interface belong together.
        let locator: IWbemLocator =
            unsafe { CoCreateInstance(&WbemLocator, None, CLSCTX_INPROC_SERVER) }
                .map_err(failed)?;
        let none = BSTR::new();
        // SAFETY: all strings live through the call; null ones stand for this user and the
        // machine's own language.
        let services = unsafe {
            locator.ConnectServer(
                &BSTR::from(namespace),
                &none,
                &none,
                &none,
                WBEM_FLAG_CONNECT_USE_MAX_WAIT.0,
                &none,
                None,
            )
        }
        .map_err(failed)?;
        secure(&services).map_err(failed)?;
        Ok(Self {
            services,
            rows_limit,
        })
    }

    /// Returns the objects a query finds.
    pub fn query(&self, wql: &str) -> Result<Vec<WmiObject>, WmiError> {
        calls::count("wmi.exec_query");
        let doing = format!("run the query {wql}");
        // SAFETY: both strings live through the call; there is no context.
        let rows = unsafe {
            self.services.ExecQuery(
                &BSTR::from("WQL"),
                &BSTR::from(wql),
                WBEM_FLAG_FORWARD_ONLY | WBEM_FLAG_RETURN_IMMEDIATELY,
                None,
            )
        }
        .map_err(|error| failed(&doing, &error))?;
        secure(&rows).map_err(|error| failed(&doing, &error))?;
        let mut objects = Vec::new();
        while self.next_rows(&rows, &doing, &mut objects)? {}
        Ok(objects)
    }

    /// Takes the next rows of a query; false when there are no more.
    fn next_rows(
        &self,
        rows: &IEnumWbemClassObject,
        doing: &str,
        objects: &mut Vec<WmiObject>,
    ) -> Result<bool, WmiError> {
        calls::count("wmi.next");
        let wait_ms = i32::try_from(self.rows_limit.as_millis()).unwrap_or(i32::MAX);
        let mut taken: [Option<IWbemClassObject>; ROWS] = [const { None }; ROWS];
        let mut count = 0;
        // SAFETY: both places are ours and live through the call, which gets the array's true
        // length; the objects put there are ours.
        let result = unsafe { rows.Next(wait_ms, &mut taken, &mut count) };
        result.ok().map_err(|error| failed(doing, &error))?;
        for object in taken.iter().flatten() {
            objects.push(class_object::read(object)?);
        }
        if result.0 == WBEM_S_TIMEDOUT.0 && count == 0 {
            let message = format!("{doing}: no row came in {wait_ms} ms");
            return Err(WmiError::call(message, NO_ANSWER));
        }
        // Fewer rows than asked for mean the end only if the answer says so.
        Ok(result.0 != WBEM_S_FALSE.0 && count > 0)
    }

    /// Returns the object at a path.
    pub fn get(&self, path: &str) -> Result<WmiObject, WmiError> {
        class_object::read(&self.object(path)?)
    }

    /// Returns the names of a class's properties.
    pub fn class_properties(&self, class: &str) -> Result<Vec<String>, WmiError> {
        class_object::property_names(&self.object(class)?)
    }

    /// Calls a method of the object at a path.
    pub fn call(
        &self,
        path: &str,
        method: &str,
        parameters: &[(String, Value)],
    ) -> Result<WmiObject, WmiError> {
        let input = self.input(path, method, parameters)?;
        calls::count("wmi.exec_method");
        let mut output = None;
        // SAFETY: the strings and the parameters live through the call; the place for the answer
        // is ours and empty, and what is put there is ours.
        unsafe {
            self.services.ExecMethod(
                &BSTR::from(path),
                &BSTR::from(method),
                NO_FLAGS,
                None,
                input.as_ref(),
                Some(&raw mut output),
                None,
            )
        }
        .map_err(|error| failed(&format!("call {method} of {path}"), &error))?;
        output
            .as_ref()
            .map_or_else(|| Ok(WmiObject::default()), class_object::read_parameters)
    }

    /// Returns a method's in-parameters with what is named set; none if it takes none.
    fn input(
        &self,
        path: &str,
        method: &str,
        parameters: &[(String, Value)],
    ) -> Result<Option<IWbemClassObject>, WmiError> {
        let class = class_of(path);
        let doing = || format!("prepare the call of {method} of {class}");
        let definition = self.object(class)?;
        let signature = class_object::in_parameters(&definition, method).map_err(|error| {
            // The object is there, only its method is not.
            match error.code() == Some(class_object::not_found()) {
                true => WmiError::call(
                    format!("{}: this host has no such method", doing()),
                    INVALID_METHOD,
                ),
                false => error,
            }
        })?;
        let Some(signature) = signature else {
            return match parameters {
                [] => Ok(None),
                _ => Err(WmiError::call(
                    format!("{}: it takes no parameters", doing()),
                    INVALID_PARAMETERS,
                )),
            };
        };
        let input = class_object::spawn(&signature)?;
        class_object::put(&input, parameters).map_err(|error| {
            let code = error.code().unwrap_or(INVALID_PARAMETERS);
            WmiError::call(format!("{}: {error}", doing()), code)
        })?;
        Ok(Some(input))
    }

    /// Returns a new instance of `class`, changed, as text.
    pub fn new_embedded(
        &self,
        form: TextForm,
        class: &str,
        changes: &[(String, Value)],
    ) -> Result<String, WmiError> {
        let instance = class_object::spawn(&self.object(class)?)?;
        as_text(form, &instance, class, changes)
    }

    /// Returns the instance at `path`, changed, as text; what is there stays as it is.
    pub fn changed_embedded(
        &self,
        form: TextForm,
        path: &str,
        changes: &[(String, Value)],
    ) -> Result<String, WmiError> {
        as_text(form, &self.object(path)?, path, changes)
    }

    fn object(&self, path: &str) -> Result<IWbemClassObject, WmiError> {
        calls::count("wmi.get_object");
        let mut object = None;
        // SAFETY: the path lives through the call; the place for the object is ours and empty,
        // and what is put there is ours.
        unsafe {
            self.services.GetObject(
                &BSTR::from(path),
                NO_FLAGS,
                None,
                Some(&raw mut object),
                None,
            )
        }
        .map_err(|error| failed(&format!("get {path}"), &error))?;
        object.ok_or_else(|| WmiError::shape(format!("getting {path} gave nothing")))
    }
}

/// Returns an object as text (Hyper-V spec 2.3), in the form that is wanted, or else in the other.
fn as_text(
    form: TextForm,
    object: &IWbemClassObject,
    what: &str,
    changes: &[(String, Value)],
) -> Result<String, WmiError> {
    class_object::put(object, changes)?;
    calls::count("wmi.get_text");
    let doing = format!("put {what} into words");
    // SAFETY: the thread is in an apartment; class and interface belong together.
    let source: IWbemObjectTextSrc =
        unsafe { CoCreateInstance(&WbemObjectTextSrc, None, CLSCTX_INPROC_SERVER) }
            .map_err(|error| failed(&doing, &error))?;
    let mut first = None;
    let formats = match form {
        TextForm::CimDtd20 => [CIM_DTD_20, WMI_DTD_20],
        TextForm::WmiDtd20 => [WMI_DTD_20, CIM_DTD_20],
    };
    for format in formats {
        // SAFETY: the object lives through the call; the text it returns is ours.
        match unsafe { source.GetText(0, object, format, None) } {
            Ok(text) => return Ok(text.to_string()),
            Err(error) => first = first.or(Some(error)),
        }
    }
    let error = first.expect("there are formats, and all failed");
    let code = code_of(error.code());
    Err(WmiError::call(
        format!("{doing}: {}", error.message()),
        code,
    ))
}

/// Returns the class of an object path, relative or whole.
fn class_of(path: &str) -> &str {
    let relative = match path.strip_prefix(r"\\") {
        Some(whole) => whole
            .split_once(':')
            .map_or(whole, |(_, relative)| relative),
        None => path,
    };
    relative.split(['.', '=']).next().unwrap_or(relative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_found_in_every_shape_of_path() {
        for path in [
            "Msvm_Thing",
            "Msvm_Thing=@",
            r#"Msvm_Thing.Name="a:b.c=d""#,
            r#"\\HOST\root\virtualization\v2:Msvm_Thing.Name="a:b""#,
            r#"\\.\root\virtualization\v2:Msvm_Thing=@"#,
        ] {
            assert_eq!(class_of(path), "Msvm_Thing", "{path}");
        }
    }
}
