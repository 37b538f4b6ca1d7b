//! Enough of HTTP/1.1 for one server in a test: requests with a length, answers with a length, and
//! connections that stay open.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use crate::record::Call;
use crate::reply::Reply;

const LINE_BYTES_MAX: u64 = 64 * 1024;
const BODY_BYTES_MAX: usize = 64 << 20;

/// Reads the next request; `None` when the other side is done.
pub(crate) fn read_call(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Call>> {
    let Some(first) = read_line(reader)? else {
        return Ok(None);
    };
    let mut words = first.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(io::Error::other("no request line"));
    };
    let mut headers = BTreeMap::new();
    loop {
        let line = read_line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let body = read_body(reader, &headers)?;
    Ok(Some(Call::new(method.to_owned(), target, headers, body)))
}

fn read_body(
    reader: &mut BufReader<TcpStream>,
    headers: &BTreeMap<String, String>,
) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if headers
        .get("transfer-encoding")
        .is_some_and(|it| it.contains("chunked"))
    {
        loop {
            let line = read_line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let length = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            read_exactly(reader, length, &mut body)?;
            read_line(reader)?;
            if length == 0 {
                return Ok(body);
            }
        }
    }
    let length = headers
        .get("content-length")
        .map_or(Ok(0), |text| text.parse());
    read_exactly(reader, length.map_err(io::Error::other)?, &mut body)?;
    Ok(body)
}

fn read_exactly(
    reader: &mut BufReader<TcpStream>,
    length: usize,
    body: &mut Vec<u8>,
) -> io::Result<()> {
    if length > BODY_BYTES_MAX {
        return Err(io::Error::other("a body that is too long"));
    }
    let begin = body.len();
    body.resize(begin + length, 0);
    reader.read_exact(&mut body[begin..])
}

fn read_line(reader: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    reader
        .by_ref()
        .take(LINE_BYTES_MAX)
        .read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&line);
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Sends an answer, or only its first half.
pub(crate) fn write_reply(stream: &mut TcpStream, reply: &Reply, whole: bool) -> io::Result<()> {
    let mut head = format!(
        "HTTP/1.1 {} {}\r\n",
        reply.http_status,
        reason(reply.http_status)
    );
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", reply.body.len()));
    stream.write_all(head.as_bytes())?;
    let sent = if whole {
        reply.body.len()
    } else {
        reply.body.len() / 2
    };
    stream.write_all(&reply.body[..sent])?;
    stream.flush()
}

fn reason(http_status: u16) -> &'static str {
    match http_status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Content Too Large",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        _ => "Other",
    }
}
