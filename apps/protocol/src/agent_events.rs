//! PushAgentEvents: the agent's health, outside of runs.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::endpoint::Endpoint;
use crate::event::Param;
use crate::identifier::CommandId;
use crate::limit::{COMPACT_PARAM_CHARS_MAX, DEDUPE_KEY_CHARS_MAX, shortened};
use crate::request::{Body, Call};
use crate::run_events::{EventsTaken, Packable, unpacked};
use crate::{WireId, lenient, moment};

/// What happened to the agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Health {
    /// The service runs.
    ServiceStarted {
        /// The program's version.
        version: String,
    },
    /// The service ends.
    ServiceStopping {
        /// Why.
        reason: String,
    },
    /// The agent is known to the server.
    Enrolled {
        /// By what: `token` or `login`.
        method: String,
    },
    /// The server would not have the agent.
    EnrollmentFailed {
        /// Why.
        reason: String,
    },
    /// The server answers, or has ceased to.
    ServerConnection {
        /// Which of the three.
        state: Connection,
    },
    /// The machine has a line.
    DeviceOnline,
    /// The machine has none.
    DeviceOffline {
        /// Why.
        reason: String,
    },
    /// A command was taken.
    CommandReceived {
        /// The command.
        command_id: CommandId,
        /// What it is.
        command: String,
    },
    /// A command was carried out.
    CommandCompleted {
        /// The command.
        command_id: CommandId,
        /// What it is.
        command: String,
        /// What was reported.
        status: String,
    },
    /// A command failed.
    CommandFailed {
        /// The command.
        command_id: CommandId,
        /// What it is.
        command: String,
        /// Why.
        error: String,
    },
    /// A run began.
    RunStarted {
        /// The run.
        run_id: WireId,
        /// Its job.
        job_id: Option<WireId>,
    },
    /// A run ended.
    RunFinished {
        /// The run.
        run_id: WireId,
        /// Its terminal status.
        status: String,
    },
}

/// How the agent stands with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// It answered for the first time.
    Connected,
    /// It no longer answers.
    Disconnected,
    /// It answers again.
    Restored,
}

/// An event of the agent's health.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct AgentEvent {
    /// `agent` or `tray`.
    #[serde(default, deserialize_with = "lenient::text")]
    pub source: String,
    /// When.
    #[serde(
        default,
        with = "moment::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub ts: Option<Timestamp>,
    /// `info`, `warn` or `error`.
    #[serde(default, deserialize_with = "lenient::text")]
    pub level: String,
    /// A code for machines, without which the server drops the event.
    #[serde(default, deserialize_with = "lenient::text")]
    pub code: String,
    /// The name, by which the portal finds the text.
    #[serde(default, deserialize_with = "lenient::text")]
    pub message_id: String,
    /// What the text has places for.
    #[serde(default, deserialize_with = "lenient::map")]
    pub params_json: Map<String, Value>,
    /// By which the server recognises a repetition within a minute.
    #[serde(default, deserialize_with = "lenient::text")]
    pub dedupe_key: String,
}

impl AgentEvent {
    /// Returns the event for what happened.
    pub fn new(health: Health, at: Timestamp) -> Self {
        let described = Described::of(health);
        let texts = described.params.into_iter();
        let params = texts.filter_map(|(name, param)| Some((name.to_owned(), param?)));
        Self {
            source: "agent".to_owned(),
            ts: Some(at),
            level: described.level.to_owned(),
            code: described.code.to_owned(),
            message_id: described.message_id.to_owned(),
            params_json: params.collect(),
            dedupe_key: shortened(&described.dedupe_key, DEDUPE_KEY_CHARS_MAX),
        }
    }
}

struct Described {
    message_id: &'static str,
    code: &'static str,
    level: &'static str,
    params: Vec<(&'static str, Option<Value>)>,
    dedupe_key: String,
}

impl Described {
    fn of(health: Health) -> Self {
        let text = |text: String| shortened(&text, COMPACT_PARAM_CHARS_MAX).value();
        match health {
            Health::ServiceStarted { version } => Self::new(
                "AGENT_SERVICE_STARTED",
                "info",
                vec![("version", text(version))],
                "service:started",
            ),
            Health::ServiceStopping { reason } => Self::new(
                "AGENT_SERVICE_STOPPING",
                "info",
                vec![("reason", text(reason))],
                "service:stopping",
            ),
            Health::Enrolled { method } => Self::new(
                "AGENT_ENROLLED",
                "info",
                vec![("method", text(method))],
                "enrolled",
            ),
            Health::EnrollmentFailed { reason } => Self::new(
                "AGENT_ENROLLMENT_FAILED",
                "error",
                vec![("reason", text(reason))],
                "enrollment:failed",
            ),
            Health::ServerConnection { state } => {
                let (word, code, level) = match state {
                    Connection::Connected => {
                        ("connected", "AGENT_SERVER_CONNECTION_CONNECTED", "info")
                    }
                    Connection::Disconnected => (
                        "disconnected",
                        "AGENT_SERVER_CONNECTION_DISCONNECTED",
                        "warn",
                    ),
                    Connection::Restored => {
                        ("restored", "AGENT_SERVER_CONNECTION_RESTORED", "info")
                    }
                };
                let params = vec![("state", text(word.to_owned()))];
                let key = format!("connection:{word}");
                Self {
                    code,
                    ..Self::new("AGENT_SERVER_CONNECTION", level, params, &key)
                }
            }
            Health::DeviceOnline => {
                Self::new("AGENT_DEVICE_ONLINE", "info", Vec::new(), "device:online")
            }
            Health::DeviceOffline { reason } => Self::new(
                "AGENT_DEVICE_OFFLINE",
                "warn",
                vec![("reason", text(reason))],
                "device:offline",
            ),
            Health::CommandReceived {
                command_id,
                command,
            } => Self::new(
                "AGENT_COMMAND_RECEIVED",
                "info",
                vec![
                    ("command_id", command_id.0.value()),
                    ("type", text(command)),
                ],
                &format!("command:{command_id}:received"),
            ),
            Health::CommandCompleted {
                command_id,
                command,
                status,
            } => Self::new(
                "AGENT_COMMAND_COMPLETED",
                "info",
                vec![
                    ("command_id", command_id.0.value()),
                    ("type", text(command)),
                    ("status", text(status)),
                ],
                &format!("command:{command_id}:completed"),
            ),
            Health::CommandFailed {
                command_id,
                command,
                error,
            } => Self::new(
                "AGENT_COMMAND_FAILED",
                "error",
                vec![
                    ("command_id", command_id.0.value()),
                    ("type", text(command)),
                    ("error", text(error)),
                ],
                &format!("command:{command_id}:failed"),
            ),
            Health::RunStarted { run_id, job_id } => {
                let key = format!("run:{run_id}:started");
                let job = job_id.map(|job| job.to_string());
                let params = vec![
                    ("run_id", run_id.to_string().value()),
                    ("job_id", job.value()),
                ];
                Self::new("AGENT_RUN_STARTED", "info", params, &key)
            }
            Health::RunFinished { run_id, status } => {
                let key = format!("run:{run_id}:finished");
                let params = vec![
                    ("run_id", run_id.to_string().value()),
                    ("status", text(status)),
                ];
                Self::new("AGENT_RUN_FINISHED", "info", params, &key)
            }
        }
    }

    fn new(
        message_id: &'static str,
        level: &'static str,
        params: Vec<(&'static str, Option<Value>)>,
        key: &str,
    ) -> Self {
        Self {
            message_id,
            code: message_id,
            level,
            params,
            dedupe_key: format!("agent:{key}"),
        }
    }
}

/// A batch of events of the agent's health.
#[derive(Clone, Debug, PartialEq)]
pub struct PushAgentEvents {
    /// Who reports; the version gate wants it.
    pub agent_version: String,
    /// The events.
    pub events: Vec<AgentEvent>,
    /// Whether a firewall refused the batch: it then goes packed, however small it is. Who reads one cannot
    /// know.
    pub after_firewall: bool,
}

impl Call for PushAgentEvents {
    const ENDPOINT: Endpoint = Endpoint::PushAgentEvents;
    type Answer = EventsTaken;

    fn body(&self) -> Body {
        Body::json(self)
    }

    fn answer(&self, _: &str, members: Map<String, Value>) -> Result<EventsTaken, String> {
        lenient::read(members)
    }
}

impl Serialize for PushAgentEvents {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            agent_version: &'a str,
            #[serde(flatten)]
            events: Packable<&'a AgentEvent>,
        }
        let wire = Wire {
            agent_version: &self.agent_version,
            events: Packable::new(self.events.iter().collect(), self.after_firewall),
        };
        wire.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PushAgentEvents {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default, deserialize_with = "lenient::text")]
            agent_version: String,
        }
        let mut members = lenient::map(from)?;
        let events = unpacked(&mut members).map_err(serde::de::Error::custom)?;
        let wire: Wire = lenient::read(members).map_err(serde::de::Error::custom)?;
        Ok(Self {
            agent_version: wire.agent_version,
            events,
            after_firewall: false,
        })
    }
}
