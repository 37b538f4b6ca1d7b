//! WMI with a hand in it: it counts calls, and lets chosen ones go wrong.

use std::sync::{Arc, Mutex};

use time_and_chance::StopSignal;
use windows_host::wmi::{EmbeddedSource, Namespaces, Value, WmiError, WmiObject, WmiSession};

/// What happens instead of, or to, an answer.
#[derive(Debug, Clone)]
pub enum Twist {
    /// The call fails with this HRESULT.
    Error(u32),
    /// The method returns this number and does nothing.
    Return(u32),
    /// The call works, and its answer is lost with this HRESULT.
    LoseAnswer(u32),
    /// The query finds nothing.
    Nothing,
    /// A property of every object in the answer is this.
    Property(&'static str, Value),
    /// The work is told to stop just before the call.
    Stop(StopSignal),
}

/// The calls so far, and what is to go wrong.
#[derive(Debug, Default)]
pub struct Meddler {
    calls: Mutex<Vec<String>>,
    twists: Mutex<Vec<(String, u32, Twist)>>,
}

impl Meddler {
    /// Twists the next `times` calls of a kind on something, such as "call CreateSnapshot", "get
    /// Msvm_ConcreteJob" or "query FROM Msvm_ComputerSystem".
    pub fn twist(&self, part: &str, times: u32, twist: Twist) {
        self.twists
            .lock()
            .unwrap()
            .push((part.to_owned(), times, twist));
    }

    /// Ends all meddling.
    pub fn rest(&self) {
        self.twists.lock().unwrap().clear();
    }

    /// Returns the calls since the last time.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    fn note(&self, call: String) -> Option<Twist> {
        let mut twists = self.twists.lock().unwrap();
        let found = twists
            .iter_mut()
            .find(|(part, times, _)| *times > 0 && fits(part, &call));
        let twist = found.map(|(_, times, twist)| {
            *times -= 1;
            if let Twist::Stop(stop) = twist {
                stop.stop();
            }
            twist.clone()
        });
        self.calls.lock().unwrap().push(call);
        twist
    }
}

fn fits(part: &str, call: &str) -> bool {
    let (verb, object) = part.split_once(' ').unwrap();
    call.starts_with(verb) && call.contains(object)
}

/// Namespaces that a meddler has a hand in.
#[derive(Debug)]
pub struct Meddled<N> {
    pub inner: N,
    pub meddler: Arc<Meddler>,
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

fn set_all(objects: &mut [WmiObject], twist: Option<Twist>) {
    if let Some(Twist::Property(name, value)) = twist {
        for object in objects {
            object.set(name, value.clone());
        }
    }
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
        let [found] = found;
        Ok(found)
    }

    fn class_properties(&self, class: &str) -> Result<Vec<String>, WmiError> {
        self.meddler.note(format!("class {class}"));
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
        let mut out = [self.inner.call(path, method, parameters)?];
        if let Some(Twist::LoseAnswer(code)) = twist {
            return Err(WmiError::call(method, code));
        }
        set_all(&mut out, twist);
        let [out] = out;
        Ok(out)
    }

    fn embedded(
        &self,
        source: EmbeddedSource<'_>,
        changes: &[(&str, Value)],
    ) -> Result<String, WmiError> {
        self.meddler.note(format!("embedded {source:?}"));
        self.inner.embedded(source, changes)
    }
}
