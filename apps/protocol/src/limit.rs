//! Limits of the server's columns, and text cut to them.

/// What an event may carry before it is sent packed, in bytes of JSON.
pub const PLAIN_EVENTS_BYTES_MAX: usize = 48 * 1024;
/// The longest summary of an error that is stored.
pub const ERROR_SUMMARY_CHARS_MAX: usize = 700;
/// The longest description of what a run works on.
pub const CURRENT_ITEM_CHARS_MAX: usize = 1024;
/// The longest identifier of a manifest.
pub const MANIFEST_ID_CHARS_MAX: usize = 255;
/// The longest pointer that the server hands back with the next run.
pub const CHECKPOINT_ID_CHARS_MAX: usize = 64;
/// The longest name and code of an event.
pub const MESSAGE_ID_CHARS_MAX: usize = 64;
/// The longest type of an event.
pub const EVENT_TYPE_CHARS_MAX: usize = 32;
/// The longest level of an event.
pub const LEVEL_CHARS_MAX: usize = 16;
/// The longest key by which the server recognises an event of the agent's health as a repeated one.
pub const DEDUPE_KEY_CHARS_MAX: usize = 191;
/// The most that the parameters of one event take, in bytes of JSON.
pub const PARAMS_BYTES_MAX: usize = 60_000;
/// The longest parameter of an event that went through a firewall only when it was compact.
pub const COMPACT_PARAM_CHARS_MAX: usize = 320;
/// The longest name of a change-tracking point.
pub const RCT_ID_CHARS_MAX: usize = 128;
/// The most volumes that the server keeps.
pub const VOLUMES_MAX: usize = 200;

/// Returns `text`, or its beginning with an ellipsis, in at most `chars_max` characters.
pub fn shortened(text: &str, chars_max: usize) -> String {
    if text.chars().nth(chars_max).is_none() {
        return text.to_owned();
    }
    let kept = chars_max.saturating_sub(1);
    let mut short: String = text.chars().take(kept).collect();
    if chars_max > 0 {
        short.push('…');
    }
    short
}

/// Cuts `text` where it stands.
pub(crate) fn shorten(text: &mut String, chars_max: usize) {
    if text.chars().nth(chars_max).is_some() {
        *text = shortened(text, chars_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_and_says_so() {
        assert_eq!(shortened("Größe", 5), "Größe");
        assert_eq!(shortened("Größen", 5), "Größ…");
        assert_eq!(shortened("ab", 1), "…");
        assert_eq!(shortened("ab", 0), "");
    }
}
