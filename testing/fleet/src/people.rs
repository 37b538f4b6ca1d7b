//! The people's API, as a program that has a token calls it.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::line::{Answered, Asked, Line};
use crate::started::{LOOK, START_LOOKS};

/// The owner whom [`first_start`] makes.
pub const OWNER: &str = "demo@example.com";

/// Somebody who calls.
#[derive(Debug)]
pub struct Person {
    line: Line,
    headers: Vec<(&'static str, String)>,
}

/// Makes the owner's account on a server that has none, and returns a program that may do what the owner may. `log` is
/// the server's, which says the code that this takes unless it listens at a loopback address.
pub async fn first_start(
    server: SocketAddr,
    log: &Path,
    password: &str,
    tenant: &str,
    time_zone: &str,
) -> anyhow::Result<Person> {
    let mut owner = Person {
        line: Line::to(server, None),
        headers: Vec::new(),
    };
    let about = json!({
        "name": "Demo", "email": OWNER, "password": password,
        "tenant_name": tenant, "time_zone": time_zone, "setup_code": setup_code(log).await?,
    });
    let answered = owner.ask("POST", "/setup", Some(&about)).await?;
    let cookies: Vec<&str> = answered
        .headers
        .iter()
        .filter(|(name, _)| name == "set-cookie")
        .filter_map(|(_, value)| value.split(';').next())
        .collect();
    let cookies = cookies.join("; ");
    let session = document("POST /setup", &answered)?;
    let csrf = session["csrf_token"].as_str().unwrap_or_default();
    owner.headers = vec![("Cookie", cookies), ("X-CSRF-Token", csrf.to_owned())];
    let tenant_id = &session["tenants"][0]["id"];
    let wanted = json!({ "name": "demo", "role": "owner", "tenant_id": tenant_id });
    let token = owner.post("/api-tokens", &wanted).await?;
    let token = token["token"].as_str().context("no token was given")?;
    owner.headers = vec![("Authorization", format!("Bearer {token}"))];
    Ok(owner)
}

/// Returns the code that a server prints to its log a moment after it began to listen.
async fn setup_code(log: &Path) -> anyhow::Result<String> {
    for _ in 0..START_LOOKS {
        let text = std::fs::read_to_string(log)
            .with_context(|| format!("reading the server's log {}", log.display()))?;
        if let Some((_, code)) = text.split_once("the setup code is ") {
            let is_of_code = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '-';
            return Ok(code.chars().take_while(is_of_code).collect());
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("{} names no setup code", log.display())
}

impl Person {
    /// Reads something.
    pub async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        let answered = self.ask("GET", path, None).await?;
        document(path, &answered)
    }

    /// Makes or orders something.
    pub async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answered = self.ask("POST", path, Some(body)).await?;
        document(path, &answered)
    }

    /// Changes something.
    pub async fn patch(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answered = self.ask("PATCH", path, Some(body)).await?;
        document(path, &answered)
    }

    async fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Answered> {
        let path = format!("/api/v1{path}");
        let mut headers = self.headers.clone();
        let mut bytes = Vec::new();
        if let Some(body) = body {
            headers.push(("Content-Type", "application/json".to_owned()));
            bytes = body.to_string().into_bytes();
        }
        let asked = Asked {
            method,
            path: &path,
            headers: &headers,
            body: &bytes,
        };
        let answered = self.line.ask(&asked).await;
        answered.with_context(|| format!("asking for {method} {path}"))
    }
}

fn document(path: &str, answered: &Answered) -> anyhow::Result<Value> {
    if !(200..300).contains(&answered.status) {
        bail!(
            "{path} was answered with {}: {}",
            answered.status,
            String::from_utf8_lossy(&answered.body)
        );
    }
    match answered.body.is_empty() {
        true => Ok(Value::Null),
        false => serde_json::from_slice(&answered.body).with_context(|| format!("reading {path}")),
    }
}
