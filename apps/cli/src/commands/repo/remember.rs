//! `repo remember`: a repository's password, kept on this machine.

use agent::credentials::{Credentials, S3Keys};
use blob::Location;
use clap::Args;
use serde_json::json;

use crate::answer::Answer;
use crate::credentials;
use crate::failure::{Failure, FailureKind};
use crate::repositories::RepoArguments;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent repo remember --repo /srv/backup                        asks for the password
  e3-backup-agent repo remember --repo /srv/backup --password-file FILE   takes it from a file
  e3-backup-agent repo remember --repo s3://bucket/web01 --with-s3-keys   and keys from AWS variables

From then on every command finds the password of this repository when nothing else is given. The
order is: --password-file, E3_REPO_PASSWORD, what is remembered, the question. Remembered keys of S3
come after the AWS variables and before ~/.aws/credentials. Nothing is remembered that does not open
the repository. The repository is found again as it is named here; other ways to reach the same
bucket count as the same, links to the same folder do not.

It is kept in the state folder, in a file that whoever runs this may read and nobody else (mode 0600
in a folder of mode 0700); one that others could read is refused. Root reads it, and so does whoever
has the disk or a backup of that folder: leave `credentials` out of backups. On Windows it is
protected by the machine's own key, for SYSTEM and Administrators. A timer or service finds it if
it runs as the same user with the same --state-dir. `repo forget` deletes it.")]
pub struct Remember {
    #[command(flatten)]
    repo: RepoArguments,
    /// Remember AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, too.
    #[arg(long)]
    with_s3_keys: bool,
}

impl Remember {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let location = self.repo.location()?;
        let keeper = credentials::keeper(world, &location)?.ok_or_else(|| {
            Failure::new(
                FailureKind::Unsupported,
                "failed to remember the password: this system's protection is not supported yet; give --password-file or E3_REPO_PASSWORD",
            )
        })?;
        let new_keys = match self.with_s3_keys {
            true => Some(s3_keys(&location, &|name| std::env::var(name).ok())?),
            false => None,
        };
        let password = world.password(&|| Ok(None))?.text;
        self.repo.check_password(world, &password)?;
        // What cannot be read is replaced: that is how such a file is mended.
        let known = keeper.read().ok().flatten();
        let keys = new_keys.or_else(|| known.and_then(|known| known.s3_keys.clone()));
        let has_keys = keys.is_some();
        keeper.keep(&Credentials::new(&location, &password, keys))?;
        let place = keeper.place();
        let text = match has_keys {
            true => format!("the password and the S3 keys of {location} are kept in {place}\n"),
            false => format!("the password of {location} is kept in {place}\n"),
        };
        let document = json!({
            "location": location.to_string(),
            "kept_in": place,
            "s3_keys": has_keys,
        });
        Ok(Answer::new(text, document))
    }
}

/// Returns the keys that the environment names.
fn s3_keys(
    location: &Location,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<S3Keys, Failure> {
    if matches!(location, Location::Folder(_)) {
        return Err(Failure::wrong_usage(
            "a folder has no S3 keys; leave --with-s3-keys out",
        ));
    }
    let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
    if variable("AWS_SESSION_TOKEN").is_some() {
        return Err(Failure::wrong_usage(
            "keys with AWS_SESSION_TOKEN end soon and are not worth remembering; give lasting ones",
        ));
    }
    let wanted = |name: &str| {
        variable(name).ok_or_else(|| {
            Failure::wrong_usage(format!(
                "--with-s3-keys remembers what {name} says, and it is not set"
            ))
        })
    };
    Ok(S3Keys {
        access_key_id: wanted("AWS_ACCESS_KEY_ID")?,
        secret_access_key: wanted("AWS_SECRET_ACCESS_KEY")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(location: &str, variables: &[(&str, &str)]) -> Result<S3Keys, Failure> {
        s3_keys(&location.parse().unwrap(), &|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn only_whole_and_lasting_keys_of_a_bucket_are_taken() {
        let pair = [
            ("AWS_ACCESS_KEY_ID", "AK"),
            ("AWS_SECRET_ACCESS_KEY", "hush"),
        ];
        let found = keys("s3://b", &pair).expect("a pair of keys is enough");
        assert_eq!(found.access_key_id, "AK");
        assert_eq!(found.secret_access_key, "hush");
        let with_token = [pair[0], pair[1], ("AWS_SESSION_TOKEN", "T")];
        let empty = [pair[0], ("AWS_SECRET_ACCESS_KEY", "")];
        for (location, variables) in [
            ("/srv", &pair[..]),
            ("s3://b", &with_token[..]),
            ("s3://b", &pair[..1]),
            ("s3://b", &pair[1..]),
            ("s3://b", &empty[..]),
            ("s3://b", &[][..]),
        ] {
            let refused = keys(location, variables).expect_err("they are refused");
            assert_eq!(refused.kind(), FailureKind::WrongUsage);
            let said = refused.document().to_string();
            assert!(!said.contains("hush"), "{said}");
        }
    }
}
