//! A message as an e-mail, handed to the installation's mail server.

use std::time::{Duration, UNIX_EPOCH};

use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use super::message::Message;
use crate::plane::Plane;
use crate::store::settings::{Smtp, SmtpTls};

/// How long the mail server may take for each answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Reads an address, such as `admin@example.com` or `Admin <admin@example.com>`.
pub fn mailbox(address: &str) -> Result<Mailbox, String> {
    address
        .parse()
        .map_err(|_| format!("{address} is no e-mail address"))
}

/// Sends a message to some addresses. What went wrong is told in words.
pub async fn send(plane: &Plane, message: &Message, addresses: &[String]) -> Result<(), String> {
    let db = plane.store.db();
    let trouble = |error: sea_orm::DbErr| format!("reading the settings: {error}");
    let Some(smtp) = plane.store.smtp(db).await.map_err(trouble)? else {
        return Err(
            "no mail server is set up; enter one in the installation's settings".to_owned(),
        );
    };
    let password = plane
        .store
        .smtp_password(db, &plane.sealing)
        .await
        .map_err(trouble)?
        .map_err(|error| error.to_string())?;
    let mail = mail(plane, message, &smtp, addresses)?;
    let credentials = (!smtp.username.is_empty()).then(|| {
        Credentials::new(
            smtp.username.clone(),
            password.map(|it| it.to_string()).unwrap_or_default(),
        )
    });
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host)
        .port(smtp.port)
        .tls(privacy(&smtp)?)
        .timeout(Some(ANSWER_MAX));
    if let Some(credentials) = credentials {
        transport = transport.credentials(credentials);
    }
    transport
        .build()
        .send(mail)
        .await
        .map(|_| ())
        .map_err(|error| format!("the mail server {}: {}", smtp.host, causes(&error)))
}

fn mail(
    plane: &Plane,
    message: &Message,
    smtp: &Smtp,
    addresses: &[String],
) -> Result<lettre::Message, String> {
    let seconds = plane.clock.now().as_second().max(0).cast_unsigned();
    let domain = smtp.from.rsplit('@').next().unwrap_or_default();
    let domain = domain.trim_end_matches('>');
    let mut builder = lettre::Message::builder()
        .from(mailbox(&smtp.from)?)
        .subject(&message.subject)
        .date(UNIX_EPOCH + Duration::from_secs(seconds))
        .message_id(Some(format!("<{}@{domain}>", plane.new_id())));
    for address in addresses {
        builder = builder.to(mailbox(address)?);
    }
    builder
        .multipart(MultiPart::alternative_plain_html(
            message.text(),
            message.html(),
        ))
        .map_err(|error| format!("putting the mail together: {error}"))
}

fn privacy(smtp: &Smtp) -> Result<Tls, String> {
    let parameters = || {
        TlsParameters::new(smtp.host.clone())
            .map_err(|error| format!("setting up TLS for {}: {error}", smtp.host))
    };
    Ok(match smtp.tls {
        SmtpTls::Starttls => Tls::Required(parameters()?),
        SmtpTls::Tls => Tls::Wrapper(parameters()?),
        SmtpTls::None => Tls::None,
    })
}

/// Returns an error and what caused it, in a line.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
