//! Finding the keys: the AWS variables, then `~/.aws/credentials` and `~/.aws/config`, then the
//! role of the machine.
//!
//! Knows nothing of requests or signatures. Secrets are never shown.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{BlobError, BlobErrorKind};

/// Answers for environment variables; an argument, so that tests have their own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Who asks the server.
#[derive(Clone, PartialEq, Eq)]
pub enum S3Credentials {
    /// A pair of keys.
    Keys {
        /// The access key's id, which is no secret.
        key_id: String,
        /// The secret key.
        secret: String,
        /// The session's token, for keys that expire.
        token: Option<String>,
    },
    /// Whatever role the machine or container was given; its keys are fetched and renewed.
    MachineRole,
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys { key_id, .. } => f
                .debug_struct("Keys")
                .field("key_id", key_id)
                .finish_non_exhaustive(),
            Self::MachineRole => f.write_str("MachineRole"),
        }
    }
}

/// What the surroundings say about Amazon and its like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Identity {
    /// Who asks.
    pub credentials: S3Credentials,
    /// The region, where nothing more particular names one.
    pub region: Option<String>,
}

impl S3Identity {
    /// Looks where AWS's own programs look.
    ///
    /// # Errors
    /// `Denied` if what is there is incomplete, or `AWS_PROFILE` names no profile.
    pub fn find(environment: Environment<'_>) -> Result<Self, BlobError> {
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        let named = variable("AWS_PROFILE");
        let profile = Profile::read(&variable, named.as_deref())?;
        let region = variable("AWS_REGION")
            .or_else(|| variable("AWS_DEFAULT_REGION"))
            .or_else(|| profile.get("region"));
        let token = variable("AWS_SESSION_TOKEN");
        let pair = pair(
            variable("AWS_ACCESS_KEY_ID"),
            variable("AWS_SECRET_ACCESS_KEY"),
            token,
            ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
        )?;
        let credentials = match pair {
            Some(keys) => keys,
            None => profile.credentials()?,
        };
        Ok(Self {
            credentials,
            region,
        })
    }
}

/// A profile's settings from both files; those in `credentials` come first.
struct Profile {
    name: String,
    is_named: bool,
    settings: BTreeMap<String, String>,
}

impl Profile {
    fn read(
        variable: &dyn Fn(&str) -> Option<String>,
        named: Option<&str>,
    ) -> Result<Self, BlobError> {
        let name = named.unwrap_or("default").to_owned();
        let home = variable("HOME")
            .or_else(|| variable("USERPROFILE"))
            .map(PathBuf::from);
        let place = |variable_name: &str, file: &str| {
            let given = variable(variable_name).map(PathBuf::from);
            given.or_else(|| home.as_ref().map(|home| home.join(".aws").join(file)))
        };
        let config = sections(place("AWS_CONFIG_FILE", "config"))?;
        let keys = sections(place("AWS_SHARED_CREDENTIALS_FILE", "credentials"))?;
        let in_config = config
            .get(&format!("profile {name}"))
            .or_else(|| config.get(&name));
        let in_keys = keys.get(&name);
        if named.is_some() && in_config.is_none() && in_keys.is_none() {
            return Err(denied(format!(
                "find profile {name} of AWS_PROFILE in ~/.aws/credentials or ~/.aws/config"
            )));
        }
        let mut settings = in_config.cloned().unwrap_or_default();
        settings.extend(in_keys.cloned().unwrap_or_default());
        Ok(Self {
            name,
            is_named: named.is_some(),
            settings,
        })
    }

    fn get(&self, key: &str) -> Option<String> {
        self.settings
            .get(key)
            .filter(|value| !value.is_empty())
            .cloned()
    }

    fn credentials(&self) -> Result<S3Credentials, BlobError> {
        let keys = ["aws_access_key_id", "aws_secret_access_key"];
        let token = self.get("aws_session_token");
        if let Some(found) = pair(self.get(keys[0]), self.get(keys[1]), token, keys)? {
            return Ok(found);
        }
        // A profile that was asked for by name must not end in somebody else's role.
        if self.is_named {
            return Err(BlobError::new(
                BlobErrorKind::Unsupported,
                format!(
                    "use profile {}: it holds no aws_access_key_id; other ways to sign in (sso, credential_process, role_arn) are not supported",
                    self.name
                ),
            ));
        }
        Ok(S3Credentials::MachineRole)
    }
}

fn pair(
    key_id: Option<String>,
    secret: Option<String>,
    token: Option<String>,
    names: [&str; 2],
) -> Result<Option<S3Credentials>, BlobError> {
    match (key_id, secret) {
        (Some(key_id), Some(secret)) => Ok(Some(S3Credentials::Keys {
            key_id,
            secret,
            token,
        })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(denied(format!(
            "find {}: only {} is set",
            names[1], names[0]
        ))),
        (None, Some(_)) => Err(denied(format!(
            "find {}: only {} is set",
            names[0], names[1]
        ))),
    }
}

type Sections = BTreeMap<String, BTreeMap<String, String>>;

fn sections(path: Option<PathBuf>) -> Result<Sections, BlobError> {
    let Some(path) = path else {
        return Ok(Sections::new());
    };
    match fs::read_to_string(&path) {
        Ok(text) => Ok(parse_sections(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Sections::new()),
        Err(error) => Err(unreadable(&path, error)),
    }
}

fn unreadable(path: &Path, error: io::Error) -> BlobError {
    denied(format!("read {}", path.display())).caused_by(error)
}

/// Reads `[section]` and `key = value`; indented lines belong to settings that we don't know.
fn parse_sections(text: &str) -> Sections {
    let mut sections = Sections::new();
    let mut current = None;
    for line in text.trim_start_matches('\u{feff}').lines() {
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        if let Some((name, _)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
            let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
            sections.entry(name.clone()).or_default();
            current = Some(name);
        } else if let (Some(section), Some((key, value))) = (&current, line.split_once('='))
            && let Some(settings) = sections.get_mut(section)
        {
            settings.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    sections
}

fn denied(message: impl Into<String>) -> BlobError {
    BlobError::new(BlobErrorKind::Denied, message)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn home(credentials: Option<&str>, config: Option<&str>) -> TempDir {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".aws")).unwrap();
        for (name, text) in [("credentials", credentials), ("config", config)] {
            if let Some(text) = text {
                fs::write(home.path().join(".aws").join(name), text).unwrap();
            }
        }
        home
    }

    fn find(home: &TempDir, variables: &[(&str, &str)]) -> Result<S3Identity, BlobError> {
        S3Identity::find(&|name| {
            if name == "HOME" {
                return Some(home.path().to_str().unwrap().to_owned());
            }
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn keys(key_id: &str, secret: &str, token: Option<&str>) -> S3Credentials {
        S3Credentials::Keys {
            key_id: key_id.to_owned(),
            secret: secret.to_owned(),
            token: token.map(str::to_owned),
        }
    }

    const CREDENTIALS: &str = "\u{feff}# mine\n[default]\naws_access_key_id = AK1\r\naws_secret_access_key=S/1=+\n\n[ other ]\nAWS_ACCESS_KEY_ID=AK2\naws_secret_access_key = S2\naws_session_token = T2\n[half]\naws_access_key_id = AK3\n";
    const CONFIG: &str = "[default]\nregion = eu-central-1\ns3 =\n  region = no\n[profile other]\nregion=eu-west-9\n[profile sso]\nsso_session = x\n";

    #[test]
    fn variables_come_first_then_the_profile_then_the_machine() {
        let home = home(Some(CREDENTIALS), Some(CONFIG));
        let both = [
            ("AWS_ACCESS_KEY_ID", "AKE"),
            ("AWS_SECRET_ACCESS_KEY", "SE"),
            ("AWS_SESSION_TOKEN", "TE"),
        ];
        let found = find(&home, &both).unwrap();
        assert_eq!(found.credentials, keys("AKE", "SE", Some("TE")));
        assert_eq!(found.region.as_deref(), Some("eu-central-1"));

        let found = find(&home, &[("AWS_REGION", "us-west-2")]).unwrap();
        assert_eq!(found.credentials, keys("AK1", "S/1=+", None));
        assert_eq!(found.region.as_deref(), Some("us-west-2"));

        let found = find(&home, &[("AWS_PROFILE", "other")]).unwrap();
        assert_eq!(found.credentials, keys("AK2", "S2", Some("T2")));
        assert_eq!(found.region.as_deref(), Some("eu-west-9"));

        let empty = self::home(None, None);
        let found = find(&empty, &[("AWS_ACCESS_KEY_ID", "")]).unwrap();
        assert_eq!(
            found,
            S3Identity {
                credentials: S3Credentials::MachineRole,
                region: None
            }
        );
    }

    #[test]
    fn half_a_pair_and_unknown_profiles_are_named() {
        let home = home(Some(CREDENTIALS), Some(CONFIG));
        for (variables, kind, words) in [
            (
                vec![("AWS_ACCESS_KEY_ID", "x")],
                BlobErrorKind::Denied,
                "AWS_SECRET_ACCESS_KEY",
            ),
            (
                vec![("AWS_SECRET_ACCESS_KEY", "hush")],
                BlobErrorKind::Denied,
                "AWS_ACCESS_KEY_ID",
            ),
            (
                vec![("AWS_PROFILE", "half")],
                BlobErrorKind::Denied,
                "aws_secret_access_key",
            ),
            (vec![("AWS_PROFILE", "none")], BlobErrorKind::Denied, "none"),
            (
                vec![("AWS_PROFILE", "sso")],
                BlobErrorKind::Unsupported,
                "sso",
            ),
        ] {
            let error = find(&home, &variables).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(words), "{error}");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }

    #[test]
    fn files_may_lie_elsewhere() {
        let home = home(None, None);
        let path = home.path().join("keys");
        fs::write(
            &path,
            "[default]\naws_access_key_id=A\naws_secret_access_key=B\n",
        )
        .unwrap();
        let found = find(
            &home,
            &[("AWS_SHARED_CREDENTIALS_FILE", path.to_str().unwrap())],
        )
        .unwrap();
        assert_eq!(found.credentials, keys("A", "B", None));
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", keys("AK1", "hush", Some("quiet")));
        assert!(
            shown.contains("AK1") && !shown.contains("hush") && !shown.contains("quiet"),
            "{shown}"
        );
    }
}
