//! Rust source as text: what is code, what is comment or string; words; attributes.
//!
//! Just enough of Rust's lexical rules to keep a word in a comment from being taken for code.

/// Returns the source with comments, strings and characters blanked out byte by byte, so that
/// offsets and lines stay what they were.
pub fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => block_comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if !in_word(bytes, at) => raw_string_end(bytes, at).unwrap_or(at),
            b'\'' => character_end(source, at).unwrap_or(at),
            _ => at,
        };
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(code).expect("only whole characters are blanked, with ASCII")
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .position(|&byte| byte == b'\n')
        .map_or(bytes.len(), |length| at + length)
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Tells whether the letter at `at` continues a word; the prefixes `b` and `c` of a raw string
/// do not count.
fn in_word(bytes: &[u8], at: usize) -> bool {
    let is_word = |at: usize| bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_';
    match at.checked_sub(1) {
        Some(before) if matches!(bytes[before], b'b' | b'c') => {
            before.checked_sub(1).is_some_and(is_word)
        }
        Some(before) => is_word(before),
        None => false,
    }
}

/// Returns the end of the raw string that starts with the `r` at `start`, if one does.
fn raw_string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let hashes = bytes[start + 1..]
        .iter()
        .take_while(|&&byte| byte == b'#')
        .count();
    let open = start + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(1 + hashes, b'#');
    let inside = &bytes[open + 1..];
    let length = inside
        .windows(close.len())
        .position(|window| window == close);
    Some(length.map_or(bytes.len(), |length| open + 1 + length + close.len()))
}

/// Returns the end of the character that starts with the quote at `start`; a lifetime has none.
fn character_end(source: &str, start: usize) -> Option<usize> {
    let rest = &source[start + 1..];
    let mut characters = rest.char_indices();
    let (_, first) = characters.next()?;
    if first == '\\' {
        characters.next()?;
        let (close, _) = characters.find(|&(_, character)| character == '\'')?;
        return Some(start + 1 + close + 1);
    }
    let (close, second) = characters.next()?;
    (second == '\'').then_some(start + 1 + close + 1)
}

/// Returns the words of a text with their offsets: names, keywords, numbers.
pub fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let base = text.as_ptr() as usize;
    text.split(|character: char| !character.is_alphanumeric() && character != '_')
        .filter(|word| !word.is_empty())
        .map(move |word| (word.as_ptr() as usize - base, word))
}

/// Returns the attributes of code (already without comments and strings), outer and inner: the
/// offset of their `#` and the text between the brackets.
pub fn attributes(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices('#') {
        let after = code[start + 1..].trim_start();
        let after = after.strip_prefix('!').unwrap_or(after).trim_start();
        if !after.starts_with('[') {
            continue;
        }
        let open = code.len() - after.len();
        if let Some(close) = closing(code, open) {
            found.push((start, &code[open + 1..close]));
        }
    }
    found
}

/// Returns the offset of the bracket that closes the one at `open`.
pub fn closing(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (offset, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(offset);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_characters_are_blanked_and_code_is_kept() {
        let table = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("x \" y", g)"#, "f(        , g)"),
            ("r#\"a \" b\"# c", "           c"),
            ("br\"x\" c", "b     c"),
            ("r#type x", "r#type x"),
            ("bar\"x\" y", "bar    y"),
            ("'a' 'b 'c", "    'b 'c"),
            ("'\\'' x '\"' y", "     x     y"),
            ("'ä' x", "     x"),
            ("<'a>(x: &'a str)", "<'a>(x: &'a str)"),
            ("\"unclosed", "         "),
        ];
        for (source, code) in table {
            assert_eq!(code_only(source), code, "{source}");
        }
    }

    #[test]
    fn words_are_whole() {
        let found: Vec<_> = words("unsafe_code, unsafe {x}").collect();
        assert_eq!(found, [(0, "unsafe_code"), (13, "unsafe"), (21, "x")]);
    }

    #[test]
    fn attributes_end_at_their_own_bracket() {
        let found = attributes("#![a(b[1])] #[c] x # [d] a[1]");
        assert_eq!(found, [(0, "a(b[1])"), (12, "c"), (19, "d")]);
    }
}
