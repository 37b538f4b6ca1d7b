//! The pieces of a pattern.

use super::class::Class;

/// What one piece of a pattern stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// This character.
    Letter(char),
    /// A slash.
    Separator,
    /// Any character but a slash.
    Any,
    /// Any number of characters within one name; nearly, as the matcher says.
    Star,
    /// Any number of characters.
    DoubleStar,
    /// One character, a slash too, that is in a set, or is not.
    Set { items: Vec<SetItem>, negated: bool },
}

/// Some characters of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SetItem {
    Range(char, char),
    Class(Class),
}

impl Token {
    /// Says whether this is a star of either kind.
    pub(super) fn is_star(&self) -> bool {
        matches!(self, Self::Star | Self::DoubleStar)
    }

    /// Says whether one character is what this stands for; no star.
    pub(super) fn takes(&self, letter: char) -> bool {
        match self {
            Self::Letter(expected) => letter == *expected,
            Self::Separator => letter == '/',
            Self::Any => letter != '/',
            Self::Set { items, negated } => items.iter().any(|item| item.has(letter)) != *negated,
            Self::Star | Self::DoubleStar => unreachable!("a star takes any number of characters"),
        }
    }
}

impl SetItem {
    fn has(&self, letter: char) -> bool {
        match self {
            Self::Range(first, last) => (*first..=*last).contains(&letter),
            Self::Class(class) => class.has(letter),
        }
    }
}
