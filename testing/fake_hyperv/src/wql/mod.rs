//! WQL: the part of it that data queries of this house use, read strictly.

mod condition;
mod tokens;

pub(crate) use condition::Condition;

use tokens::{Token, Tokens};

/// A query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Query {
    /// `SELECT … FROM … WHERE …`.
    Select {
        /// None for `*`.
        properties: Option<Vec<String>>,
        class: String,
        condition: Option<Condition>,
    },
    /// `ASSOCIATORS OF {…} WHERE …`.
    Associators { path: String, wanted: Wanted },
    /// `REFERENCES OF {…} WHERE …`.
    References { path: String, wanted: Wanted },
}

impl Query {
    /// Returns the properties that are selected; none if all are.
    pub(crate) fn properties(&self) -> Option<&[String]> {
        match self {
            Self::Select { properties, .. } => properties.as_deref(),
            Self::Associators { .. } | Self::References { .. } => None,
        }
    }
}

/// Which associations a query follows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Wanted {
    /// The class of the association; `ResultClass` of a `REFERENCES OF`.
    pub association: Option<String>,
    /// The class at the other end.
    pub result: Option<String>,
    /// The property of the association that names the object asked about.
    pub role: Option<String>,
    /// The property of the association that names the other end.
    pub result_role: Option<String>,
}

/// The query cannot be understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError;

/// Reads a query.
pub(crate) fn parse(text: &str) -> Result<Query, SyntaxError> {
    let mut tokens = Tokens::of(text)?;
    let query = if tokens.takes_word("SELECT") {
        select(&mut tokens)?
    } else if tokens.takes_word("ASSOCIATORS") {
        let (path, wanted) = related(&mut tokens, false)?;
        Query::Associators { path, wanted }
    } else if tokens.takes_word("REFERENCES") {
        let (path, wanted) = related(&mut tokens, true)?;
        Query::References { path, wanted }
    } else {
        return Err(SyntaxError);
    };
    tokens.end()?;
    Ok(query)
}

fn select(tokens: &mut Tokens) -> Result<Query, SyntaxError> {
    let properties = if tokens.takes(&Token::Symbol("*")) {
        None
    } else {
        let mut names = vec![tokens.name()?];
        while tokens.takes(&Token::Symbol(",")) {
            names.push(tokens.name()?);
        }
        Some(names)
    };
    tokens.expect_word("FROM")?;
    let class = tokens.name()?;
    let condition = match tokens.takes_word("WHERE") {
        true => Some(Condition::read(tokens)?),
        false => None,
    };
    Ok(Query::Select {
        properties,
        class,
        condition,
    })
}

fn related(tokens: &mut Tokens, references: bool) -> Result<(String, Wanted), SyntaxError> {
    tokens.expect_word("OF")?;
    let Some(Token::Braced(path)) = tokens.next() else {
        return Err(SyntaxError);
    };
    let mut wanted = Wanted::default();
    if !tokens.takes_word("WHERE") {
        return Ok((path, wanted));
    }
    while !tokens.is_empty() {
        let name = tokens.name()?;
        let place = match name.to_ascii_lowercase().as_str() {
            "assocclass" if !references => &mut wanted.association,
            "resultclass" if references => &mut wanted.association,
            "resultclass" => &mut wanted.result,
            "role" => &mut wanted.role,
            "resultrole" if !references => &mut wanted.result_role,
            _ => return Err(SyntaxError),
        };
        if !tokens.takes(&Token::Symbol("=")) || place.is_some() {
            return Err(SyntaxError);
        }
        *place = Some(tokens.name()?);
    }
    match wanted == Wanted::default() {
        true => Err(SyntaxError),
        false => Ok((path, wanted)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_are_understood() {
        let Ok(Query::Select {
            properties,
            class,
            condition,
        }) = parse(
            "select Name, __PATH from Msvm_ComputerSystem where Caption = \"Virtual Machine\"",
        )
        else {
            panic!("it is a select");
        };
        assert_eq!(properties.unwrap(), ["Name", "__PATH"]);
        assert_eq!(class, "Msvm_ComputerSystem");
        assert!(condition.is_some());
        assert!(parse("SELECT * FROM Msvm_Thing").is_ok());
    }

    #[test]
    fn associations_are_understood() {
        let text = r#"ASSOCIATORS OF {Msvm_A.Name="a}\"b"} WHERE AssocClass = Msvm_X ResultClass=Msvm_Y Role=Antecedent"#;
        let Ok(Query::Associators { path, wanted }) = parse(text) else {
            panic!("it is one");
        };
        assert_eq!(path, r#"Msvm_A.Name="a}\"b""#);
        assert_eq!(wanted.association.as_deref(), Some("Msvm_X"));
        assert_eq!(wanted.result.as_deref(), Some("Msvm_Y"));
        assert_eq!(wanted.role.as_deref(), Some("Antecedent"));
        let references = "REFERENCES OF {Msvm_A.Name='a'} WHERE ResultClass = Msvm_X";
        assert!(matches!(parse(references), Ok(Query::References { .. })));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "SELECT",
            "SELECT * FROM",
            "SELECT * Msvm_Thing",
            "SELECT * FROM Msvm_Thing WHERE",
            "SELECT * FROM Msvm_Thing WHERE Name",
            "SELECT * FROM Msvm_Thing WHERE Name = ",
            "SELECT * FROM Msvm_Thing WHERE Name = \"open",
            "SELECT * FROM Msvm_Thing WHERE Name = open",
            "SELECT * FROM Msvm_Thing WHERE (Name = 'a'",
            "SELECT * FROM Msvm_Thing WHERE Name = 'a' Name = 'b'",
            "SELECT * FROM Msvm_Thing; DROP",
            "ASSOCIATORS OF Msvm_A.Name='a'",
            "ASSOCIATORS OF {Msvm_A.Name='a'} WHERE",
            "ASSOCIATORS OF {Msvm_A.Name='a'} WHERE Name = 'b'",
            "ASSOCIATORS OF {Msvm_A.Name='a'} WHERE ResultClass = A AND Role = B",
            "DELETE FROM Msvm_A",
        ] {
            assert_eq!(parse(text), Err(SyntaxError), "{text}");
        }
    }
}
