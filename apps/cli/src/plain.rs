//! Names, paths and reasons as they stand in what is shown: others chose them, so nothing in them may
//! reach a terminal that it takes for an order, or look like a line of ours.

use std::borrow::Cow;
use std::path::Path;

/// Returns a text on one line: control characters are written as programs' sources write them.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, &[])
}

/// Returns several lines of ours, in which only ends of lines are left as they are.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, &['\n'])
}

/// Returns a path as text for a document; what is no Unicode in it is replaced.
pub fn path(path: &Path) -> String {
    path.display().to_string()
}

fn escaped<'t>(text: &'t str, kept: &[char]) -> Cow<'t, str> {
    let is_order = |letter: char| letter.is_control() && !kept.contains(&letter);
    if !text.contains(is_order) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::new();
    for letter in text.chars() {
        match is_order(letter) {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_takes_for_orders_is_written_out_and_nothing_else_changes() {
        assert_eq!(
            line("it's a \"Grün\" \\ \u{1F40B}"),
            "it's a \"Grün\" \\ \u{1F40B}"
        );
        assert_eq!(
            line("a\nb\r\tc\u{1b}[31m\u{9b}2J\0"),
            "a\\nb\\r\\tc\\u{1b}[31m\\u{9b}2J\\u{0}"
        );
        assert_eq!(lines("one\ntwo\u{7}"), "one\ntwo\\u{7}");
    }
}
