//! A query cut into its words.

use super::SyntaxError;
use crate::object_path::literal;

/// A piece of a query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// A keyword or a name.
    Word(String),
    /// A literal in quotes.
    Text(String),
    /// A whole number.
    Number(i64),
    /// What stands between braces: an object path.
    Braced(String),
    /// `*`, `,`, `(`, `)` and the comparisons.
    Symbol(&'static str),
}

const SYMBOLS: [&str; 11] = ["<>", "!=", "<=", ">=", "=", "<", ">", "*", ",", "(", ")"];

/// The pieces that are still to be read.
#[derive(Debug)]
pub(crate) struct Tokens {
    rest: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

impl Tokens {
    pub(crate) fn of(text: &str) -> Result<Self, SyntaxError> {
        let mut tokens = Vec::new();
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let (token, left) = match first {
                '"' | '\'' => {
                    let (value, left) = literal(rest).ok_or(SyntaxError)?;
                    (Token::Text(value), left)
                }
                '{' => braced(rest)?,
                '0'..='9' | '-' => number(rest)?,
                _ => word_or_symbol(rest)?,
            };
            tokens.push(token);
            rest = left.trim_start();
        }
        Ok(Self {
            rest: tokens.into_iter().peekable(),
        })
    }

    pub(crate) fn next(&mut self) -> Option<Token> {
        self.rest.next()
    }

    pub(crate) fn is_empty(&mut self) -> bool {
        self.rest.peek().is_none()
    }

    pub(crate) fn end(&mut self) -> Result<(), SyntaxError> {
        match self.is_empty() {
            true => Ok(()),
            false => Err(SyntaxError),
        }
    }

    pub(crate) fn takes(&mut self, token: &Token) -> bool {
        self.rest.next_if_eq(token).is_some()
    }

    pub(crate) fn takes_word(&mut self, word: &str) -> bool {
        let is =
            |token: &Token| matches!(token, Token::Word(known) if known.eq_ignore_ascii_case(word));
        self.rest.next_if(is).is_some()
    }

    pub(crate) fn expect_word(&mut self, word: &str) -> Result<(), SyntaxError> {
        match self.takes_word(word) {
            true => Ok(()),
            false => Err(SyntaxError),
        }
    }

    pub(crate) fn name(&mut self) -> Result<String, SyntaxError> {
        match self.rest.next() {
            Some(Token::Word(name)) => Ok(name),
            _ => Err(SyntaxError),
        }
    }
}

/// Takes a path in braces; a brace inside quotes is part of the path.
fn braced(text: &str) -> Result<(Token, &str), SyntaxError> {
    let mut quoted = None;
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match (character, quoted) {
            ('\\', Some(_)) => {
                characters.next();
            }
            ('"' | '\'', None) => quoted = Some(character),
            (end, Some(open)) if end == open => quoted = None,
            ('}', None) => {
                return Ok((
                    Token::Braced(text[1..at].trim().to_owned()),
                    &text[at + 1..],
                ));
            }
            _ => {}
        }
    }
    Err(SyntaxError)
}

fn number(text: &str) -> Result<(Token, &str), SyntaxError> {
    let end = text
        .char_indices()
        .skip(1)
        .find(|(_, character)| !character.is_ascii_digit())
        .map_or(text.len(), |(at, _)| at);
    let value = text[..end].parse().map_err(|_| SyntaxError)?;
    Ok((Token::Number(value), &text[end..]))
}

fn word_or_symbol(text: &str) -> Result<(Token, &str), SyntaxError> {
    if let Some(symbol) = SYMBOLS.iter().find(|symbol| text.starts_with(**symbol)) {
        let token = match *symbol {
            "!=" => "<>",
            other => other,
        };
        return Ok((Token::Symbol(token), &text[symbol.len()..]));
    }
    let end = text
        .char_indices()
        .find(|(_, character)| !character.is_ascii_alphanumeric() && *character != '_')
        .map_or(text.len(), |(at, _)| at);
    match end {
        0 => Err(SyntaxError),
        end => Ok((Token::Word(text[..end].to_owned()), &text[end..])),
    }
}
