//! Paths with `*`, `?` and `**`.

/// Says whether a path that names nothing may mean several things.
pub(super) fn has_wildcards(path: &str) -> bool {
    path.contains(['*', '?'])
}

/// A path whose names may hold wildcards; `**` as a name stands for any number of folders.
#[derive(Debug)]
pub(super) struct PathPattern<'p> {
    names: Vec<&'p str>,
}

/// How much of a pattern the way to a folder may have used up: every possibility at once, so that
/// no tree is walked twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reached(Vec<usize>);

impl<'p> PathPattern<'p> {
    pub(super) fn new(path: &'p str) -> Self {
        let names = path.split('/').filter(|name| !name.is_empty());
        Self {
            names: names.collect(),
        }
    }

    /// Returns where everything begins.
    pub(super) fn begin(&self) -> Reached {
        self.with_folders_left_out([0])
    }

    /// Goes on to what is called `name`; `None` if nothing there or below can be meant.
    pub(super) fn enter(&self, reached: &Reached, name: &str) -> Option<Reached> {
        let next = reached.0.iter().filter_map(|&number| {
            let wanted = *self.names.get(number)?;
            match wanted {
                "**" => Some(number),
                wanted => is_match(wanted, name).then_some(number + 1),
            }
        });
        let next = self.with_folders_left_out(next);
        (!next.0.is_empty()).then_some(next)
    }

    /// Says whether what was reached is meant, with all that is in it.
    pub(super) fn is_whole(&self, reached: &Reached) -> bool {
        reached.0.contains(&self.names.len())
    }

    /// `**` may also stand for no folder.
    fn with_folders_left_out(&self, numbers: impl IntoIterator<Item = usize>) -> Reached {
        let mut all = Vec::new();
        for mut number in numbers {
            loop {
                if !all.contains(&number) {
                    all.push(number);
                }
                if self.names.get(number) != Some(&"**") {
                    break;
                }
                number += 1;
            }
        }
        Reached(all)
    }
}

/// Says whether `pattern` stands for all of `name`: `*` for any characters, `?` for one.
fn is_match(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    // Whether the pattern so far stands for the first characters of the name, for each number.
    let mut fits = vec![false; name.len() + 1];
    fits[0] = true;
    for letter in pattern {
        if letter == '*' {
            let first = fits.iter().position(|&fit| fit).unwrap_or(fits.len());
            fits[first..].fill(true);
            continue;
        }
        for at in (0..name.len()).rev() {
            fits[at + 1] = fits[at] && (letter == '?' || letter == name[at]);
        }
        fits[0] = false;
    }
    fits[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(pattern: &str, path: &str) -> bool {
        let pattern = PathPattern::new(pattern);
        let mut reached = pattern.begin();
        for name in path.split('/') {
            if pattern.is_whole(&reached) {
                return true;
            }
            match pattern.enter(&reached, name) {
                Some(next) => reached = next,
                None => return false,
            }
        }
        pattern.is_whole(&reached)
    }

    #[test]
    fn stars_stay_in_a_name_and_two_stars_are_any_number_of_folders() {
        for (pattern, path, expected) in [
            ("*.txt", "a.txt", true),
            ("*.txt", "a.txt/x", true),
            ("*.txt", "d/a.txt", false),
            ("d/*", "d/a", true),
            ("d/*", "d", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b", "xaxxb", true),
            ("*a*b", "xbxxa", false),
            ("**/x", "x", true),
            ("**/x", "a/b/x", true),
            ("**/x", "a/b/y", false),
            ("a/**/x", "a/b/c/x", true),
            ("a/**", "a", true),
            ("a/**", "b", false),
            ("**/a/**/b", "1/a/2/3/b", true),
            ("**/a/**/b", "1/b/2/a", false),
            ("ä*", "äöü", true),
        ] {
            assert_eq!(means(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn many_wildcards_take_no_longer() {
        let deep = "a/".repeat(2000) + "a";
        assert!(!means(&("**/a/".repeat(50) + "b"), &deep));
        assert!(!is_match(&("*a".repeat(200) + "b"), &"a".repeat(2000)));
    }
}
