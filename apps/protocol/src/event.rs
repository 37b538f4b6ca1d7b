//! Events of a run, as the portal shows them: a name, and the parameters that its text has places for.
//!
//! A parameter that is left out stays visible as `{name}`, so every event is a struct with all of them
//! as fields: one that is forgotten does not compile. Events of disk images and of recovery media, which
//! no agent of ours sends, are read as any [`Event`] and have no struct.

mod general;
mod hyperv;
mod kopia;
mod param;
mod restore;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use general::*;
pub use hyperv::*;
pub use kopia::*;
pub use param::{Param, Percent};
pub use restore::*;

use crate::lenient;
use crate::limit::{
    COMPACT_PARAM_CHARS_MAX, EVENT_TYPE_CHARS_MAX, LEVEL_CHARS_MAX, MESSAGE_ID_CHARS_MAX,
    PARAMS_BYTES_MAX, shorten, shortened,
};

/// How grave an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// For information.
    Info,
    /// To be looked at.
    Warning,
    /// Something failed.
    Error,
}

/// An event of a run.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Event {
    /// `info`, `progress`, `summary`, `warn`, `warning`, `error` or `cancelled`.
    #[serde(rename = "type", default = "info", deserialize_with = "lenient::text")]
    pub kind: String,
    /// `info`, `warn`, `warning` or `error`.
    #[serde(default = "info", deserialize_with = "lenient::text")]
    pub level: String,
    /// A code for machines; left out, it is the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The name, by which the portal finds the text.
    #[serde(default, deserialize_with = "lenient::text")]
    pub message_id: String,
    /// What the text has places for.
    #[serde(default, deserialize_with = "lenient::map")]
    pub params_json: Map<String, Value>,
}

fn info() -> String {
    "info".to_owned()
}

impl Event {
    pub(crate) fn new(
        message_id: &str,
        kind: &str,
        level: &str,
        params_json: Map<String, Value>,
    ) -> Self {
        Self {
            kind: kind.to_owned(),
            level: level.to_owned(),
            code: None,
            message_id: message_id.to_owned(),
            params_json,
        }
    }

    /// Returns the event within the server's columns; parameters that take too much become compact.
    pub fn within_limits(&self) -> Self {
        let mut event = self.clone();
        shorten(&mut event.kind, EVENT_TYPE_CHARS_MAX);
        shorten(&mut event.level, LEVEL_CHARS_MAX);
        shorten(&mut event.message_id, MESSAGE_ID_CHARS_MAX);
        if let Some(code) = &mut event.code {
            shorten(code, MESSAGE_ID_CHARS_MAX);
        }
        if bytes_of(&event.params_json) > PARAMS_BYTES_MAX {
            return event.compacted();
        }
        event
    }

    /// Returns the event with short texts and nothing nested, for a batch that a firewall refused.
    pub fn compacted(&self) -> Self {
        let mut event = self.clone();
        for value in event.params_json.values_mut() {
            match value {
                Value::String(text) => shorten(text, COMPACT_PARAM_CHARS_MAX),
                Value::Array(_) | Value::Object(_) => {
                    *value = Value::String(shortened(&value.to_string(), COMPACT_PARAM_CHARS_MAX));
                }
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
        event
    }
}

fn bytes_of(params: &Map<String, Value>) -> usize {
    serde_json::to_vec(params).map_or(usize::MAX, |json| json.len())
}

/// Defines events: a struct each, whose fields are the parameters.
macro_rules! events {
    ($(
        $(#[$doc:meta])*
        $name:ident = $message_id:literal, $kind:literal, $level:literal { $($param:ident: $type:ty,)* }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $(
                #[doc = concat!("The parameter `", stringify!($param), "`.")]
                pub $param: $type,
            )*
        }

        impl $name {
            /// The event's name.
            pub const MESSAGE_ID: &'static str = $message_id;
        }

        impl From<$name> for $crate::event::Event {
            fn from(event: $name) -> Self {
                let $name { $($param,)* } = event;
                let params = $crate::event::param::map([
                    $((stringify!($param), $crate::event::Param::value($param)),)*
                ]);
                $crate::event::Event::new($message_id, $kind, $level, params)
            }
        }
    )*
    };
}

pub(crate) use events;
