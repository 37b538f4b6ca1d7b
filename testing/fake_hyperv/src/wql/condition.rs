//! What stands behind `WHERE`, read and applied to objects.

use std::cmp::Ordering;

use windows_host::wmi::{Value, WmiObject};

use super::SyntaxError;
use super::tokens::{Token, Tokens};
use crate::schema::Class;

/// A condition on an object's properties.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Condition {
    Both(Box<Condition>, Box<Condition>),
    Either(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
    Compare {
        property: String,
        comparison: Comparison,
        value: Literal,
    },
    IsNull {
        property: String,
        not: bool,
    },
}

/// How a property is compared with a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Like,
}

/// A literal of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Literal {
    Text(String),
    Number(i64),
    Bool(bool),
}

impl Condition {
    /// Reads a condition up to the end or a closing bracket; AND binds closer than OR.
    pub(super) fn read(tokens: &mut Tokens) -> Result<Self, SyntaxError> {
        let mut left = Self::read_and(tokens)?;
        while tokens.takes_word("OR") {
            left = Self::Either(Box::new(left), Box::new(Self::read_and(tokens)?));
        }
        Ok(left)
    }

    fn read_and(tokens: &mut Tokens) -> Result<Self, SyntaxError> {
        let mut left = Self::read_one(tokens)?;
        while tokens.takes_word("AND") {
            left = Self::Both(Box::new(left), Box::new(Self::read_one(tokens)?));
        }
        Ok(left)
    }

    fn read_one(tokens: &mut Tokens) -> Result<Self, SyntaxError> {
        if tokens.takes_word("NOT") {
            return Ok(Self::Not(Box::new(Self::read_one(tokens)?)));
        }
        if tokens.takes(&Token::Symbol("(")) {
            let inner = Self::read(tokens)?;
            return match tokens.takes(&Token::Symbol(")")) {
                true => Ok(inner),
                false => Err(SyntaxError),
            };
        }
        let property = tokens.name()?;
        if tokens.takes_word("IS") {
            let not = tokens.takes_word("NOT");
            tokens.expect_word("NULL")?;
            return Ok(Self::IsNull { property, not });
        }
        let comparison = match tokens.next() {
            Some(Token::Symbol("=")) => Comparison::Equal,
            Some(Token::Symbol("<>")) => Comparison::NotEqual,
            Some(Token::Symbol("<")) => Comparison::Less,
            Some(Token::Symbol("<=")) => Comparison::LessOrEqual,
            Some(Token::Symbol(">")) => Comparison::Greater,
            Some(Token::Symbol(">=")) => Comparison::GreaterOrEqual,
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("LIKE") => Comparison::Like,
            _ => return Err(SyntaxError),
        };
        let value = match tokens.next() {
            Some(Token::Text(text)) => Literal::Text(text),
            Some(Token::Number(number)) => Literal::Number(number),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("TRUE") => Literal::Bool(true),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("FALSE") => Literal::Bool(false),
            _ => return Err(SyntaxError),
        };
        if comparison == Comparison::Like && !matches!(value, Literal::Text(_)) {
            return Err(SyntaxError);
        }
        Ok(Self::Compare {
            property,
            comparison,
            value,
        })
    }

    /// Returns whether a class has all properties that are asked about, none an array.
    pub(crate) fn fits(&self, class: &Class) -> bool {
        match self {
            Self::Both(left, right) | Self::Either(left, right) => {
                left.fits(class) && right.fits(class)
            }
            Self::Not(inner) => inner.fits(class),
            Self::Compare { property, .. } => {
                class.property(property).is_some_and(|known| !known.array)
            }
            Self::IsNull { property, .. } => class.property(property).is_some(),
        }
    }

    /// Returns whether an object meets the condition; what is not set meets no comparison.
    pub(crate) fn holds(&self, object: &WmiObject) -> bool {
        match self {
            Self::Both(left, right) => left.holds(object) && right.holds(object),
            Self::Either(left, right) => left.holds(object) || right.holds(object),
            Self::Not(inner) => !inner.holds(object),
            Self::IsNull { property, not } => (*object.value(property) == Value::Null) != *not,
            Self::Compare {
                property,
                comparison,
                value,
            } => compare(object.value(property), *comparison, value),
        }
    }
}

fn compare(found: &Value, comparison: Comparison, wanted: &Literal) -> bool {
    if comparison == Comparison::Like {
        return match (found, wanted) {
            (Value::Text(text), Literal::Text(pattern)) => is_like(text, pattern),
            _ => false,
        };
    }
    let order = match (found, wanted) {
        (Value::Bool(found), Literal::Bool(wanted)) => found.cmp(wanted),
        (Value::U8(found), Literal::Number(wanted)) => i64::from(*found).cmp(wanted),
        (Value::I32(found), Literal::Number(wanted)) => {
            i64::from(found.cast_unsigned()).cmp(wanted)
        }
        // 64-bit numbers are text.
        (Value::Text(found), Literal::Number(wanted)) => match found.parse::<i128>() {
            Ok(found) => found.cmp(&i128::from(*wanted)),
            Err(_) => return false,
        },
        (Value::Text(found), Literal::Text(wanted)) => {
            found.to_lowercase().cmp(&wanted.to_lowercase())
        }
        _ => return false,
    };
    match comparison {
        Comparison::Equal => order == Ordering::Equal,
        Comparison::NotEqual => order != Ordering::Equal,
        Comparison::Less => order == Ordering::Less,
        Comparison::LessOrEqual => order != Ordering::Greater,
        Comparison::Greater => order == Ordering::Greater,
        Comparison::GreaterOrEqual => order != Ordering::Less,
        Comparison::Like => false,
    }
}

/// `%` is any text, `_` any character, `[…]` one of some characters.
fn is_like(text: &str, pattern: &str) -> bool {
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    matches(&text, &pattern)
}

fn matches(text: &[char], pattern: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|skipped| matches(&text[skipped..], rest)),
        ['_', rest @ ..] => !text.is_empty() && matches(&text[1..], rest),
        ['[', rest @ ..] if rest.contains(&']') => {
            let end = rest.iter().position(|&c| c == ']').unwrap_or_default();
            let set = &rest[..end];
            text.first().is_some_and(|first| set.contains(first))
                && matches(&text[1..], &rest[end + 1..])
        }
        [first, rest @ ..] => text.first() == Some(first) && matches(&text[1..], rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(condition: &str) -> bool {
        let mut object = WmiObject::default();
        object.set("Name", r"Microsoft:A\0");
        object.set("State", 2u16);
        object.set("Bytes", Value::decimal(u64::MAX));
        object.set("On", true);
        let mut tokens = Tokens::of(condition).unwrap();
        let read = Condition::read(&mut tokens).unwrap();
        tokens.end().unwrap();
        read.holds(&object)
    }

    #[test]
    fn literals_are_compared_by_their_type() {
        for condition in [
            r#"Name = "microsoft:a\\0""#,
            r"Name = 'Microsoft:A\\0'",
            r#"Name LIKE "Microsoft:%\\0""#,
            r#"Name LIKE "_icrosoft:[ab]%""#,
            "State = 2 AND On = TRUE",
            "State <> 3",
            "State > 1 AND State <= 2",
            "Bytes > 5",
            "State = 3 OR On = true",
            "NOT State = 3",
            "(State = 3 OR State = 2) AND NOT (On = FALSE)",
            "Missing IS NULL AND Name IS NOT NULL",
        ] {
            assert!(holds(condition), "{condition}");
        }
        for condition in [
            "Name = 'Microsoft:A'",
            "State = 'two'",
            "State = 3 AND On = TRUE OR On = FALSE",
            "Missing = 'a'",
            "Missing <> 'a'",
            "Name LIKE 'Microsoft'",
        ] {
            assert!(!holds(condition), "{condition}");
        }
    }
}
