//! Mail over TLS: the real program and a mail server with a certificate, which the program's machine trusts or not.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use control_plane::store::Store;
use control_plane::store::entity::{alarm_channel, delivery, tenant};
use control_plane::store::settings::SMTP;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sea_orm::{ActiveModelTrait as _, ActiveValue::NotSet, ActiveValue::Set, EntityTrait as _};
use serde_json::json;

use crate::program::{LOOKS, Program};

/// How the mail server keeps its connections private.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Privacy {
    /// From the first byte.
    Wrapped,
    /// After it was asked to.
    Upgraded,
    /// It cannot.
    None,
}

/// A mail server for `localhost`.
struct MailServer {
    port: u16,
    /// Its certificate, PEM.
    certificate: String,
    /// What it was sent, once the connection was private.
    inbox: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    fn start(privacy: Privacy) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a certificate and its key");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let inbox = Arc::<Mutex<Vec<String>>>::default();
        let taken = inbox.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (config, taken) = (config.clone(), taken.clone());
                // Callers that do not trust it hang up.
                std::thread::spawn(move || serve(connection, privacy, config, &taken));
            }
        });
        Self {
            port,
            certificate: made.cert.pem(),
            inbox,
        }
    }

    fn mails(&self) -> Vec<String> {
        self.inbox.lock().expect("whole").clone()
    }
}

fn serve(
    mut connection: TcpStream,
    privacy: Privacy,
    config: Arc<ServerConfig>,
    inbox: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    if privacy == Privacy::None {
        return talk(connection, true, inbox);
    }
    if privacy == Privacy::Upgraded {
        connection.write_all(b"220 test\r\n")?;
        let mut line = String::new();
        let mut lines = BufReader::new(connection.try_clone()?);
        while !line.starts_with("STARTTLS") {
            line.clear();
            lines.read_line(&mut line)?;
            connection.write_all(match line.split_whitespace().next() {
                Some("EHLO") => b"250-test\r\n250 STARTTLS\r\n",
                Some("STARTTLS") => b"220 go on\r\n",
                _ => return connection.write_all(b"530 not in the clear\r\n"),
            })?;
        }
    }
    let server = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let greets = privacy == Privacy::Wrapped;
    talk(StreamOwned::new(server, connection), greets, inbox)
}

/// Takes one mail.
fn talk(
    mut connection: impl Read + Write,
    greets: bool,
    inbox: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    if greets {
        connection.write_all(b"220 test\r\n")?;
    }
    let mut said = Vec::new();
    let mut is_data = false;
    let mut byte = [0];
    loop {
        while !said.ends_with(if is_data {
            b"\r\n.\r\n"
        } else {
            b"\r\n".as_slice()
        }) {
            connection.read_exact(&mut byte)?;
            said.push(byte[0]);
        }
        let text = String::from_utf8_lossy(&std::mem::take(&mut said)).into_owned();
        if std::mem::take(&mut is_data) {
            inbox.lock().expect("whole").push(text);
            connection.write_all(b"250 taken\r\n")?;
            continue;
        }
        is_data = text.starts_with("DATA");
        connection.write_all(match &*text {
            "DATA\r\n" => b"354 go on\r\n",
            "QUIT\r\n" => return connection.write_all(b"221 bye\r\n"),
            _ => b"250 fine\r\n".as_slice(),
        })?;
        connection.flush()?;
    }
}

/// Lays a database out whose only message is due, and returns it.
async fn message_due(data: &Path, tls: &str, port: u16) -> Store {
    std::fs::create_dir_all(data).expect("a folder");
    let store = Store::in_folder(data).await.expect("a database");
    let smtp = json!({"host": "localhost", "port": port, "tls": tls, "username": "",
        "from": "backup@example.com"});
    let db = store.db();
    store
        .set_setting(db, SMTP, &smtp.to_string())
        .await
        .expect("set");
    let ids = [
        "0195d2a4-0000-7000-8000-00000000000a",
        "0195d2a4-0000-7000-8000-00000000000b",
    ];
    let [tenant_id, channel_id] = ids.map(str::to_owned);
    tenant::ActiveModel {
        id: Set(tenant_id.clone()),
        name: Set("Example".to_owned()),
        time_zone: Set("UTC".to_owned()),
        created_at: Set(0),
    }
    .insert(db)
    .await
    .expect("a tenant");
    alarm_channel::ActiveModel {
        id: Set(channel_id.clone()),
        tenant_id: Set(tenant_id.clone()),
        name: Set("Admins".to_owned()),
        kind: Set("email".to_owned()),
        config_json: Set(json!({"addresses": ["ann@example.com"]}).to_string()),
        secret_sealed: Set(None),
        min_severity: Set("warning".to_owned()),
        quiet_hours_json: Set(String::new()),
        summary_at: Set(String::new()),
        last_summary_on: Set(String::new()),
        is_enabled: Set(true),
        created_at: Set(0),
    }
    .insert(db)
    .await
    .expect("a channel");
    let message = json!({"kind": "test", "subject": "Over TLS", "tenant_id": tenant_id,
        "tenant_name": "Example", "url": "", "opened": [], "resolved": []});
    delivery::ActiveModel {
        id: NotSet,
        tenant_id: Set(tenant_id),
        channel_id: Set(channel_id),
        subject: Set("Over TLS".to_owned()),
        body_json: Set(message.to_string()),
        status: Set("due".to_owned()),
        due_at: Set(0),
        attempts: Set(0),
        error: Set(String::new()),
        created_at: Set(0),
        sent_at: Set(None),
    }
    .insert(db)
    .await
    .expect("a message");
    store
}

/// Has the program send its message to the server, whose certificate its machine trusts or not; returns what went wrong.
async fn sent(server: &MailServer, tls: &str, is_trusted: bool) -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let store = message_due(&data, tls, server.port).await;
    let trusted = folder.path().join("trusted.pem");
    let other = rcgen::generate_simple_self_signed(["elsewhere".to_owned()]).expect("made");
    let pem = match is_trusted {
        true => server.certificate.clone(),
        false => other.cert.pem(),
    };
    std::fs::write(&trusted, pem).expect("written");
    let trusts = format!("export SSL_CERT_FILE='{}';", trusted.display());
    let mut program = Program::new(&data, &[]).after(&trusts);
    program.start();
    program.listening().await;
    for _ in 0..LOOKS {
        let row = delivery::Entity::find().one(store.db()).await;
        let row = row.expect("read").expect("a message");
        match (row.status.as_str(), row.attempts) {
            ("sent", _) => return None,
            (_, 1..) if !row.error.is_empty() => return Some(row.error),
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    panic!("nothing was sent: {}", program.log());
}

#[tokio::test]
async fn mail_goes_over_tls_to_who_is_trusted_and_never_in_the_clear_instead() {
    let wrapped = MailServer::start(Privacy::Wrapped);
    let upgraded = MailServer::start(Privacy::Upgraded);
    for (server, tls) in [(&wrapped, "tls"), (&upgraded, "starttls")] {
        assert_eq!(sent(server, tls, true).await, None, "{tls}");
        let mails = server.mails();
        assert_eq!(mails.len(), 1, "{tls}: {mails:?}");
        assert!(mails[0].contains("Subject: Over TLS"), "{mails:?}");
        let error = sent(server, tls, false).await.expect("refused");
        assert!(error.contains("certificate"), "{tls}: {error}");
        assert_eq!(server.mails().len(), 1, "{tls}");
    }
    let clear = MailServer::start(Privacy::None);
    let error = sent(&clear, "starttls", true).await.expect("refused");
    assert!(error.contains("STARTTLS"), "{error}");
    assert!(clear.mails().is_empty());
}
