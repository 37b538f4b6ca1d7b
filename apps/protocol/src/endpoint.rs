//! Every endpoint of the agent's API, and what is special about it.

/// How a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Without a body.
    Get,
    /// With a body.
    Post,
}

impl Method {
    /// Returns the method's name in HTTP.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// What a body is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// There is no body.
    None,
    /// `application/json`.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
}

macro_rules! endpoints {
    ($($(#[$doc:meta])* $name:ident = $script:literal, $method:ident, $encoding:ident;)*) => {
        /// An endpoint.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Endpoint {
            $($(#[$doc])* $name,)*
        }

        impl Endpoint {
            /// All endpoints.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the script's name behind the base URL.
            pub fn script(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($script, ".php"),)*
                }
            }

            /// Returns the method it is called with.
            pub fn method(self) -> Method {
                match self {
                    $(Self::$name => Method::$method,)*
                }
            }

            /// Returns what its body is written in.
            pub fn encoding(self) -> Encoding {
                match self {
                    $(Self::$name => Encoding::$encoding,)*
                }
            }
        }
    };
}

endpoints! {
    /// Makes an agent known, by a token.
    Enroll = "agent_enroll", Post, Form;
    /// Makes an agent known, by e-mail and password.
    Login = "agent_login", Post, Form;
    /// Hands out a run.
    NextRun = "agent_next_run", Get, None;
    /// Takes a run's state, which is its heartbeat too.
    UpdateRun = "agent_update_run", Post, Json;
    /// Takes a run's events.
    PushEvents = "agent_push_events", Post, Json;
    /// Takes events of the agent's health.
    PushAgentEvents = "agent_push_agent_events", Post, Json;
    /// Takes pieces of a run's log.
    PushLogChunk = "agent_push_log_chunk", Post, Json;
    /// Hands out the commands of one run.
    PollCommands = "agent_poll_commands", Post, Form;
    /// Hands out commands, on servers that have no combined poll.
    PollPendingCommands = "agent_poll_pending_commands", Get, None;
    /// Hands out commands and repository operations.
    Poll = "agent_poll", Get, None;
    /// Takes a command's outcome.
    CompleteCommand = "agent_complete_command", Post, Json;
    /// Takes what a discovery command found.
    ReportBrowse = "agent_report_browse", Post, Json;
    /// Takes the list of volumes.
    ReportVolumes = "agent_report_volumes", Post, Json;
    /// Registers a job's VMs.
    HypervDiscover = "agent_hyperv_discover", Post, Json;
    /// Hands out a repository operation.
    PollRepoOperations = "agent_poll_repo_operations", Get, None;
    /// Takes a repository operation's outcome.
    CompleteRepoOperation = "agent_complete_repo_operation", Post, Form;
    /// Takes the progress of the agent's own update.
    UpdateProgress = "agent_update_progress", Post, Json;
}

impl Endpoint {
    /// Tells whether the caller must say who it is.
    pub fn is_authenticated(self) -> bool {
        !matches!(self, Self::Enroll | Self::Login)
    }

    /// Tells whether the server refuses versions that are too old here: such bodies carry the version.
    pub fn has_version_gate(self) -> bool {
        matches!(
            self,
            Self::UpdateRun | Self::PushEvents | Self::PushAgentEvents | Self::PushLogChunk
        )
    }

    /// Tells whether servers from before UUIDs lack it.
    pub fn is_missing_on_old_servers(self) -> bool {
        matches!(
            self,
            Self::Poll
                | Self::PollRepoOperations
                | Self::CompleteRepoOperation
                | Self::PushAgentEvents
                | Self::PushLogChunk
                | Self::UpdateProgress
        )
    }

    /// Tells whether calls count for the limit of calls per second.
    pub fn is_rate_limited(self) -> bool {
        matches!(
            self,
            Self::NextRun
                | Self::UpdateRun
                | Self::Poll
                | Self::PollPendingCommands
                | Self::PollCommands
                | Self::PollRepoOperations
                | Self::UpdateProgress
        )
    }
}
