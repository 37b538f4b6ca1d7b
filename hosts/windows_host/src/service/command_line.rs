//! A program and its arguments as the one line that Windows starts programs with.

use std::path::Path;

/// Returns the line, each part in quotes, so that no folder with a space in its name is taken for
/// the program.
pub fn command_line(program: &Path, arguments: &[&str]) -> String {
    // A path has no quotes in it, and what follows its last backslash is no quote of an argument.
    let mut line = format!("\"{}\"", program.display());
    for argument in arguments {
        line.push(' ');
        quote(argument, &mut line);
    }
    line
}

/// Adds an argument by the rules of `CommandLineToArgvW`: backslashes count only before quotes.
fn quote(argument: &str, line: &mut String) {
    line.push('"');
    let mut backslashes = 0;
    for character in argument.chars() {
        match character {
            '\\' => backslashes += 1,
            '"' => {
                // As many more, and one for the quote.
                line.extend(std::iter::repeat_n('\\', backslashes + 1));
                backslashes = 0;
            }
            _ => backslashes = 0,
        }
        line.push(character);
    }
    line.extend(std::iter::repeat_n('\\', backslashes));
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_quoted_as_windows_takes_it_apart() {
        let line = command_line(
            Path::new(r"C:\Program Files\e3\agent.exe"),
            &["service", "", r"D:\backup\", r#"a"b"#, r#"a\"b"#],
        );
        assert_eq!(
            line,
            r#""C:\Program Files\e3\agent.exe" "service" "" "D:\backup\\" "a\"b" "a\\\"b""#
        );
    }
}
