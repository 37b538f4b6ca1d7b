//! Modes: ours have POSIX's bits, Kopia's have Go's, written in octal.

const PERMISSIONS: u32 = 0o777;

/// POSIX's and Go's bit for setuid, setgid and sticky.
const SPECIAL_BITS: [(u32, u32); 3] = [
    (0o4000, 0o40_000_000),
    (0o2000, 0o20_000_000),
    (0o1000, 0o4_000_000),
];

fn to_text(posix: u32) -> String {
    let special = SPECIAL_BITS
        .iter()
        .filter(|(posix_bit, _)| posix & posix_bit != 0)
        .fold(0, |bits, (_, go_bit)| bits | go_bit);
    format!("0{:o}", posix & PERMISSIONS | special)
}

/// Reads what Go's number parser reads. Bits that say what kind of entry it is are dropped: the
/// entry's type does.
fn from_text(text: &str) -> Option<u32> {
    let go = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => u32::from_str_radix(&text[2..], 16),
        [b'0', b'o' | b'O', ..] => u32::from_str_radix(&text[2..], 8),
        [b'0', ..] => u32::from_str_radix(text, 8),
        _ => text.parse(),
    }
    .ok()?;
    let special = SPECIAL_BITS
        .iter()
        .filter(|(_, go_bit)| go & go_bit != 0)
        .fold(0, |bits, (posix_bit, _)| bits | posix_bit);
    Some(go & PERMISSIONS | special)
}

/// For `#[serde(with = …)]`.
pub(super) mod json {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(mode: &u32, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::to_text(*mode))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        super::from_text(&text)
            .ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), &"an octal mode"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_bits_move_to_gos_places_and_back() {
        for (posix, text) in [
            (0o755, "0755"),
            (0o4755, "040000755"),
            (0o2755, "020000755"),
            (0o1777, "04000777"),
            (0o7000, "064000000"),
            (0o1, "01"),
        ] {
            assert_eq!(to_text(posix), text);
            assert_eq!(from_text(text), Some(posix));
        }
    }

    #[test]
    fn other_spellings_are_read_and_nonsense_is_not() {
        assert_eq!(from_text("493"), Some(0o755));
        assert_eq!(from_text("0x1ed"), Some(0o755));
        assert_eq!(from_text("0o755"), Some(0o755));
        for text in ["", "rwx", "08", "-1", "0755 ", "0x", "é"] {
            assert_eq!(from_text(text), None, "{text}");
        }
    }
}
