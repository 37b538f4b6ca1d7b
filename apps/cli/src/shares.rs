//! Shares of other machines, reached with the account that the environment names (Windows).
//!
//! The password comes from the environment alone, and goes to Windows alone.

use std::path::Path;

use crate::failure::Failure;

/// Connections that last as long as this does.
#[derive(Debug, Default)]
pub struct Shares(own::Shares);

impl Shares {
    /// Connects to the share that a path lies on, if it lies on one and an account is named.
    pub fn reach(&self, path: &Path) -> Result<(), Failure> {
        self.0.reach(path)
    }
}

/// Connects to a share as a user, for as long as what is returned lasts.
pub fn connect(share: &str, user: &str, password: &str) -> Result<Box<dyn Send>, String> {
    own::connect(share, user, password)
}

#[cfg(windows)]
mod own {
    use std::collections::BTreeMap;
    use std::collections::btree_map::Entry;
    use std::env::{VarError, var};
    use std::path::Path;
    use std::sync::Mutex;

    use windows_host::shares::{Share, of};
    use zeroize::Zeroizing;

    use crate::failure::{Failure, FailureKind};

    const USER: &str = "E3_SMB_USER";
    const PASSWORD: &str = "E3_SMB_PASSWORD";

    #[derive(Debug, Default)]
    pub(super) struct Shares(Mutex<BTreeMap<String, Share>>);

    impl Shares {
        pub(super) fn reach(&self, path: &Path) -> Result<(), Failure> {
            let Some(name) = of(path) else { return Ok(()) };
            let Some(user) = read(USER)? else {
                return Ok(());
            };
            let password = read(PASSWORD)?.map(Zeroizing::new).ok_or_else(|| {
                Failure::wrong_usage(format!(
                    "{USER} names an account for {name}, and {PASSWORD} is not set"
                ))
            })?;
            let mut known = self.0.lock().expect("no thread panics while it connects");
            if let Entry::Vacant(place) = known.entry(name) {
                let share = Share::connect(place.key(), &user, &password).map_err(|error| {
                    Failure::new(FailureKind::Denied, format!("failed to {error}"))
                })?;
                place.insert(share);
            }
            Ok(())
        }
    }

    pub(super) fn connect(
        share: &str,
        user: &str,
        password: &str,
    ) -> Result<Box<dyn Send>, String> {
        match Share::connect(share, user, password) {
            Ok(share) => Ok(Box::new(share)),
            Err(error) => Err(format!("failed to {error}")),
        }
    }

    fn read(variable: &str) -> Result<Option<String>, Failure> {
        match var(variable) {
            Ok(text) => Ok(Some(text)),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => Err(Failure::wrong_usage(format!(
                "what {variable} holds is no text"
            ))),
        }
    }
}

#[cfg(not(windows))]
mod own {
    use std::path::Path;

    use crate::failure::Failure;

    #[derive(Debug, Default)]
    pub(super) struct Shares;

    impl Shares {
        pub(super) fn reach(&self, _: &Path) -> Result<(), Failure> {
            Ok(())
        }
    }

    pub(super) fn connect(share: &str, _: &str, _: &str) -> Result<Box<dyn Send>, String> {
        Err(format!(
            "failed to connect to {share}: on this system shares are not connected by the agent; mount it, and name the folder where it is mounted as the job's source"
        ))
    }
}
