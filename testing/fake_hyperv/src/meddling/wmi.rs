//! WMI with a hand in it.

use std::sync::Arc;

use windows_host::wmi::{
    EmbeddedSource, Namespaces, TextForm, Value, WmiError, WmiObject, WmiSession,
};

use super::{DoomedJob, Meddler, Twist};

/// Namespaces that a meddler has a hand in.
#[derive(Debug)]
pub struct Meddled<N> {
    inner: N,
    meddler: Arc<Meddler>,
}

impl<N> Meddled<N> {
    /// Lets `meddler` have a hand in `inner`.
    pub fn new(inner: N, meddler: Arc<Meddler>) -> Self {
        Self { inner, meddler }
    }
}

impl<N: Namespaces> Namespaces for Meddled<N> {
    fn connect(&self, namespace: &str) -> Result<Arc<dyn WmiSession>, WmiError> {
        if let Some(Twist::Error(code)) = self.meddler.note(format!("connect {namespace}")) {
            return Err(WmiError::call(format!("connect to {namespace}"), code));
        }
        Ok(Arc::new(MeddledSession {
            inner: self.inner.connect(namespace)?,
            meddler: Arc::clone(&self.meddler),
        }))
    }
}

#[derive(Debug)]
struct MeddledSession {
    inner: Arc<dyn WmiSession>,
    meddler: Arc<Meddler>,
}

impl MeddledSession {
    /// Returns how the job at `path` is to end, if that is not left to itself.
    fn doom(&self, path: &str) -> Option<(u16, Option<u32>)> {
        let notes = self.meddler.lock();
        let job = notes.jobs.iter().find(|job| job.path == path)?;
        Some((job.state, job.code))
    }
}

fn set_all(objects: &mut [WmiObject], twist: Option<Twist>) {
    if let Some(Twist::Property(name, value)) = twist {
        for object in objects {
            object.set(name, value.clone());
        }
    }
}

/// Returns the answer of `GetErrorEx` with one message, in a language that is not the reader's.
fn said(code: Option<u32>) -> WmiObject {
    let mut out = WmiObject::default();
    let messages = code.map(|code| {
        format!(
            r#"<INSTANCE CLASSNAME="Msvm_Error"><PROPERTY NAME="Message" TYPE="string"><VALUE>Vorgang fehlgeschlagen (0x{code:08X}).</VALUE></PROPERTY></INSTANCE>"#
        )
    });
    out.set("Errors", Value::texts(messages));
    out.set("ReturnValue", Value::u32(0));
    out
}

impl WmiSession for MeddledSession {
    fn query(&self, wql: &str) -> Result<Vec<WmiObject>, WmiError> {
        let twist = self.meddler.note(format!("query {wql}"));
        match twist {
            Some(Twist::Error(code)) => return Err(WmiError::call("query", code)),
            Some(Twist::Nothing) => return Ok(Vec::new()),
            _ => {}
        }
        let mut found = self.inner.query(wql)?;
        set_all(&mut found, twist);
        Ok(found)
    }

    fn get(&self, path: &str) -> Result<WmiObject, WmiError> {
        let twist = self.meddler.note(format!("get {path}"));
        if let Some(Twist::Error(code)) = twist {
            return Err(WmiError::call("get", code));
        }
        let mut found = [self.inner.get(path)?];
        set_all(&mut found, twist);
        let [mut found] = found;
        if let Some((state, code)) = self.doom(path) {
            found.set("JobState", state);
            // A job that has a message says "failed" beside it.
            found.set("ErrorCode", 32768u16);
            if code.is_none() {
                found.set("ErrorDescription", Value::Null);
            }
        }
        Ok(found)
    }

    fn class_properties(&self, class: &str) -> Result<Vec<String>, WmiError> {
        if let Some(Twist::Error(code)) = self.meddler.note(format!("class {class}")) {
            return Err(WmiError::call("get the class", code));
        }
        self.inner.class_properties(class)
    }

    fn call(
        &self,
        path: &str,
        method: &str,
        parameters: &[(&str, Value)],
    ) -> Result<WmiObject, WmiError> {
        let twist = self.meddler.note(format!("call {method} of {path}"));
        match twist {
            Some(Twist::Error(code)) => return Err(WmiError::call(method, code)),
            Some(Twist::Return(code)) => {
                let mut out = WmiObject::default();
                out.set("ReturnValue", Value::u32(code));
                return Ok(out);
            }
            _ => {}
        }
        if method == "GetErrorEx"
            && let Some((_, code)) = self.doom(path)
        {
            return Ok(said(code));
        }
        let mut out = [self.inner.call(path, method, parameters)?];
        match twist {
            Some(Twist::LoseAnswer(code)) => return Err(WmiError::call(method, code)),
            Some(Twist::Job(state, code)) => {
                if let Value::Text(path) = out[0].value("Job") {
                    let path = path.clone();
                    let job = DoomedJob { path, state, code };
                    self.meddler.lock().jobs.push(job);
                }
            }
            other => set_all(&mut out, other),
        }
        let [out] = out;
        Ok(out)
    }

    fn embedded_as(
        &self,
        form: TextForm,
        source: EmbeddedSource<'_>,
        changes: &[(&str, Value)],
    ) -> Result<String, WmiError> {
        if let Some(Twist::Error(code)) = self.meddler.note(format!("embedded {source:?}")) {
            return Err(WmiError::call("write an embedded instance", code));
        }
        self.inner.embedded_as(form, source, changes)
    }
}
