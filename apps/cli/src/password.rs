//! The repository's password: from a file, from the environment, or asked for.

use std::io::IsTerminal as _;
use std::path::Path;

use crate::failure::{Failure, FailureKind};
use crate::signals::Signals;

/// Returns the password; where it is asked for, `twice` asks again, so that a new repository
/// is not locked with a slip.
pub fn password(file: Option<&Path>, signals: &Signals, twice: bool) -> Result<String, Failure> {
    let wanted = Wanted {
        what: "the repository's password",
        prompt: "Repository password: ",
        option: "--password-file",
        variable: "E3_REPO_PASSWORD",
        twice,
    };
    wanted.find(file, signals)
}

/// Returns the password that is to replace the one so far.
pub fn new_password(file: Option<&Path>, signals: &Signals) -> Result<String, Failure> {
    let wanted = Wanted {
        what: "the new password",
        prompt: "New password: ",
        option: "--new-password-file",
        variable: "E3_REPO_NEW_PASSWORD",
        twice: true,
    };
    wanted.find(file, signals)
}

/// Which password, and where it may be found.
struct Wanted {
    what: &'static str,
    prompt: &'static str,
    option: &'static str,
    variable: &'static str,
    twice: bool,
}

impl Wanted {
    fn find(&self, file: Option<&Path>, signals: &Signals) -> Result<String, Failure> {
        let password = match (file, std::env::var(self.variable)) {
            (Some(file), _) => from_file(file)?,
            (None, Ok(password)) => password,
            (None, Err(std::env::VarError::NotUnicode(_))) => {
                return Err(Failure::wrong_usage(format!(
                    "the password in {} is not UTF-8",
                    self.variable
                )));
            }
            (None, Err(std::env::VarError::NotPresent)) => self.ask(signals)?,
        };
        if password.is_empty() {
            return Err(Failure::wrong_usage(format!("{} is empty", self.what)));
        }
        Ok(password)
    }

    fn ask(&self, signals: &Signals) -> Result<String, Failure> {
        if !std::io::stdin().is_terminal() {
            return Err(Failure::wrong_usage(format!(
                "{} is missing: give {} FILE or {}",
                self.what, self.option, self.variable
            )));
        }
        let ask = |prompt: &str| {
            signals
                .while_asking(|| rpassword::prompt_password(prompt))
                .map_err(|error| {
                    Failure::new(
                        FailureKind::Failed,
                        format!("failed to ask for the password: {error}"),
                    )
                })
        };
        let password = ask(self.prompt)?;
        if self.twice && ask("The same once more: ")? != password {
            return Err(Failure::wrong_usage("the two passwords differ"));
        }
        Ok(password)
    }
}

fn from_file(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::wrong_usage(format!(
            "failed to read the password file {}: {error}",
            file.display()
        ))
    })?;
    if is_open_to_others(file) {
        eprintln!(
            "warning: other users may read the password file {0}; `chmod 600 {0}` keeps them out",
            file.display()
        );
    }
    Ok(text.trim().to_owned())
}

/// Returns whether the file's mode lets its group or everyone read it. What is no file, such as a
/// pipe, is nobody else's.
#[cfg(unix)]
fn is_open_to_others(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = std::fs::metadata(file);
    metadata.is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o044 != 0)
}

/// Files of other systems have no mode to look at.
#[cfg(not(unix))]
fn is_open_to_others(_: &Path) -> bool {
    false
}
