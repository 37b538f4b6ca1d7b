//! The page that figures are written into, between words that people wrote.
//!
//! A theme's figures stand between two comments that a reader does not see:
//! `<!-- figures: whole -->` and `<!-- end of figures -->`. What was not measured stays.

use anyhow::{Context as _, Result};

const END: &str = "<!-- end of figures -->";

/// Returns the page with a theme's figures replaced.
///
/// # Errors
/// If the page has no place for this theme.
pub fn with_figures(page: &str, theme: &str, figures: &str) -> Result<String> {
    let begin = format!("<!-- figures: {theme} -->");
    let missing = || format!("failed to find the place of {theme}: {begin} … {END}");
    let (before, rest) = page.split_once(&begin).with_context(missing)?;
    let (_, after) = rest.split_once(END).with_context(missing)?;
    let figures = figures.trim();
    Ok(format!("{before}{begin}\n\n{figures}\n\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_figures_of_one_theme_are_replaced() {
        let page = "# A\n<!-- figures: a -->\n1\n<!-- end of figures -->\nwords\n<!-- figures: b -->\n2\n<!-- end of figures -->\n";
        let written = with_figures(page, "b", "3\n").unwrap();
        assert_eq!(written, page.replace("\n2\n", "\n\n3\n\n"));
        assert_eq!(with_figures(&written, "b", "3").unwrap(), written);
        assert!(with_figures(page, "c", "3").is_err());
    }

    #[test]
    fn the_page_has_a_place_for_every_theme() {
        let page = include_str!("../../docs/performance.md");
        for theme in crate::options::Theme::ALL {
            with_figures(page, theme.name(), "figures").unwrap();
        }
    }
}
