//! The little of MOF that the class texts of this crate use.
//!
//! The texts are part of the program, so whatever does not fit is a broken invariant.

use super::{CimType, Class, Family, Method, Parameter, Property};

/// Reads all classes of a text.
///
/// # Panics
/// If the text is not what this reader knows.
pub(super) fn parse(text: &str) -> Vec<Class> {
    let mut reader = Reader {
        tokens: tokens(text),
        at: 0,
    };
    let mut classes = Vec::new();
    while reader.peek().is_some() {
        classes.push(reader.class());
    }
    classes
}

fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    for line in text.lines() {
        let code = line.split("//").next().unwrap_or_default();
        let mut word = String::new();
        for character in code.chars() {
            if character.is_ascii_alphanumeric() || character == '_' {
                word.push(character);
                continue;
            }
            if !word.is_empty() {
                tokens.push(std::mem::take(&mut word));
            }
            if !character.is_whitespace() && character != '"' {
                tokens.push(character.to_string());
            }
        }
        if !word.is_empty() {
            tokens.push(word);
        }
    }
    tokens
}

struct Reader {
    tokens: Vec<String>,
    at: usize,
}

/// Qualifiers with their argument, such as `key` or `since(1709)`.
type Qualifiers = Vec<(String, Option<String>)>;

fn has(qualifiers: &Qualifiers, name: &str) -> bool {
    qualifiers.iter().any(|(known, _)| known == name)
}

fn argument<'a>(qualifiers: &'a Qualifiers, name: &str) -> Option<&'a str> {
    let mut found = qualifiers.iter().filter(|(known, _)| known == name);
    found.find_map(|(_, argument)| argument.as_deref())
}

impl Reader {
    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.at).map(String::as_str)
    }

    fn next(&mut self) -> String {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token.expect("a class text is whole")
    }

    fn expect(&mut self, wanted: &str) {
        let found = self.next();
        assert_eq!(found, wanted, "token {} of a class text", self.at);
    }

    fn takes(&mut self, wanted: &str) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn qualifiers(&mut self) -> Qualifiers {
        let mut qualifiers = Vec::new();
        if !self.takes("[") {
            return qualifiers;
        }
        loop {
            let name = self.next();
            let argument = self.takes("(").then(|| {
                let argument = self.next();
                self.expect(")");
                argument
            });
            qualifiers.push((name, argument));
            if self.takes("]") {
                return qualifiers;
            }
            self.expect(",");
        }
    }

    fn class(&mut self) -> Class {
        let qualifiers = self.qualifiers();
        self.expect("class");
        let name = self.next();
        let parent = self.takes(":").then(|| self.next());
        let mut class = Class {
            name,
            parent,
            association: has(&qualifiers, "association"),
            properties: Vec::new(),
            methods: Vec::new(),
        };
        self.expect("{");
        while !self.takes("}") {
            self.member(&mut class);
        }
        self.expect(";");
        class
    }

    fn member(&mut self, class: &mut Class) {
        let qualifiers = self.qualifiers();
        let (cim, name, array) = self.declaration();
        if self.takes("(") {
            let parameters = self.parameters();
            class.methods.push(Method {
                name,
                family: match argument(&qualifiers, "codes") {
                    Some("B") => Family::B,
                    _ => Family::A,
                },
                parameters,
            });
        } else {
            class.properties.push(Property {
                name,
                cim,
                array,
                key: has(&qualifiers, "key"),
                since: argument(&qualifiers, "since").and_then(|build| build.parse().ok()),
            });
        }
        self.expect(";");
    }

    fn parameters(&mut self) -> Vec<Parameter> {
        let mut parameters = Vec::new();
        while !self.takes(")") {
            let qualifiers = self.qualifiers();
            let (cim, name, array) = self.declaration();
            parameters.push(Parameter {
                name,
                cim,
                array,
                input: has(&qualifiers, "in"),
                output: has(&qualifiers, "out"),
                optional: has(&qualifiers, "optional"),
            });
            self.takes(",");
        }
        parameters
    }

    /// Reads a type, a name and whether it is an array.
    fn declaration(&mut self) -> (CimType, String, bool) {
        let first = self.next();
        let cim = match CimType::named(&first) {
            Some(cim) => cim,
            None => {
                self.expect("REF");
                CimType::Reference
            }
        };
        let name = self.next();
        let array = self.takes("[");
        if array {
            self.expect("]");
        }
        (cim, name, array)
    }
}
