//! The named classes of characters, `[:alpha:]` and so on, as Kopia's language knows them.

use unicode_properties::{
    GeneralCategory, GeneralCategoryGroup as Group, UnicodeGeneralCategory as _,
};

/// A named class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Alnum,
    Alpha,
    Ascii,
    Blank,
    Cntrl,
    Digit,
    Graph,
    Lower,
    Print,
    Punct,
    Space,
    Upper,
    Xdigit,
}

impl Class {
    /// Returns the class of this name, in any case.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name.to_lowercase().as_str() {
            "alnum" => Self::Alnum,
            "alpha" => Self::Alpha,
            "ascii" => Self::Ascii,
            "blank" => Self::Blank,
            "cntrl" => Self::Cntrl,
            "digit" => Self::Digit,
            "graph" => Self::Graph,
            "lower" => Self::Lower,
            "print" => Self::Print,
            "punct" => Self::Punct,
            "space" => Self::Space,
            "upper" => Self::Upper,
            "xdigit" => Self::Xdigit,
            _ => return None,
        })
    }

    /// Says whether a character is of the class.
    pub(super) fn has(self, letter: char) -> bool {
        let category = letter.general_category();
        let group = letter.general_category_group();
        let digit = category == GeneralCategory::DecimalNumber;
        let visible = matches!(
            group,
            Group::Letter | Group::Mark | Group::Number | Group::Punctuation | Group::Symbol
        );
        match self {
            Self::Alnum => group == Group::Letter || digit,
            Self::Alpha => group == Group::Letter,
            Self::Ascii => letter.is_ascii(),
            Self::Blank => category == GeneralCategory::SpaceSeparator || letter == '\t',
            Self::Cntrl => letter.is_control(),
            Self::Digit => digit,
            Self::Graph => visible || category == GeneralCategory::SpaceSeparator,
            Self::Lower => category == GeneralCategory::LowercaseLetter,
            Self::Print => visible || letter == ' ',
            Self::Punct => matches!(group, Group::Punctuation | Group::Symbol),
            Self::Space => letter.is_whitespace(),
            Self::Upper => category == GeneralCategory::UppercaseLetter,
            Self::Xdigit => letter.is_ascii_hexdigit() || digit,
        }
    }
}
