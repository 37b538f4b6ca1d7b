//! The repository's password: from a file, from the environment, or asked for.

use std::io::IsTerminal as _;
use std::path::Path;

use crate::failure::{Failure, FailureKind};
use crate::signals::Signals;

/// The variable that may hold the password.
const VARIABLE: &str = "E3_REPO_PASSWORD";

/// Returns the password; where it is asked for, `twice` asks again, so that a new repository
/// is not locked with a slip.
pub fn password(file: Option<&Path>, signals: &Signals, twice: bool) -> Result<String, Failure> {
    let password = match (file, std::env::var(VARIABLE)) {
        (Some(file), _) => from_file(file)?,
        (None, Ok(password)) => password,
        (None, Err(std::env::VarError::NotUnicode(_))) => {
            return Err(Failure::wrong_usage(format!(
                "the password in {VARIABLE} is not UTF-8"
            )));
        }
        (None, Err(std::env::VarError::NotPresent)) => asked(signals, twice)?,
    };
    if password.is_empty() {
        return Err(Failure::wrong_usage("the repository's password is empty"));
    }
    Ok(password)
}

fn from_file(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::wrong_usage(format!(
            "failed to read the password file {}: {error}",
            file.display()
        ))
    })?;
    Ok(text.trim().to_owned())
}

fn asked(signals: &Signals, twice: bool) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::wrong_usage(format!(
            "the repository's password is missing: give --password-file FILE or {VARIABLE}"
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
    let password = ask("Repository password: ")?;
    if twice && ask("The same once more: ")? != password {
        return Err(Failure::wrong_usage("the two passwords differ"));
    }
    Ok(password)
}
