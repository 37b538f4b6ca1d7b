//! `enroll`: makes this machine known to a control plane.

use std::path::PathBuf;
use std::sync::Arc;

use agent::config::ConfigError;
use agent::enrolment::{EnrolError, EnrolErrorKind, enrol};
use agent::log::{Level, Log};
use clap::Args;
use serde_json::json;

use super::run::{config_file, ports};
use crate::answer::Answer;
use crate::failure::{Failure, FailureKind};
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("way").args(["token", "email"]).required(true),
    after_help = "\
Examples:
  e3-backup-agent enroll --url https://portal.example.com/modules/addons/cloudstorage/api --token T
  E3_ENROLLMENT_TOKEN=T e3-backup-agent enroll --url URL
  e3-backup-agent enroll --url URL --email ann@example.com       asks for the password

Who this machine is from then on is written into the configuration, which nobody but its owner may
read; token and password are not kept. The password may be in E3_LOGIN_PASSWORD, too. Enrolling
again gives the same agent a new key, and the old one stops working. A running service takes a new
configuration over by itself."
)]
pub struct Enroll {
    /// The control plane's address.
    #[arg(long, value_name = "URL")]
    url: String,
    /// A token that the portal made.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "E3_ENROLLMENT_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// Enrol with a login instead: its e-mail address.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "token")]
    email: Option<String>,
    /// Read the login's password from this file.
    #[arg(long, value_name = "FILE", requires = "email")]
    login_password_file: Option<PathBuf>,
    /// Whom of the login's users the machine belongs to.
    #[arg(long, value_name = "USER", requires = "email")]
    user: Option<String>,
    /// The configuration [default: the service's own].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Enroll {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let file = config_file(self.config.as_ref())?;
        let mut changes = vec![("api_base_url", self.url.as_str())];
        let password = match &self.email {
            Some(_) => world.login_password(self.login_password_file.as_deref())?,
            None => Default::default(),
        };
        changes.push((
            "enrollment_token",
            self.token.as_deref().unwrap_or_default(),
        ));
        changes.push(("enroll_email", self.email.as_deref().unwrap_or_default()));
        changes.push(("enroll_password", &password));
        // A service that runs enrols with what it finds in the file itself: then both would.
        let draft = file.draft(&changes).map_err(of_config)?;
        let log = Log::nowhere(Level::Warn, true, world.clock().clone());
        let enrolled = enrol(
            &ports(world)?,
            draft.file(),
            &Arc::new(log),
            self.user.as_deref(),
            world.stop(),
        );
        let enrolled = enrolled.map_err(of_enrolment)?;
        draft.adopt().map_err(of_config)?;
        let path = file.path();
        let text = format!(
            "this machine is agent {} now; {} says so\n",
            enrolled.agent,
            path.display()
        );
        let document = json!({
            "agent": enrolled.agent,
            "client_id": enrolled.client_id,
            "method": enrolled.method,
            "config": path,
        });
        Ok(Answer::new(text, document))
    }
}

fn of_config(error: ConfigError) -> Failure {
    Failure::new(FailureKind::Failed, format!("failed to {error}"))
}

fn of_enrolment(error: EnrolError) -> Failure {
    let kind = match error.kind() {
        EnrolErrorKind::Config => FailureKind::Failed,
        EnrolErrorKind::Refused => FailureKind::Denied,
        EnrolErrorKind::Unavailable => FailureKind::Unavailable,
        EnrolErrorKind::Ambiguous => FailureKind::WrongUsage,
    };
    Failure::new(kind, format!("failed to {error}"))
}
