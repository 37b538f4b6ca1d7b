//! Who calls: the headers that every request carries.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::SecretText;

/// An agent's name on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentId {
    /// A UUID, from current servers.
    Uuid(String),
    /// A number, from old ones.
    Legacy(String),
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(id) | Self::Legacy(id) => f.write_str(id),
        }
    }
}

/// What enrolment gave: a name and the secret that proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The agent's name.
    pub agent: AgentId,
    /// The secret that goes with it.
    pub token: SecretText,
}

/// What is said about the program itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The version, such as `1.8.2`.
    #[serde(
        rename = "agent_version",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    pub version: String,
    /// `windows` or `linux`.
    #[serde(rename = "agent_os", default, skip_serializing_if = "String::is_empty")]
    pub os: String,
    /// `amd64`, `arm64` or `386`.
    #[serde(
        rename = "agent_arch",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    pub arch: String,
    /// What tells builds of one version apart.
    #[serde(
        rename = "agent_build",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    pub build: String,
}

impl Program {
    /// Returns the words of the wire for Rust's name of an architecture.
    pub fn arch_word(rust_name: &str) -> &str {
        match rust_name {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            other => other,
        }
    }

    /// Returns a user agent that looks like a browser's and ends with ours, so that firewalls let it
    /// pass.
    pub fn default_user_agent(&self) -> String {
        let system = match self.os.as_str() {
            "windows" => "Windows NT 10.0; Win64; x64",
            _ => "X11; Linux x86_64",
        };
        format!(
            "Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 \
             Safari/537.36 e3-backup-agent/{}",
            self.version
        )
    }
}

/// Who calls, with which program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// None before enrolment.
    pub identity: Option<Identity>,
    /// The program.
    pub program: Program,
    /// The configured user agent; empty means [`Program::default_user_agent`].
    pub user_agent: String,
}

impl Caller {
    /// Returns the headers that say who calls.
    pub(crate) fn headers(&self, authenticated: bool) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if let Some(identity) = self.identity.as_ref().filter(|_| authenticated) {
            match &identity.agent {
                AgentId::Uuid(uuid) => headers.push(("X-Agent-UUID", uuid.clone())),
                AgentId::Legacy(id) => headers.push(("X-Agent-ID", id.clone())),
            }
            headers.push(("X-Agent-Token", identity.token.reveal().to_owned()));
        }
        let program = &self.program;
        for (name, value) in [
            ("X-Agent-Version", &program.version),
            ("X-Agent-OS", &program.os),
            ("X-Agent-Arch", &program.arch),
        ] {
            if authenticated && !value.is_empty() {
                headers.push((name, value.clone()));
            }
        }
        let user_agent = match self.user_agent.trim() {
            "" => program.default_user_agent(),
            configured => configured.to_owned(),
        };
        headers.push(("User-Agent", user_agent));
        for (_, value) in &mut headers {
            value.retain(|letter| letter == '\t' || !letter.is_control());
        }
        headers
    }
}
