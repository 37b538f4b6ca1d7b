//! The certificate that callers are shown: read from its files, and again when they change.

use std::path::{Path, PathBuf};

use axum_server::tls_rustls::RustlsConfig;

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {source}")]
pub struct CertificateError {
    doing: String,
    source: std::io::Error,
}

/// What came of another look at the files.
#[derive(Debug)]
pub enum Looked {
    /// They are as they were at the last look.
    Same,
    /// They changed, and new callers are shown the new certificate.
    Renewed,
}

/// A certificate in use, and where it comes from.
#[derive(Debug)]
pub struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    config: RustlsConfig,
    /// What the files held at the last look, usable or not.
    seen: (Vec<u8>, Vec<u8>),
}

impl Certificate {
    /// Reads a certificate with its chain, and its key; both PEM.
    ///
    /// # Errors
    /// If a file cannot be read, holds something else, or the key is not the certificate's.
    pub async fn load(cert: PathBuf, key: PathBuf) -> Result<Self, CertificateError> {
        let seen = read(&cert, &key).await?;
        let config = RustlsConfig::from_pem(seen.0.clone(), seen.1.clone())
            .await
            .map_err(|source| unusable(&cert, &key, source))?;
        Ok(Self {
            cert,
            key,
            config,
            seen,
        })
    }

    /// Returns what callers are served with; it follows when the certificate is renewed.
    pub fn config(&self) -> RustlsConfig {
        self.config.clone()
    }

    /// Looks at the files again, and takes what they hold if it is new and good. Callers who are connected stay so.
    ///
    /// # Errors
    /// If they cannot be read, or hold nothing usable: the certificate stays as it was. Of what stays unusable is told
    /// once, of files that cannot be read each time.
    pub async fn look_again(&mut self) -> Result<Looked, CertificateError> {
        let found = read(&self.cert, &self.key).await?;
        if found == self.seen {
            return Ok(Looked::Same);
        }
        let (cert, key) = found.clone();
        self.seen = found;
        self.config
            .reload_from_pem(cert, key)
            .await
            .map_err(|source| unusable(&self.cert, &self.key, source))?;
        Ok(Looked::Renewed)
    }
}

async fn read(cert: &Path, key: &Path) -> Result<(Vec<u8>, Vec<u8>), CertificateError> {
    let paths = (cert.to_owned(), key.to_owned());
    let read = move || {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| CertificateError {
                doing: format!("reading {}", path.display()),
                source,
            })
        };
        Ok((read(&paths.0)?, read(&paths.1)?))
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(read) => read,
        Err(ended) => Err(CertificateError {
            doing: format!("reading {}", cert.display()),
            source: std::io::Error::other(ended),
        }),
    }
}

fn unusable(cert: &Path, key: &Path, source: std::io::Error) -> CertificateError {
    CertificateError {
        doing: format!(
            "using the certificate {} with the key {}",
            cert.display(),
            key.display()
        ),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    struct Made {
        cert: String,
        key: String,
    }

    fn made() -> Made {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        Made {
            cert: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        }
    }

    #[tokio::test]
    async fn a_renewed_certificate_is_taken_and_a_bad_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (cert, key) = (folder.path().join("cert"), folder.path().join("key"));
        let (old, new) = (made(), made());
        std::fs::write(&cert, &old.cert).expect("written");
        std::fs::write(&key, &new.key).expect("written");
        let refused = Certificate::load(cert.clone(), key.clone()).await;
        refused.expect_err("the key is another's");
        std::fs::write(&key, &old.key).expect("written");
        let mut certificate = Certificate::load(cert.clone(), key.clone())
            .await
            .expect("fit");
        let in_use = certificate.config();
        let first = in_use.get_inner();
        assert!(matches!(certificate.look_again().await, Ok(Looked::Same)));

        // Half of the renewal is there, or none of it: the old one stays, and that is told once.
        for half in [Some(new.cert.as_str()), Some("nonsense"), None] {
            match half {
                Some(text) => std::fs::write(&cert, text).expect("written"),
                None => std::fs::remove_file(&cert).expect("removed"),
            }
            let error = certificate.look_again().await.expect_err("not usable");
            assert!(error.to_string().contains("cert"), "{error}");
            assert!(Arc::ptr_eq(&first, &in_use.get_inner()));
            if half.is_some() {
                assert!(matches!(certificate.look_again().await, Ok(Looked::Same)));
            }
        }
        std::fs::write(&cert, &new.cert).expect("written");
        std::fs::write(&key, &new.key).expect("written");
        assert!(matches!(
            certificate.look_again().await,
            Ok(Looked::Renewed)
        ));
        assert!(!Arc::ptr_eq(&first, &in_use.get_inner()));
    }
}
