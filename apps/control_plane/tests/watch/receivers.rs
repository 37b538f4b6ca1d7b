//! A mail server and a receiver of webhooks, as small as can be, on real sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What was posted: headers, in lower case, and the body.
pub type Post = (BTreeMap<String, String>, Vec<u8>);

/// Takes every mail. Returns where, and what came.
pub async fn mails() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let inbox = Arc::<Mutex<Vec<String>>>::default();
    let taken = inbox.clone();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(take_mail(connection, taken.clone()));
        }
    });
    (address, inbox)
}

async fn take_mail(connection: TcpStream, inbox: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    let (read, mut write) = connection.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 test\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let word = line
            .split([' ', ':'])
            .next()
            .unwrap_or_default()
            .to_uppercase();
        match word.as_str() {
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                let mut mail = String::new();
                while let Some(line) = lines.next_line().await? {
                    if line == "." {
                        break;
                    }
                    mail.push_str(&line);
                    mail.push('\n');
                }
                inbox.lock().expect("whole").push(mail);
                write.write_all(b"250 taken\r\n").await?;
            }
            "QUIT" => {
                write.write_all(b"221 bye\r\n").await?;
                break;
            }
            _ => write.write_all(b"250 fine\r\n").await?,
        }
    }
    Ok(())
}

/// Takes posts and answers them by these statuses, one after the other; further ones by 503.
pub async fn posts(statuses: Vec<u16>) -> (SocketAddr, Arc<Mutex<Vec<Post>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let calls = Arc::<Mutex<Vec<Post>>>::default();
    let taken = calls.clone();
    tokio::spawn(async move {
        let mut statuses = statuses.into_iter();
        while let Ok((connection, _)) = listener.accept().await {
            let status = statuses.next().unwrap_or(503);
            // A caller that goes away is no trouble of the test's.
            if let Ok(post) = take_post(connection, status).await {
                taken.lock().expect("whole").push(post);
            }
        }
    });
    (address, calls)
}

async fn take_post(connection: TcpStream, status: u16) -> std::io::Result<Post> {
    let mut connection = BufReader::new(connection);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).await?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ") {
            headers.insert(name.to_lowercase(), value.to_owned());
        }
    }
    let length = headers.get("content-length").and_then(|it| it.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    connection.read_exact(&mut body).await?;
    let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    connection.write_all(answer.as_bytes()).await?;
    connection.shutdown().await?;
    Ok((headers, body))
}
