//! PushEvents: what happened in a run. Best effort: whether it arrives never changes how a run ends.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::limit::{MANIFEST_ID_CHARS_MAX, PLAIN_EVENTS_BYTES_MAX, shortened};
use crate::packing::{GZIP_BASE64, UNPACKED_BYTES_MAX, pack, unpack};
use crate::request::{Body, Call};
use crate::{WireId, lenient};

/// A batch of a run's events.
#[derive(Clone, Debug, PartialEq)]
pub struct PushEvents {
    /// The run.
    pub run_id: WireId,
    /// The events.
    pub events: Vec<Event>,
    /// Lines of the run's structured log.
    pub logs: Vec<LogLine>,
    /// The run's primary manifest, which the server then records.
    pub manifest_id: String,
    /// Who reports; the version gate wants it.
    pub agent_version: String,
    /// Whether a firewall refused the batch: it then goes compact and packed, however small it is. Who reads
    /// one cannot know.
    pub after_firewall: bool,
}

/// A line of a run's structured log.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct LogLine {
    /// `info`, `warn` or `error`.
    #[serde(default, deserialize_with = "lenient::text")]
    pub level: String,
    /// A code for machines.
    #[serde(default, deserialize_with = "lenient::text")]
    pub code: String,
    /// A text for people.
    #[serde(default, deserialize_with = "lenient::text")]
    pub message: String,
    /// Anything else.
    #[serde(default, deserialize_with = "lenient::map")]
    pub details_json: Map<String, Value>,
}

impl PushEvents {
    /// Returns a batch of events.
    pub fn new(run_id: WireId, agent_version: impl Into<String>, events: Vec<Event>) -> Self {
        Self {
            run_id,
            events,
            logs: Vec::new(),
            manifest_id: String::new(),
            agent_version: agent_version.into(),
            after_firewall: false,
        }
    }

    /// Returns the batch as it is sent once more when a firewall refused it.
    pub fn for_firewall(mut self) -> Self {
        self.after_firewall = true;
        self
    }

    fn events_to_send(&self) -> Vec<Event> {
        let named = self
            .events
            .iter()
            .filter(|event| !event.message_id.is_empty());
        let within = named.map(Event::within_limits);
        match self.after_firewall {
            true => within.map(|event| event.compacted()).collect(),
            false => within.collect(),
        }
    }
}

/// What the server did with a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct EventsTaken {
    /// Events that are kept.
    #[serde(deserialize_with = "lenient::count")]
    pub inserted: u64,
    /// Events beyond the server's limit.
    #[serde(deserialize_with = "lenient::count")]
    pub dropped: u64,
    /// Events that it has already.
    #[serde(deserialize_with = "lenient::count")]
    pub deduped: u64,
    /// Whether the limit is reached.
    #[serde(deserialize_with = "lenient::boolean")]
    pub truncated: bool,
}

impl Call for PushEvents {
    const ENDPOINT: Endpoint = Endpoint::PushEvents;
    type Answer = EventsTaken;

    fn body(&self) -> Body {
        Body::json(self)
    }

    fn answer(&self, _: &str, members: Map<String, Value>) -> Result<EventsTaken, String> {
        lenient::read(members)
    }
}

/// A list as it stands in a body: plain, or packed when it is large or a firewall wants it so.
#[derive(Default, Serialize)]
pub(crate) struct Packable<E> {
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Vec<E>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events_encoding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events_b64: Option<String>,
}

impl<E: Serialize> Packable<E> {
    pub(crate) fn new(events: Vec<E>, always_packed: bool) -> Self {
        let json = serde_json::to_vec(&events).expect("our documents have texts as keys");
        if !always_packed && json.len() <= PLAIN_EVENTS_BYTES_MAX {
            return Self {
                events: Some(events),
                events_encoding: None,
                events_b64: None,
            };
        }
        Self {
            events: None,
            events_encoding: Some(GZIP_BASE64),
            events_b64: Some(pack(&json)),
        }
    }
}

/// Reads a list that may be packed.
pub(crate) fn unpacked<E: serde::de::DeserializeOwned>(
    members: &mut Map<String, Value>,
) -> Result<Vec<E>, String> {
    let events = match members.remove("events_b64") {
        Some(Value::String(packed)) => {
            let plain = unpack(&packed, UNPACKED_BYTES_MAX).map_err(|error| error.to_string())?;
            serde_json::from_slice(&plain)
                .map_err(|_| "the packed events are no JSON".to_owned())?
        }
        _ => members.remove("events").unwrap_or_default(),
    };
    let wrapped: Listed<E> = lenient::read(Map::from_iter([("events".to_owned(), events)]))?;
    Ok(wrapped.events)
}

#[derive(Deserialize)]
#[serde(bound = "E: serde::de::DeserializeOwned")]
struct Listed<E> {
    #[serde(default = "Vec::new", deserialize_with = "lenient::list")]
    events: Vec<E>,
}

impl Serialize for PushEvents {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            run_id: &'a WireId,
            agent_version: &'a str,
            #[serde(flatten)]
            events: Packable<Event>,
            #[serde(skip_serializing_if = "<[LogLine]>::is_empty")]
            logs: &'a [LogLine],
            #[serde(skip_serializing_if = "String::is_empty")]
            manifest_id: String,
        }
        let wire = Wire {
            run_id: &self.run_id,
            agent_version: &self.agent_version,
            events: Packable::new(self.events_to_send(), self.after_firewall),
            logs: &self.logs,
            manifest_id: shortened(&self.manifest_id, MANIFEST_ID_CHARS_MAX),
        };
        wire.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PushEvents {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            run_id: WireId,
            #[serde(default, deserialize_with = "lenient::text")]
            agent_version: String,
            #[serde(default, deserialize_with = "lenient::list")]
            logs: Vec<LogLine>,
            #[serde(default, alias = "log_ref", deserialize_with = "lenient::text")]
            manifest_id: String,
        }
        let mut members = lenient::map(from)?;
        let events = unpacked(&mut members).map_err(serde::de::Error::custom)?;
        let wire: Wire = lenient::read(members).map_err(serde::de::Error::custom)?;
        Ok(Self {
            run_id: wire.run_id,
            events,
            logs: wire.logs,
            manifest_id: wire.manifest_id,
            agent_version: wire.agent_version,
            after_firewall: false,
        })
    }
}
