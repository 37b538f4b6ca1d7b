//! A pattern in Kopia's reading of gitignore's syntax: from text to tokens.
//!
//! Where Kopia reads a pattern otherwise than git does, so does this: what a source's backup holds
//! must not depend on the program that took it.

use super::class::Class;
use super::matching;
use super::token::{SetItem, Token};

/// Why a pattern means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternProblem {
    /// A backslash with nothing behind it.
    #[error(r"it ends after a backslash; a backslash itself is written \\")]
    EndsAfterBackslash,
    /// A set of characters without an end.
    #[error(r"the set that begins with [ has no ]; a bracket itself is written \[")]
    SetWithoutEnd,
    /// A class of characters that does not exist.
    #[error("there is no class of characters [:{0}:]")]
    UnknownClass(String),
}

/// A pattern that was understood.
#[derive(Debug)]
pub(super) struct Pattern {
    tokens: Vec<Token>,
    negated: bool,
    folders_only: bool,
}

impl Pattern {
    /// Reads a pattern that stands in `folder`, whose path begins with a slash or is empty.
    pub(super) fn parse(text: &str, folder: &str) -> Result<Self, PatternProblem> {
        let text = trimmed(text);
        let letters: Vec<char> = text.chars().collect();
        let mut reader = Reader {
            letters: &letters,
            at: 0,
        };
        while reader.peek(0).is_some_and(char::is_whitespace) {
            reader.at += 1;
        }
        let negated = reader.peek(0) == Some('!');
        reader.at += usize::from(negated);

        let mut tokens = beginning(text, folder, &reader);
        let folders_only = letters.last() == Some(&'/');
        // A lone slash at the place to read has been cut, too.
        reader.letters = &letters[..letters.len() - usize::from(folders_only)];
        while let Some(letter) = reader.next() {
            tokens.push(reader.token(letter)?);
        }
        Ok(Self {
            tokens,
            negated,
            folders_only,
        })
    }

    /// Says whether this takes back what others excluded.
    pub(super) fn is_negated(&self) -> bool {
        self.negated
    }

    /// Says whether this is about an entry, by its path in the source, which begins with a slash.
    pub(super) fn names(&self, path: &[char], is_folder: bool) -> bool {
        (is_folder || !self.folders_only) && matching::matches(&self.tokens, path)
    }
}

/// White space around a pattern does not count, unless a backslash stands before the last
/// character. Kopia looks at bytes, and at patterns of three or more.
fn trimmed(text: &str) -> &str {
    match text.as_bytes() {
        [_, .., b'\\', _] | [] | [_] | [_, _] => text,
        _ => text.trim(),
    }
}

/// Returns what stands before a pattern's own tokens: its folder, and `**/` if it may be at any
/// depth, which a slash within the pattern or in front of it rules out.
fn beginning(text: &str, folder: &str, reader: &Reader<'_>) -> Vec<Token> {
    let mut tokens = Vec::new();
    let rooted = reader.peek(0) == Some('/');
    if !folder.is_empty() && !text.is_empty() {
        tokens.extend(folder.chars().map(|letter| match letter {
            '/' => Token::Separator,
            letter => Token::Letter(letter),
        }));
        if !rooted {
            tokens.push(Token::Separator);
        }
    }
    if rooted || text.is_empty() || text == "**" {
        return tokens;
    }
    let own = reader.rest();
    let slash = own.iter().position(|&letter| letter == '/');
    if slash.is_none_or(|slash| slash + 1 == own.len()) {
        tokens.extend([Token::DoubleStar, Token::Separator]);
    } else if folder.is_empty() {
        tokens.push(Token::Separator);
    }
    tokens
}

/// The text of a pattern and how far it has been read. Kopia stops at a zero.
struct Reader<'p> {
    letters: &'p [char],
    at: usize,
}

impl Reader<'_> {
    /// Returns the character so far from the place.
    fn peek(&self, distance: isize) -> Option<char> {
        let place = self.at.checked_add_signed(distance)?;
        self.letters.get(place).copied().filter(|&it| it != '\0')
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek(0)?;
        self.at += 1;
        Some(letter)
    }

    fn rest(&self) -> &[char] {
        self.letters.get(self.at..).unwrap_or_default()
    }

    fn token(&mut self, letter: char) -> Result<Token, PatternProblem> {
        Ok(match letter {
            '\\' => Token::Letter(self.escaped()?),
            '?' => Token::Any,
            '/' => Token::Separator,
            '*' => self.star(),
            '[' => self.set()?,
            letter => Token::Letter(letter),
        })
    }

    fn escaped(&mut self) -> Result<char, PatternProblem> {
        self.next().ok_or(PatternProblem::EndsAfterBackslash)
    }

    /// Two stars count as such only as a whole name, or at the very beginning: not behind a `!`.
    fn star(&mut self) -> Token {
        if self.peek(0) != Some('*') {
            return Token::Star;
        }
        let before = self.peek(-2);
        while self.peek(0) == Some('*') {
            self.at += 1;
        }
        let name_ends = self.rest().is_empty() || self.peek(0) == Some('/');
        match before {
            None => Token::DoubleStar,
            Some('/') if name_ends => Token::DoubleStar,
            _ => Token::Star,
        }
    }

    fn set(&mut self) -> Result<Token, PatternProblem> {
        let negated = self.peek(0) == Some('!');
        self.at += usize::from(negated);
        let mut items = Vec::new();
        loop {
            match self.next() {
                None => return Err(PatternProblem::SetWithoutEnd),
                Some(']') => return Ok(Token::Set { items, negated }),
                Some(letter) => items.push(self.set_item(letter)?),
            }
        }
    }

    fn set_item(&mut self, letter: char) -> Result<SetItem, PatternProblem> {
        let first = match letter {
            '\\' => self.escaped()?,
            letter => letter,
        };
        if self.peek(0) == Some('-') && !matches!(self.peek(1), Some(']') | None) {
            self.at += 1;
            let last = match self.next() {
                Some('\\') => self.escaped()?,
                Some(last) => last,
                None => return Err(PatternProblem::SetWithoutEnd),
            };
            return Ok(SetItem::Range(first, last));
        }
        if first == '[' && self.peek(0) == Some(':') {
            return self.class();
        }
        Ok(SetItem::Range(first, first))
    }

    /// Reads what may be a class. Kopia takes it for single characters where more stands before it
    /// than its name is long: `[[:digit:]]` is a class behind at most three other characters.
    fn class(&mut self) -> Result<SetItem, PatternProblem> {
        let end = self.rest().iter().position(|&letter| letter == ']');
        let end = end.ok_or(PatternProblem::SetWithoutEnd)?;
        let colon = end.saturating_sub(1);
        if colon <= self.at || self.rest().get(colon) != Some(&':') {
            return Ok(SetItem::Range('[', '['));
        }
        let name: String = self.rest()[1..colon].iter().collect();
        self.at += end + 1;
        let class = Class::named(&name).ok_or(PatternProblem::UnknownClass(name))?;
        Ok(SetItem::Class(class))
    }
}
