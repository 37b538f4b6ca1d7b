//! A hand in the calls of WMI and virtdisk: it counts them, and lets chosen ones go wrong.
//!
//! Tests put it between the product and the model, to see what each documented failure of each
//! call leads to. It knows of calls only what they are called.

mod disks;
mod wmi;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time_and_chance::StopSignal;
use windows_host::wmi::Value;

pub use disks::MeddledDisks;
pub use wmi::Meddled;

/// What happens instead of, or to, an answer.
#[derive(Debug, Clone)]
pub enum Twist {
    /// The call fails with this code: an HRESULT of WMI, a Win32 code of virtdisk.
    Error(u32),
    /// The method returns this number and does nothing.
    Return(u32),
    /// The call works, and its answer is lost with this HRESULT.
    LoseAnswer(u32),
    /// The job that the call leaves ends in this state, with this HRESULT in its message, whatever
    /// became of its work.
    Job(u16, Option<u32>),
    /// The query finds nothing.
    Nothing,
    /// A property of every object in the answer is this.
    Property(&'static str, Value),
    /// The work is told to stop just before the call.
    Stop(StopSignal),
    /// Somebody else does something just before the call, whatever else goes wrong with it.
    Meanwhile(Meanwhile),
}

/// What somebody else does.
#[derive(Clone)]
pub struct Meanwhile(Arc<dyn Fn() + Send + Sync>);

impl Meanwhile {
    /// Has somebody do this.
    pub fn new(deed: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(deed))
    }
}

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meanwhile")
    }
}

/// Which calls go wrong, how often, and how.
#[derive(Debug)]
struct Planned {
    calls: Which,
    times: u32,
    twist: Twist,
}

#[derive(Debug)]
enum Which {
    /// Those of a kind on something.
    Fitting(String),
    /// The one of this number.
    Number(usize),
}

/// A job that ends as nobody asked it to.
#[derive(Debug)]
struct DoomedJob {
    path: String,
    state: u16,
    code: Option<u32>,
}

#[derive(Debug, Default)]
struct Notes {
    calls: Vec<String>,
    planned: Vec<Planned>,
    jobs: Vec<DoomedJob>,
}

/// The calls so far, and what is to go wrong.
#[derive(Debug, Default)]
pub struct Meddler {
    notes: Mutex<Notes>,
}

/// As often as it is called.
pub const ALWAYS: u32 = u32::MAX;

impl Meddler {
    /// Returns one that lets everything be.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Twists the next `times` calls of a kind on something, such as "call CreateSnapshot", "get
    /// Msvm_ConcreteJob", "query FROM Msvm_ComputerSystem" or "disk open Read".
    pub fn twist(&self, part: &str, times: u32, twist: Twist) {
        self.lock().planned.push(Planned {
            calls: Which::Fitting(part.to_owned()),
            times,
            twist,
        });
    }

    /// Twists one call, counted from the last time the calls were taken.
    pub fn twist_number(&self, number: usize, twist: Twist) {
        self.lock().planned.push(Planned {
            calls: Which::Number(number),
            times: 1,
            twist,
        });
    }

    /// Ends all meddling.
    pub fn rest(&self) {
        let mut notes = self.lock();
        notes.planned.clear();
        notes.jobs.clear();
    }

    /// Returns the calls since the last time.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().calls)
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        // Notes are whole after each of their changes.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call, and returns what is to go wrong with it.
    fn note(&self, call: String) -> Option<Twist> {
        let mut notes = self.lock();
        let number = notes.calls.len();
        let fitting = notes.planned.iter_mut().filter(|planned| {
            planned.times > 0
                && match &planned.calls {
                    Which::Fitting(part) => fits(part, &call),
                    Which::Number(wanted) => *wanted == number,
                }
        });
        let (mut deeds, mut struck) = (Vec::new(), None);
        for planned in fitting {
            match &planned.twist {
                Twist::Meanwhile(deed) => deeds.push(deed.clone()),
                _ if struck.is_some() => continue,
                twist => {
                    if let Twist::Stop(stop) = twist {
                        stop.stop();
                    }
                    struck = Some(twist.clone());
                }
            }
            planned.times -= 1;
        }
        notes.calls.push(call);
        drop(notes);
        // Whoever acts meanwhile may call too.
        for Meanwhile(deed) in deeds {
            deed();
        }
        struck
    }
}

/// Returns whether a call is of the kind and on the thing that `part` names.
fn fits(part: &str, call: &str) -> bool {
    match part.split_once(' ') {
        Some((verb, object)) => call.starts_with(verb) && call.contains(object),
        None => call.starts_with(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twist_strikes_as_often_as_it_was_told_and_only_what_it_fits() {
        let meddler = Meddler::default();
        meddler.twist("call Create", 1, Twist::Return(5));
        meddler.twist_number(3, Twist::Nothing);
        for (call, is_struck) in [
            ("query Create", false),
            ("call CreateSnapshot of x", true),
            ("call CreateSnapshot of x", false),
            ("query y", true),
            ("query y", false),
        ] {
            assert_eq!(meddler.note(call.to_owned()).is_some(), is_struck, "{call}");
        }
        assert_eq!(meddler.take_calls().len(), 5);
        meddler.twist("query", ALWAYS, Twist::Nothing);
        meddler.rest();
        assert!(meddler.note("query z".to_owned()).is_none());
    }
}
