//! The repository's password: from a file, from the environment, from what is remembered, or asked
//! for.

use std::io::IsTerminal as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::failure::{Failure, FailureKind};
use crate::signals::Signals;

/// What password of a repository is remembered on this machine.
pub type Remembered<'r> = &'r dyn Fn() -> Result<Option<Zeroizing<String>>, Failure>;

/// A password and where it is from.
pub struct FoundPassword {
    /// The password.
    pub text: Zeroizing<String>,
    /// Whether it is the one that is remembered on this machine.
    pub is_remembered: bool,
}

/// Returns the password of a repository that exists.
pub fn password(
    file: Option<&Path>,
    remembered: Remembered<'_>,
    signals: &Signals,
) -> Result<FoundPassword, Failure> {
    of_repository(false).find(file, remembered, signals)
}

/// Returns the password of a new repository; where it is asked for, it is asked for twice, so that
/// the repository is not locked with a slip.
pub fn first_password(
    file: Option<&Path>,
    signals: &Signals,
) -> Result<Zeroizing<String>, Failure> {
    let found = of_repository(true).find(file, &|| Ok(None), signals)?;
    Ok(found.text)
}

/// Returns the password that is to replace the one so far.
pub fn new_password(file: Option<&Path>, signals: &Signals) -> Result<Zeroizing<String>, Failure> {
    let wanted = Wanted {
        what: "the new password",
        prompt: "New password: ",
        option: "--new-password-file",
        variable: "E3_REPO_NEW_PASSWORD",
        twice: true,
    };
    Ok(wanted.find(file, &|| Ok(None), signals)?.text)
}

/// Returns the password of a login at the control plane.
pub fn login_password(
    file: Option<&Path>,
    signals: &Signals,
) -> Result<Zeroizing<String>, Failure> {
    let wanted = Wanted {
        what: "the login's password",
        prompt: "Password of the login: ",
        option: "--login-password-file",
        variable: "E3_LOGIN_PASSWORD",
        twice: false,
    };
    Ok(wanted.find(file, &|| Ok(None), signals)?.text)
}

fn of_repository(twice: bool) -> Wanted {
    Wanted {
        what: "the repository's password",
        prompt: "Repository password: ",
        option: "--password-file",
        variable: "E3_REPO_PASSWORD",
        twice,
    }
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
    fn find(
        &self,
        file: Option<&Path>,
        remembered: Remembered<'_>,
        signals: &Signals,
    ) -> Result<FoundPassword, Failure> {
        let mut is_remembered = false;
        let text = match (file, std::env::var(self.variable)) {
            (Some(file), _) => from_file(file)?,
            (None, Ok(password)) => Zeroizing::new(password),
            (None, Err(std::env::VarError::NotUnicode(_))) => {
                return Err(Failure::wrong_usage(format!(
                    "the password in {} is not UTF-8",
                    self.variable
                )));
            }
            (None, Err(std::env::VarError::NotPresent)) => match remembered()? {
                Some(password) => {
                    is_remembered = true;
                    password
                }
                None => self.ask(signals)?,
            },
        };
        if text.is_empty() {
            return Err(Failure::wrong_usage(format!("{} is empty", self.what)));
        }
        Ok(FoundPassword {
            text,
            is_remembered,
        })
    }

    fn ask(&self, signals: &Signals) -> Result<Zeroizing<String>, Failure> {
        if !std::io::stdin().is_terminal() {
            return Err(Failure::wrong_usage(format!(
                "{} is missing: give {} FILE or {}",
                self.what, self.option, self.variable
            )));
        }
        let ask = |prompt: &str| {
            signals
                .while_asking(|| rpassword::prompt_password(prompt))
                .map(Zeroizing::new)
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

fn from_file(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let text = std::fs::read_to_string(file)
        .map(Zeroizing::new)
        .map_err(|error| {
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
    Ok(Zeroizing::new(text.trim().to_owned()))
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
