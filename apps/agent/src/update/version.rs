//! Versions, as programs say them and people write them.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// The name that our program says before its version.
const PROGRAM: &str = "e3-backup-agent";

/// A version such as `1.8.2` or `2.0.0-beta.1`; what stands behind `+` counts for nothing.
#[derive(Debug, Clone)]
pub struct Version {
    numbers: Vec<u64>,
    /// What makes it one before the version of these numbers.
    before: Vec<String>,
    text: String,
}

impl FromStr for Version {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.trim();
        let plain = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let (counting, _) = plain.split_once('+').unwrap_or((plain, ""));
        let (numbers, before) = match counting.split_once('-') {
            Some((_, "")) => return Err(()),
            Some((numbers, before)) => (numbers, before.split('.').map(str::to_owned).collect()),
            None => (counting, Vec::new()),
        };
        let number = |part: &str| match part.bytes().all(|it| it.is_ascii_digit()) {
            true => part.parse().map_err(|_| ()),
            false => Err(()),
        };
        Ok(Self {
            numbers: numbers.split('.').map(number).collect::<Result<_, _>>()?,
            before,
            text: plain.to_owned(),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let length = self.numbers.len().max(other.numbers.len());
        let number = |of: &Self, place: usize| of.numbers.get(place).copied().unwrap_or(0);
        (0..length)
            .map(|place| number(self, place).cmp(&number(other, place)))
            .find(|it| it.is_ne())
            .unwrap_or_else(|| match (self.before.is_empty(), other.before.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => compare(&self.before, &other.before),
            })
    }
}

/// Compares what stands behind `-`: numbers by their size and before words.
fn compare(one: &[String], other: &[String]) -> Ordering {
    let mut of_parts = one.iter().zip(other).map(|(one, other)| {
        match (one.parse::<u64>(), other.parse::<u64>()) {
            (Ok(one), Ok(other)) => one.cmp(&other),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => one.cmp(other),
        }
    });
    of_parts
        .find(|it| it.is_ne())
        .unwrap_or_else(|| one.len().cmp(&other.len()))
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

/// Returns the version in what a program answers to `--version`, if it is ours that answers.
pub fn said_by(answer: &str) -> Option<Version> {
    let mut words = answer.lines().next()?.split_whitespace();
    words.next().filter(|it| *it == PROGRAM)?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_an_order() {
        let ascending = [
            "0.9",
            "1.0.0-1",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "v1",
            "1.0.1",
            "1.2.0",
            "1.10.0",
            "2.0.0.1",
        ];
        let all: Vec<Version> = ascending.iter().map(|it| it.parse().unwrap()).collect();
        for (place, one) in all.iter().enumerate() {
            for (other_place, other) in all.iter().enumerate() {
                assert_eq!(one.cmp(other), place.cmp(&other_place), "{one} {other}");
            }
        }
        let same = ["1.0", "v1.0.0", "1.0.0+build7"].map(|it| it.parse::<Version>().unwrap());
        assert!(same.iter().all(|it| *it == same[0]));
        for wrong in ["", "v", "1..2", "latest", "1.-2", "1.0-", "1,0", "+1"] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_our_program_says_its_version() {
        let said = |answer: &str| said_by(answer).map(|it| it.to_string());
        assert_eq!(said("e3-backup-agent 1.9.0\n").as_deref(), Some("1.9.0"));
        let long = "e3-backup-agent 1.9.0-rc.1 (of today)\nand more";
        assert_eq!(said(long).as_deref(), Some("1.9.0-rc.1"));
        for other in [
            "",
            "\n",
            "1.9.0",
            "ls (GNU coreutils) 9.1",
            "e3-backup-agent",
            "e3-backup-agent new",
        ] {
            assert_eq!(said(other), None, "{other}");
        }
    }
}
