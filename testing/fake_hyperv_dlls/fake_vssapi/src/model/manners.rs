//! What is not known for certain of VSS, as switches.

use std::str::FromStr;

/// Which of two manners the model has; the default is what is believed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Manners {
    /// The freeze itself fails with the code of a writer that failed.
    pub the_freeze_tells_of_writers: bool,
    /// A query that finds nothing gives no list at all.
    pub no_list_of_nothing: bool,
}

impl FromStr for Manners {
    type Err = String;

    /// Reads switches with commas between them.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut manners = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            match word {
                "the-freeze-tells-of-writers" => manners.the_freeze_tells_of_writers = true,
                "no-list-of-nothing" => manners.no_list_of_nothing = true,
                other => return Err(format!("there is no switch {other}")),
            }
        }
        Ok(manners)
    }
}
