//! Checkpoints that somebody left on a VM, as agents list them and the store keeps them. Pure.

use serde_json::Value;

/// A checkpoint that somebody left on a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// What it is: `own`, `recovery`, `user` or `other`; empty when unknown.
    pub kind: String,
    /// Its name; empty when unknown.
    pub name: String,
    /// When it was made (milliseconds since 1970), if that is known.
    pub created_at: Option<i64>,
}

/// Reads what the store keeps of a VM; nothing, if it is something else.
pub fn read(leftovers_json: &str) -> Vec<Leftover> {
    let listed: Vec<Value> = serde_json::from_str(leftovers_json).unwrap_or_default();
    let text =
        |leftover: &Value, name: &str| leftover[name].as_str().unwrap_or_default().to_owned();
    let moment = |value: &Value| {
        value.as_i64().or_else(|| {
            let at: jiff::Timestamp = value.as_str()?.parse().ok()?;
            Some(at.as_millisecond())
        })
    };
    listed
        .iter()
        .map(|leftover| Leftover {
            kind: text(leftover, "kind"),
            name: text(leftover, "name"),
            created_at: moment(&leftover["created_at"]),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_numbers_or_texts_and_what_is_missing_is_unknown() {
        let leftover = |kind: &str, name: &str, created_at| Leftover {
            kind: kind.to_owned(),
            name: name.to_owned(),
            created_at,
        };
        let json = r#"[{"kind":"own","name":"a","created_at":"1970-01-01T00:00:01Z"},
            {"name":"b","created_at":2000},{"kind":"user","created_at":"yesterday"}]"#;
        assert_eq!(
            read(json),
            [
                leftover("own", "a", Some(1_000)),
                leftover("", "b", Some(2_000)),
                leftover("user", "", None),
            ]
        );
        assert_eq!(read("{}"), []);
    }
}
