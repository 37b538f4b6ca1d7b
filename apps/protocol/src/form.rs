//! `application/x-www-form-urlencoded` bodies.

use std::fmt::Write as _;

/// Fields of a form, in their order.
pub type Fields = Vec<(String, String)>;

/// Returns the fields as a body.
pub fn encode(fields: &[(String, String)]) -> String {
    let mut body = String::new();
    for (name, value) in fields {
        if !body.is_empty() {
            body.push('&');
        }
        escape(name, &mut body);
        body.push('=');
        escape(value, &mut body);
    }
    body
}

/// Reads the fields of a body; never fails, for every body is a form.
pub fn decode(body: &str) -> Fields {
    let pairs = body.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(name), unescape(value))
        })
        .collect()
}

fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => {
                out.push(byte as char)
            }
            b' ' => out.push('+'),
            _ => write!(out, "%{byte:02X}").expect("writing to memory does not fail"),
        }
    }
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = bytes
            .get(at + 1..at + 3)
            .filter(|_| byte == b'%')
            .and_then(hex_byte);
        plain.push(escaped.unwrap_or(if byte == b'+' { b' ' } else { byte }));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (high, low) = (digit(*digits.first()?)?, digit(*digits.get(1)?)?);
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_written_as_browsers_write_it() {
        let fields = [("result_json".to_owned(), "{\"a b\":\"ä&+%\"}".to_owned())];
        assert_eq!(
            encode(&fields),
            "result_json=%7B%22a+b%22%3A%22%C3%A4%26%2B%25%22%7D"
        );
        assert_eq!(decode(&encode(&fields)), fields);
    }

    #[test]
    fn a_broken_form_is_read_as_far_as_it_makes_sense() {
        let fields = decode("&a&b=%&c=%4&d=%zz&=e&f=%ff");
        let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "d", "", "f"]);
        assert_eq!(fields[5].1, "\u{fffd}");
    }
}
