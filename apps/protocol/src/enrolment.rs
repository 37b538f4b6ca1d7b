//! Making an agent known: by a token, by e-mail and password in one step (old servers), or in two.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::endpoint::Endpoint;
use crate::form::Fields;
use crate::identity::{AgentId, Identity, Program};
use crate::request::{Body, Call};
use crate::{SecretText, WireId, lenient};

/// What is said about the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The host's name.
    pub hostname: String,
    /// The machine's UUID, by which enrolling again finds the same agent.
    pub device_id: String,
    /// The installation's UUID.
    pub install_id: String,
    /// A label for people.
    pub device_name: String,
    /// The program.
    pub program: Program,
}

impl Machine {
    fn add_to(&self, fields: &mut Fields) {
        fields.push(("hostname".to_owned(), self.hostname.clone()));
        for (name, value) in [
            ("device_id", &self.device_id),
            ("install_id", &self.install_id),
            ("device_name", &self.device_name),
            ("agent_version", &self.program.version),
            ("agent_os", &self.program.os),
            ("agent_arch", &self.program.arch),
            ("agent_build", &self.program.build),
        ] {
            if !value.is_empty() {
                fields.push((name.to_owned(), value.clone()));
            }
        }
    }
}

/// Enrols by a token.
#[derive(Clone, Debug)]
pub struct Enroll {
    /// The token that an administrator made.
    pub token: SecretText,
    /// The machine.
    pub machine: Machine,
}

impl Call for Enroll {
    const ENDPOINT: Endpoint = Endpoint::Enroll;
    type Answer = Enrolled;

    fn body(&self) -> Body {
        let mut fields = vec![field("token", self.token.reveal())];
        self.machine.add_to(&mut fields);
        Body::Form(fields)
    }

    fn answer(&self, _: &str, members: Map<String, Value>) -> Result<Enrolled, String> {
        enrolled(members)
    }
}

/// Checks e-mail and password. Old servers enrol the agent at once, when `mode` is left out.
#[derive(Clone, Debug)]
pub struct Login {
    /// The address that the client signs in with.
    pub email: String,
    /// The password that goes with it.
    pub password: SecretText,
    /// The machine.
    pub machine: Machine,
    /// Which servers are spoken to.
    pub steps: LoginSteps,
}

/// In how many steps a login enrols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginSteps {
    /// Current servers: the answer is a session, to be completed by [`CompleteLogin`].
    Two,
    /// Old servers: the answer is the enrolment.
    One,
}

/// What a login answers.
#[derive(Clone, Debug, PartialEq)]
pub enum LoggedIn {
    /// A session, to be completed.
    Session(LoginSession),
    /// Done, on an old server.
    Enrolled(Enrolled),
}

impl Call for Login {
    const ENDPOINT: Endpoint = Endpoint::Login;
    type Answer = LoggedIn;

    fn body(&self) -> Body {
        let mut fields = Fields::new();
        if self.steps == LoginSteps::Two {
            fields.push(field("mode", "authenticate"));
        }
        fields.push(field("email", &self.email));
        fields.push(field("password", self.password.reveal()));
        self.machine.add_to(&mut fields);
        Body::Form(fields)
    }

    fn answer(&self, _: &str, members: Map<String, Value>) -> Result<LoggedIn, String> {
        if members.contains_key("session_token") {
            return lenient::read(members).map(LoggedIn::Session);
        }
        enrolled(members).map(LoggedIn::Enrolled)
    }
}

/// A login that is to be completed within ten minutes, once.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct LoginSession {
    /// What [`CompleteLogin`] takes.
    pub session_token: SecretText,
    /// The client.
    #[serde(default, deserialize_with = "lenient::text")]
    pub client_id: String,
    /// Users that the agent may belong to.
    #[serde(default, deserialize_with = "lenient::readable")]
    pub users: Vec<BackupUser>,
}

/// A user that an agent may belong to.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct BackupUser {
    /// What [`CompleteLogin`] takes.
    pub id: WireId,
    /// The name that people see in addresses.
    #[serde(default, deserialize_with = "lenient::text")]
    pub public_id: String,
    /// The name for people.
    #[serde(default, deserialize_with = "lenient::text")]
    pub username: String,
    /// The user's address.
    #[serde(default, deserialize_with = "lenient::text")]
    pub email: String,
    /// What the user may back up.
    #[serde(default, deserialize_with = "lenient::text")]
    pub backup_type: String,
    /// The tenant, if there is one.
    #[serde(default, deserialize_with = "lenient::optional_id")]
    pub tenant_id: Option<WireId>,
}

/// Completes a login.
#[derive(Clone, Debug)]
pub struct CompleteLogin {
    /// The session.
    pub session_token: SecretText,
    /// Whom the agent is to belong to.
    pub user: UserChoice,
}

/// Whom an agent is to belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserChoice {
    /// One of the session's users.
    Existing(WireId),
    /// A new one.
    Created,
}

impl Call for CompleteLogin {
    const ENDPOINT: Endpoint = Endpoint::Login;
    type Answer = Enrolled;

    fn body(&self) -> Body {
        let user = match &self.user {
            UserChoice::Existing(id) => field("backup_user_id", &id.to_string()),
            UserChoice::Created => field("auto_create_user", "true"),
        };
        Body::Form(vec![
            field("mode", "complete"),
            field("session_token", self.session_token.reveal()),
            user,
        ])
    }

    fn answer(&self, _: &str, members: Map<String, Value>) -> Result<Enrolled, String> {
        enrolled(members)
    }
}

/// An agent that the server knows from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// Who the agent is.
    pub identity: Identity,
    /// The client it belongs to.
    pub client_id: String,
    /// Where the server says its API is.
    pub api_base_url: String,
}

#[derive(Deserialize)]
struct WireEnrolled {
    #[serde(default, deserialize_with = "lenient::text")]
    agent_uuid: String,
    #[serde(default, deserialize_with = "lenient::text")]
    agent_id: String,
    #[serde(default)]
    agent_token: SecretText,
    #[serde(default, deserialize_with = "lenient::text")]
    client_id: String,
    #[serde(default, deserialize_with = "lenient::text")]
    api_base_url: String,
}

fn enrolled(members: Map<String, Value>) -> Result<Enrolled, String> {
    let wire: WireEnrolled = lenient::read(members)?;
    let agent = match (wire.agent_uuid.as_str(), wire.agent_id.as_str()) {
        ("", "") => return Err("neither `agent_uuid` nor `agent_id` is there".to_owned()),
        ("", _) => AgentId::Legacy(wire.agent_id),
        _ => AgentId::Uuid(wire.agent_uuid),
    };
    if wire.agent_token.is_empty() {
        return Err("`agent_token` is not there".to_owned());
    }
    Ok(Enrolled {
        identity: Identity {
            agent,
            token: wire.agent_token,
        },
        client_id: wire.client_id,
        api_base_url: wire.api_base_url,
    })
}

fn field(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}
