//! Where a run's repository is, and what may open it: pure functions of what the control plane
//! sends (control-plane API 9.1, 9.2).

use std::path::PathBuf;

use blob::{Location, S3Location};
use fault::Fault;
use protocol::SecretText;
use protocol::next_run::Destination as Sent;

use crate::config::Config;
use crate::credentials::{Credentials, S3Keys};

/// A destination that cannot be used as it was sent.
pub type DestinationError = Fault<()>;

/// A destination that can be opened.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Where it is.
    pub location: Location,
    /// The keys of its bucket.
    pub keys: Option<S3Keys>,
    /// What the control plane calls the repository, if it has a name for it.
    pub repository_id: Option<String>,
    bucket: String,
    sent_password: SecretText,
}

impl Destination {
    /// Returns the destination that was sent, or says what is missing. The configuration says which
    /// server is meant where none is named.
    pub fn of(sent: &Sent, config: &Config) -> Result<Self, DestinationError> {
        let refuse = |what: &str| Err(DestinationError::new((), what));
        let (id, key) = (&sent.dest_access_key, &sent.dest_secret_key);
        let keys = match id.is_empty() || key.is_empty() {
            true => None,
            false => Some(S3Keys {
                access_key_id: id.reveal().to_owned(),
                secret_access_key: key.reveal().to_owned(),
            }),
        };
        let location = match sent.dest_type.as_str() {
            _ if sent.is_local() && sent.dest_local_path.is_empty() => {
                return refuse(
                    "find the destination: the job names no folder for its repository; choose one in the job",
                );
            }
            _ if sent.is_local() => folder(&sent.dest_local_path)?,
            "s3" | "" if sent.dest_bucket_name.is_empty() => {
                return refuse(
                    "find the destination: the control plane names no bucket; choose one in the job",
                );
            }
            "s3" | "" if keys.is_none() => {
                return refuse(
                    "open the destination: the control plane sent no storage keys (it may not have been able to decrypt them); make new keys for the bucket's user",
                );
            }
            "s3" | "" => bucket_location(sent, config)?,
            other => {
                return refuse(&format!(
                    "open the destination: {other:?} is no kind of destination that this version knows"
                ));
            }
        };
        Ok(Self {
            location,
            keys,
            repository_id: sent.repository_id.clone().filter(|id| !id.is_empty()),
            bucket: sent.dest_bucket_name.clone(),
            sent_password: sent.repository_password.clone().unwrap_or_default(),
        })
    }

    /// Returns the destination at a place that is known, which is reached with these keys.
    pub fn known(location: Location, bucket: String, keys: Option<S3Keys>) -> Self {
        Self {
            location,
            keys,
            repository_id: None,
            bucket,
            sent_password: SecretText::default(),
        }
    }

    /// Returns the passwords that may open the repository, the likeliest first: what opened it
    /// before, what the control plane sends, and what the older agent made of the keys.
    pub fn candidates(&self, remembered: Option<&Credentials>) -> Vec<SecretText> {
        let mut candidates: Vec<SecretText> = Vec::new();
        let mut add = |candidate: SecretText| {
            if !candidate.is_empty() && !candidates.contains(&candidate) {
                candidates.push(candidate);
            }
        };
        if let Some(remembered) = remembered {
            add(SecretText::new(remembered.password.clone()));
        }
        add(self.sent_password.clone());
        let earlier = remembered.and_then(|it| it.s3_keys.as_ref());
        for keys in self.keys.as_ref().into_iter().chain(earlier) {
            add(self.of_keys(keys));
        }
        candidates
    }

    /// Returns the password of a repository that is new here.
    pub fn first_password(&self) -> Option<SecretText> {
        if !self.sent_password.is_empty() {
            return Some(self.sent_password.clone());
        }
        self.keys.as_ref().map(|keys| self.of_keys(keys))
    }

    fn of_keys(&self, keys: &S3Keys) -> SecretText {
        let (id, key) = (&keys.access_key_id, &keys.secret_access_key);
        SecretText::new(format!("{}:{id}:{key}", self.bucket))
    }

    /// Returns the secrets in it.
    pub fn secrets(&self) -> impl Iterator<Item = SecretText> {
        let keys = self.keys.iter();
        let keys = keys.map(|keys| SecretText::new(keys.secret_access_key.clone()));
        keys.chain([self.sent_password.clone()])
    }
}

fn bucket_location(sent: &Sent, config: &Config) -> Result<Location, DestinationError> {
    let named = |sent: &str, default: &str| match sent.trim() {
        "" => default.trim().to_owned(),
        named => named.to_owned(),
    };
    let endpoint = named(&sent.dest_endpoint, &config.dest_endpoint);
    let endpoint = endpoint.trim_end_matches('/');
    let endpoint = match endpoint.contains("://") || endpoint.is_empty() {
        true => endpoint.to_owned(),
        false => format!("https://{endpoint}"),
    };
    let region = named(&sent.dest_region, &config.dest_region);
    let location = S3Location {
        bucket: sent.dest_bucket_name.clone(),
        prefix: sent.blob_prefix(),
        endpoint: Some(endpoint).filter(|it| !it.is_empty()),
        region: Some(region).filter(|it| !it.is_empty()),
        style: None,
        ca: None,
        insecure: false,
    };
    // What is no place of a bucket is told here, and not by the server.
    location.to_string().parse().map_err(unusable)
}

fn folder(path: &str) -> Result<Location, DestinationError> {
    if !PathBuf::from(path).is_absolute() {
        let what = format!("open the destination: {path:?} is no whole path of a folder");
        return Err(DestinationError::new((), what));
    }
    path.parse().map_err(unusable)
}

fn unusable(error: blob::BlobError) -> DestinationError {
    DestinationError::new((), "open the destination").caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent() -> Sent {
        Sent {
            dest_type: "s3".to_owned(),
            dest_bucket_name: "e3cb-ab".to_owned(),
            dest_prefix: "/7d1c/".to_owned(),
            dest_endpoint: "s3.example.net".to_owned(),
            dest_access_key: SecretText::new("AK"),
            dest_secret_key: SecretText::new("SK"),
            ..Sent::default()
        }
    }

    fn resolved(sent: &Sent) -> Result<Destination, DestinationError> {
        Destination::of(sent, &Config::default())
    }

    #[test]
    fn a_bucket_is_found_however_it_is_written() {
        let place = |sent: Sent| resolved(&sent).unwrap().location;
        let text = place(sent()).to_string();
        assert_eq!(text, "s3://e3cb-ab/7d1c?endpoint=https://s3.example.net");
        let plain = Sent {
            dest_prefix: String::new(),
            dest_endpoint: "http://127.0.0.1:9000/".to_owned(),
            dest_region: "eu".to_owned(),
            ..sent()
        };
        let text = place(plain).to_string();
        assert_eq!(
            text,
            "s3://e3cb-ab?endpoint=http://127.0.0.1:9000&region=eu"
        );
        let without = Sent {
            dest_endpoint: String::new(),
            ..sent()
        };
        assert!(place(without).to_string().contains("eazybackup.com"));
    }

    #[test]
    fn what_is_missing_is_told() {
        let told = |sent: Sent| resolved(&sent).unwrap_err().to_string();
        let no_keys = Sent {
            dest_secret_key: SecretText::default(),
            ..sent()
        };
        assert!(told(no_keys).contains("sent no storage keys"));
        for (kind, words) in [
            ("local", "names no folder"),
            ("tape", "\"tape\" is no kind"),
        ] {
            let sent = Sent {
                dest_type: kind.to_owned(),
                ..sent()
            };
            let told = told(sent);
            assert!(told.contains(words), "{told}");
        }
    }

    #[test]
    fn candidates_come_in_the_order_of_their_likelihood_and_each_once() {
        let destination = Sent {
            repository_password: Some(SecretText::new("b")),
            ..sent()
        };
        let destination = resolved(&destination).unwrap();
        let old = S3Keys {
            access_key_id: "OLD".to_owned(),
            secret_access_key: "KEY".to_owned(),
        };
        let known = Credentials::new(&destination.location, "c", Some(old));
        let texts = |known: Option<&Credentials>| -> Vec<String> {
            let candidates = destination.candidates(known);
            candidates.iter().map(|it| it.reveal().to_owned()).collect()
        };
        let all = ["c", "b", "e3cb-ab:AK:SK", "e3cb-ab:OLD:KEY"];
        assert_eq!(texts(Some(&known)), all);
        assert_eq!(texts(None), ["b", "e3cb-ab:AK:SK"]);
        let first = destination.first_password().unwrap();
        assert_eq!(first.reveal(), "b");
        let legacy = resolved(&sent()).unwrap().first_password().unwrap();
        assert_eq!(legacy.reveal(), "e3cb-ab:AK:SK");
    }
}
