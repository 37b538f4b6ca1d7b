//! Object paths and literals of WQL (Hyper-V spec 2.4).

/// Returns text as a literal in WQL or as a key's value in an object path, quotes included.
pub fn wql_literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('"');
    for character in text.chars() {
        if matches!(character, '\\' | '"') {
            literal.push('\\');
        }
        literal.push(character);
    }
    literal.push('"');
    literal
}

/// Returns the relative path of the instance of `class` whose `key` is `value`.
pub fn with_key(class: &str, key: &str, value: &str) -> String {
    format!("{class}.{key}={}", wql_literal(value))
}

/// Returns the value of `key` in an object path, relative or whole; none if it has no such key.
pub fn key_of(path: &str, key: &str) -> Option<String> {
    let mut rest = local(path).split_once('.')?.1;
    loop {
        let (name, value) = rest.split_once('=')?;
        let (value, left) = quoted(value)?;
        if name.trim().eq_ignore_ascii_case(key) {
            return Some(value);
        }
        rest = left.strip_prefix(',')?;
    }
}

/// Returns a path without its machine and namespace, in which there may be dots too
/// (`\\.\root\…`, `\\host.domain\root\…`): class and keys stand behind the first colon, unless that
/// is within a key's value.
fn local(path: &str) -> &str {
    let before_values = path.find('"').unwrap_or(path.len());
    match path[..before_values].find(':') {
        Some(colon) => &path[colon + 1..],
        None => path,
    }
}

/// Takes a literal in quotes off the front of `text`.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.strip_prefix('"')?.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 2..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_path() {
        for value in [
            "",
            "Microsoft:4D1A\\0\\L",
            "\"quoted\" \\\\server\\share",
            "Bücher 100 %",
        ] {
            let path = with_key("Msvm_Thing", "InstanceID", value);
            assert_eq!(
                key_of(&path, "instanceid").as_deref(),
                Some(value),
                "{path}"
            );
            for head in [
                r"\\HOST\root\virtualization\v2:",
                r"\\.\root\virtualization\v2:",
                r"\\host.example.org\root\virtualization\v2:",
                r"root\virtualization\v2:",
            ] {
                let whole = format!("{head}{path}");
                assert_eq!(
                    key_of(&whole, "InstanceID").as_deref(),
                    Some(value),
                    "{whole}"
                );
            }
        }
    }

    #[test]
    fn one_key_of_several_is_found() {
        let path = r#"Msvm_ComputerSystem.CreationClassName="Msvm_ComputerSystem",Name="A""#;
        assert_eq!(key_of(path, "Name").as_deref(), Some("A"));
        assert_eq!(key_of(path, "Other"), None);
        assert_eq!(key_of("Msvm_Thing=@", "Name"), None);
        assert_eq!(key_of("Msvm_Thing.Name=\"open", "Name"), None);
    }
}
