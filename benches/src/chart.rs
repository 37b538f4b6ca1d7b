//! Bars of text, for pages that show growth at a glance.

use std::fmt::Write as _;

/// The longest bar.
const LENGTH_MAX: usize = 40;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What it belongs to; said once for all bars that follow one another.
    pub group: String,
    /// Which one it is.
    pub name: String,
    /// How long it is, in any unit that all share.
    pub length: f64,
    /// The value in words.
    pub text: String,
}

/// Returns the bars below each other, the longest as long as the page allows.
pub fn chart(heading: &str, bars: &[Bar]) -> String {
    let longest = bars.iter().map(|bar| bar.length).fold(0.0, f64::max);
    let width = |of: &dyn Fn(&Bar) -> &str| {
        let widths = bars.iter().map(|bar| of(bar).chars().count());
        widths.max().unwrap_or(0)
    };
    let (group_width, name_width) = (width(&|bar| &bar.group), width(&|bar| &bar.name));
    let mut text = format!("{heading}\n");
    let mut group = "";
    for bar in bars {
        let said = if bar.group == group { "" } else { &bar.group };
        group = &bar.group;
        let share = if longest > 0.0 {
            bar.length / longest
        } else {
            0.0
        };
        // Whatever is there at all is seen.
        let length = ((share * LENGTH_MAX as f64).round() as usize).max(1);
        let _ = writeln!(
            text,
            "{said:<group_width$}  {:>name_width$}  {:<LENGTH_MAX$}  {}",
            bar.name,
            "█".repeat(length),
            bar.text
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share() {
        let bar = |group: &str, name: &str, length: f64| Bar {
            group: group.to_owned(),
            name: name.to_owned(),
            length,
            text: format!("{length} s"),
        };
        let bars = [
            bar("list", "10", 0.0),
            bar("list", "100", 2.0),
            bar("show", "10", 4.0),
        ];
        let pad = |length: usize| "█".repeat(length) + &" ".repeat(LENGTH_MAX - length);
        let expected = format!(
            "Time\nlist   10  {}  0 s\n      100  {}  2 s\nshow   10  {}  4 s\n",
            pad(1),
            pad(20),
            pad(40)
        );
        assert_eq!(chart("Time", &bars), expected);
    }
}
