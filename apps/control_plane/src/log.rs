//! Lines for whoever runs the server, on standard error: time, level, text. No secret belongs in one,
//! but for the code of the first start, which is told there on purpose and ends with it.

use std::any::Any;
use std::fmt::Display;
use std::io::Write as _;

use jiff::Timestamp;

/// Something went wrong that somebody should look at.
pub fn error(text: impl Display) {
    line("error", text);
}

/// Something is not as it should be, and work goes on.
pub fn warn(text: impl Display) {
    line("warn", text);
}

/// Something that is worth knowing afterwards.
pub fn info(text: impl Display) {
    line("info", text);
}

/// Returns what a panic said.
pub fn panic_text(cause: &(dyn Any + Send)) -> &str {
    cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| cause.downcast_ref::<&str>().copied())
        .unwrap_or("for an unknown reason")
}

fn line(level: &str, text: impl Display) {
    // The log is of the machine's own time, whatever clock the server plays by.
    let line = formatted(Timestamp::now(), level, text);
    // A disk that is full takes no lines. That is nobody's end.
    let _lost = writeln!(std::io::stderr(), "{line}");
}

/// One event is one line, whatever its text holds.
fn formatted(now: Timestamp, level: &str, text: impl Display) -> String {
    let text = text.to_string();
    let text: String = text
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect();
    format!("{now:.3} {level:5} {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let now = Timestamp::from_millisecond(1_000).expect("a time");
        assert_eq!(
            formatted(now, "warn", "two\nlines"),
            "1970-01-01T00:00:01.000Z warn  two lines"
        );
    }
}
