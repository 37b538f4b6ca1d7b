//! Object paths, read strictly (Hyper-V spec 2.4).

use windows_host::wmi::{WmiError, wql_literal};

use crate::codes;

/// The path of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectPath {
    pub class: String,
    /// Keys with their values, in the order of the path.
    pub keys: Vec<(String, String)>,
}

impl ObjectPath {
    /// Reads a path, whole or relative.
    ///
    /// # Errors
    /// 0x8004103A if it is none, or leads to another machine or namespace.
    pub(crate) fn parse(path: &str, host: &str, namespace: &str) -> Result<Self, WmiError> {
        let invalid = || {
            WmiError::call(
                format!("understand the object path {path}"),
                codes::INVALID_OBJECT_PATH,
            )
        };
        let local = match path.strip_prefix(r"\\") {
            Some(whole) => {
                let (server, rest) = whole.split_once('\\').ok_or_else(invalid)?;
                if server != "." && !server.eq_ignore_ascii_case(host) {
                    return Err(invalid());
                }
                after_namespace(rest, namespace).ok_or_else(invalid)?
            }
            None => after_namespace(path, namespace).unwrap_or(path),
        };
        let (class, mut rest) = local.split_once('.').ok_or_else(invalid)?;
        let name = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if !name(class) {
            return Err(invalid());
        }
        let mut keys = Vec::new();
        loop {
            let (key, value) = rest.split_once('=').ok_or_else(invalid)?;
            if !name(key) {
                return Err(invalid());
            }
            let (value, left) = literal(value).ok_or_else(invalid)?;
            keys.push((key.to_owned(), value));
            if left.is_empty() {
                break;
            }
            rest = left.strip_prefix(',').ok_or_else(invalid)?;
        }
        Ok(Self {
            class: class.to_owned(),
            keys,
        })
    }

    /// Returns the path without machine and namespace.
    pub(crate) fn relative(&self) -> String {
        let keys: Vec<_> = self
            .keys
            .iter()
            .map(|(key, value)| format!("{key}={}", wql_literal(value)))
            .collect();
        format!("{}.{}", self.class, keys.join(","))
    }

    /// Returns whether both lead to the same instance: values are compared without case.
    pub(crate) fn same_keys(&self, other: &Self) -> bool {
        self.keys.len() == other.keys.len()
            && self.keys.iter().all(|(key, value)| {
                other.keys.iter().any(|(known, other)| {
                    known.eq_ignore_ascii_case(key) && same_text(other, value)
                })
            })
    }
}

/// Compares text as WMI does: without case.
pub(crate) fn same_text(one: &str, other: &str) -> bool {
    one.chars()
        .flat_map(char::to_lowercase)
        .eq(other.chars().flat_map(char::to_lowercase))
}

fn after_namespace<'a>(path: &'a str, namespace: &str) -> Option<&'a str> {
    let (head, rest) = path.split_at_checked(namespace.len())?;
    let same = head.replace('/', "\\").eq_ignore_ascii_case(namespace);
    rest.strip_prefix(':').filter(|_| same)
}

/// Takes a literal in quotes off the front of `text`.
pub(crate) fn literal(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?.1),
            end if end == quote => return Some((value, &text[at + 1..])),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMESPACE: &str = r"root\virtualization\v2";

    fn parse(path: &str) -> Result<ObjectPath, WmiError> {
        ObjectPath::parse(path, "HV01", NAMESPACE)
    }

    #[test]
    fn whole_and_relative_paths_name_the_same() {
        let relative = r#"Msvm_Thing.InstanceID="Microsoft:A\\0\\L",Name="B""#;
        let read = parse(relative).unwrap();
        assert_eq!(read.keys[0].1, r"Microsoft:A\0\L");
        assert_eq!(read.relative(), relative);
        for head in [r"\\.\", r"\\hv01\", ""] {
            let whole = format!(r"{head}ROOT\virtualization\v2:{relative}");
            assert_eq!(parse(&whole).unwrap(), read);
        }
    }

    #[test]
    fn what_is_no_path_of_this_namespace_is_refused() {
        for path in [
            "",
            "Msvm_Thing",
            "Msvm_Thing=\"a\"",
            "Msvm_Thing.InstanceID=Microsoft",
            "Msvm_Thing.InstanceID=\"open",
            "Msvm_Thing.InstanceID=\"a\"b",
            r#"\\HV02\root\virtualization\v2:Msvm_Thing.InstanceID="a""#,
            r#"\\HV01\root\cimv2:Msvm_Thing.InstanceID="a""#,
        ] {
            let error = parse(path).unwrap_err();
            assert_eq!(error.code(), Some(codes::INVALID_OBJECT_PATH), "{path}");
        }
    }
}
