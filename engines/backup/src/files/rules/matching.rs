//! Whether a path is what a pattern stands for, as Kopia's matcher answers it.
//!
//! Kopia tries what a star could take from the shortest on, and one attempt may end others: at a
//! slash those of all stars but `**`, at the end of the path all. That is not quite what git does.
//! A star stops only once it has taken a slash, so `a*b` is also `ax/b`; and `*/` at the place
//! where an attempt begins is never an empty name.
//!
//! The answer for each pair of star and place is worked out once, from the last star to the first.
//! The work grows with the length of pattern and path, never with the number of ways to try.

use super::token::Token;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Match,
    /// Not here.
    Miss,
    /// The path was too short, and would be from later places too.
    EndOfPath,
    /// A star came across a slash; only a `**` before it may go on.
    Crossed,
}

/// Says whether all of `path` is what `tokens` stand for.
pub(super) fn matches(tokens: &[Token], path: &[char]) -> bool {
    if !end_fits(tokens, path) {
        return false;
    }
    let attempt = Attempt {
        tokens,
        path,
        last_slash: path.iter().rposition(|&letter| letter == '/'),
    };
    match attempt.run(0, 0) {
        Run::Ended(outcome) => outcome == Outcome::Match,
        Run::AtStar { star, place } => attempt.row(star)[place] == Outcome::Match,
    }
}

/// What stands behind the last star must be the end of the path, but for the slash of `**/`, which
/// may stand for nothing. Spares most attempts.
fn end_fits(tokens: &[Token], path: &[char]) -> bool {
    let end = match tokens.iter().rposition(Token::is_star) {
        Some(star) if is_folders(tokens, star) => &tokens[star + 2..],
        Some(star) => &tokens[star + 1..],
        None => tokens,
    };
    path.len() >= end.len()
        && end
            .iter()
            .rev()
            .zip(path.iter().rev())
            .all(|(token, &letter)| token.takes(letter))
}

/// Says whether a star is that of `**/` with more behind it, which may stand for nothing.
fn is_folders(tokens: &[Token], star: usize) -> bool {
    matches!(tokens[star..], [Token::DoubleStar, Token::Separator, _, ..])
}

/// How far tokens were followed without a choice.
enum Run {
    Ended(Outcome),
    AtStar { star: usize, place: usize },
}

struct Attempt<'a> {
    tokens: &'a [Token],
    path: &'a [char],
    last_slash: Option<usize>,
}

impl Attempt<'_> {
    /// Follows the tokens from `first` on at a place in the path up to a star that has a choice.
    fn run(&self, first: usize, begin: usize) -> Run {
        let mut place = begin;
        for (number, token) in self.tokens.iter().enumerate().skip(first) {
            if token.is_star() {
                if number + 1 == self.tokens.len() {
                    let crosses = self.last_slash.is_some_and(|slash| slash >= place);
                    let stops = *token == Token::Star && crosses;
                    return Run::Ended(if stops { Outcome::Miss } else { Outcome::Match });
                }
                if !self.is_whole_name(number) {
                    return Run::AtStar {
                        star: number,
                        place,
                    };
                }
                let rest = &self.path[place..];
                match rest.iter().position(|&letter| letter == '/') {
                    Some(0) if place == begin => return Run::Ended(Outcome::Miss),
                    None => return Run::Ended(Outcome::Miss),
                    Some(bytes) => place += bytes,
                }
                continue;
            }
            match self.path.get(place) {
                None => return Run::Ended(Outcome::EndOfPath),
                Some(&letter) if token.takes(letter) => place += 1,
                Some(_) => return Run::Ended(Outcome::Miss),
            }
        }
        Run::Ended(match place == self.path.len() {
            true => Outcome::Match,
            false => Outcome::Miss,
        })
    }

    /// Says whether this is a single star before a slash, which has no choice: it takes all up to
    /// the next slash.
    fn is_whole_name(&self, number: usize) -> bool {
        self.tokens[number] == Token::Star && self.tokens.get(number + 1) == Some(&Token::Separator)
    }

    /// Returns how the attempts of a star end from each place of the path, its end included.
    fn row(&self, first_star: usize) -> Vec<Outcome> {
        let choices = (first_star..self.tokens.len() - 1)
            .filter(|&number| self.tokens[number].is_star() && !self.is_whole_name(number));
        let mut row = Vec::new();
        for star in choices.rev() {
            row = self.row_before(star, &row);
        }
        row
    }

    /// Returns the row of a star from that of the next star with a choice.
    fn row_before(&self, star: usize, next_row: &[Outcome]) -> Vec<Outcome> {
        let resolved = |first: usize, place: usize| match self.run(first, place) {
            Run::Ended(outcome) => outcome,
            Run::AtStar { place, .. } => next_row[place],
        };
        let double = self.tokens[star] == Token::DoubleStar;
        let end = self.path.len();
        let mut row = vec![Outcome::EndOfPath; end + 1];
        // How the attempts end that begin here and are not the star's first.
        let mut going_on = Outcome::EndOfPath;
        for place in (0..end).rev() {
            let here = resolved(star + 1, place);
            let decided = |crossing: bool| match here {
                Outcome::Miss if !double && crossing => Some(Outcome::Crossed),
                Outcome::Miss => None,
                Outcome::Crossed if double => None,
                outcome => Some(outcome),
            };
            row[place] = decided(self.path[place] == '/').unwrap_or(going_on);
            let after_slash = place > 0 && self.path[place - 1] == '/';
            going_on = decided(after_slash).unwrap_or(going_on);
        }
        if is_folders(self.tokens, star) {
            for (place, outcome) in row.iter_mut().enumerate() {
                if resolved(star + 2, place) == Outcome::Match {
                    *outcome = Outcome::Match;
                }
            }
        }
        row
    }
}
