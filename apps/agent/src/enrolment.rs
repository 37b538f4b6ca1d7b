//! Becoming known to a control plane: by a token, or by e-mail and password.

use std::sync::Arc;

use fault::Fault;
use protocol::enrolment::{
    BackupUser, CompleteLogin, Enroll, Enrolled, LoggedIn, Login, LoginSession, LoginSteps,
    Machine, UserChoice,
};
use protocol::identity::AgentId;
use time_and_chance::StopSignal;

use crate::config::{Config, ConfigError, ConfigFile};
use crate::control_plane::{CallError, ControlPlane};
use crate::log::Log;
use crate::parts::caller;
use crate::ports::Ports;

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnrolErrorKind {
    /// The configuration lacks what is needed, or cannot be used.
    Config,
    /// The control plane says no: another token or password is needed.
    Refused,
    /// The control plane did not answer; trying again may help.
    Unavailable,
    /// Several users are there, and one has to be chosen.
    Ambiguous,
}

/// An enrolment that failed.
pub type EnrolError = Fault<EnrolErrorKind>;

/// How the agent became known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// `token` or `login`.
    pub method: &'static str,
    /// Who the agent is from now on.
    pub agent: String,
    /// Whose it is.
    pub client_id: String,
}

/// Enrols with what the configuration says, and writes into it who the agent is; the secrets that
/// it took are blank afterwards. `user` chooses where a login finds several.
pub fn enrol(
    ports: &Ports,
    file: &ConfigFile,
    log: &Arc<Log>,
    user: Option<&str>,
    stop: &StopSignal,
) -> Result<Enrolment, EnrolError> {
    let config = with_ids(ports, file)?;
    config.secrets().into_iter().for_each(|it| log.hide(it));
    if config.api_base_url.is_empty() {
        return Err(EnrolError::new(
            EnrolErrorKind::Config,
            format!("enrol: {} names no api_base_url", file.path().display()),
        ));
    }
    let unknown = Config {
        agent_uuid: String::new(),
        agent_id: String::new(),
        ..config.clone()
    };
    let plane = ControlPlane::new(
        Arc::clone(&ports.transport),
        ports.clock.clone(),
        Arc::clone(log),
        config.api_base_url.clone(),
        caller(&unknown, ports),
    );
    let machine = machine(&config, ports);
    let (method, enrolled) = if !config.enrollment_token.is_empty() {
        let call = Enroll {
            token: config.enrollment_token.clone(),
            machine,
        };
        ("token", plane.call(&call, stop).map_err(refused)?)
    } else {
        ("login", log_in(&plane, &config, machine, user, stop)?)
    };
    log.hide(&enrolled.identity.token);
    remember(file, &enrolled)?;
    let agent = enrolled.identity.agent.to_string();
    log.info(&format!("this machine is enrolled as agent {agent}"));
    Ok(Enrolment {
        method,
        agent,
        client_id: enrolled.client_id,
    })
}

/// Reads the configuration; names that machine and installation lack are drawn and kept, so that
/// enrolling again finds the same agent.
fn with_ids(ports: &Ports, file: &ConfigFile) -> Result<Config, EnrolError> {
    let config = file.load().map_err(of_config)?;
    let mut drawn = Vec::new();
    for (key, known) in [
        ("device_id", &config.device_id),
        ("install_id", &config.install_id),
    ] {
        if known.is_empty() {
            drawn.push((key, ports.chance.uuid().to_string()));
        }
    }
    if drawn.is_empty() {
        return Ok(config);
    }
    let changes: Vec<(&str, &str)> = drawn.iter().map(|(key, id)| (*key, &**id)).collect();
    file.change(&changes).map_err(of_config)?;
    file.load().map_err(of_config)
}

fn machine(config: &Config, ports: &Ports) -> Machine {
    Machine {
        hostname: ports.host_name.clone(),
        device_id: config.device_id.clone(),
        install_id: config.install_id.clone(),
        device_name: match config.device_name.as_str() {
            "" => ports.host_name.clone(),
            name => name.to_owned(),
        },
        program: ports.program.clone(),
    }
}

fn log_in(
    plane: &ControlPlane,
    config: &Config,
    machine: Machine,
    user: Option<&str>,
    stop: &StopSignal,
) -> Result<Enrolled, EnrolError> {
    let call = Login {
        email: config.enroll_email.clone(),
        password: config.enroll_password.clone(),
        machine,
        // Older servers do not know of steps and enrol at once.
        steps: LoginSteps::Two,
    };
    let session = match plane.call(&call, stop).map_err(refused)? {
        LoggedIn::Enrolled(enrolled) => return Ok(enrolled),
        LoggedIn::Session(session) => session,
    };
    let call = CompleteLogin {
        user: choose(&session, user)?,
        session_token: session.session_token,
    };
    plane.call(&call, stop).map_err(refused)
}

/// Chooses whom the agent belongs to.
fn choose(session: &LoginSession, wanted: Option<&str>) -> Result<UserChoice, EnrolError> {
    let is_wanted = |user: &&BackupUser, wanted: &str| {
        let names = [
            &user.id.to_string(),
            &user.public_id,
            &user.username,
            &user.email,
        ];
        names.iter().any(|name| name.eq_ignore_ascii_case(wanted))
    };
    if let Some(wanted) = wanted {
        let found = session.users.iter().find(|user| is_wanted(user, wanted));
        return match found {
            Some(user) => Ok(UserChoice::Existing(user.id.clone())),
            None => Err(EnrolError::new(
                EnrolErrorKind::Ambiguous,
                format!(
                    "choose the user {wanted:?}: there is {}",
                    names(&session.users)
                ),
            )),
        };
    }
    match &session.users[..] {
        [] => Ok(UserChoice::Created),
        [only] => Ok(UserChoice::Existing(only.id.clone())),
        several => Err(EnrolError::new(
            EnrolErrorKind::Ambiguous,
            format!(
                "choose a user: there are several, say which with `enroll --user`: {}",
                names(several)
            ),
        )),
    }
}

fn names(users: &[BackupUser]) -> String {
    let names: Vec<String> = users
        .iter()
        .map(|user| format!("{} ({})", user.username, user.id))
        .collect();
    names.join(", ")
}

fn remember(file: &ConfigFile, enrolled: &Enrolled) -> Result<(), EnrolError> {
    let (uuid, id) = match &enrolled.identity.agent {
        AgentId::Uuid(uuid) => (uuid.as_str(), ""),
        AgentId::Legacy(id) => ("", id.as_str()),
    };
    file.change(&[
        ("agent_uuid", uuid),
        ("agent_id", id),
        ("agent_token", enrolled.identity.token.reveal()),
        ("client_id", &enrolled.client_id),
        ("enrollment_token", ""),
        ("enroll_email", ""),
        ("enroll_password", ""),
    ])
    .map_err(of_config)
}

fn of_config(error: ConfigError) -> EnrolError {
    EnrolError::new(EnrolErrorKind::Config, "enrol").caused_by(error)
}

fn refused(error: CallError) -> EnrolError {
    let is_refused = error.is_final() || error.is_unauthorized() || error.is_missing_endpoint();
    let kind = match is_refused {
        true => EnrolErrorKind::Refused,
        false => EnrolErrorKind::Unavailable,
    };
    EnrolError::new(kind, "enrol").caused_by(error)
}
