//! Splitters: where Kopia cuts an object into contents (Kopia spec 6.3).
//!
//! Readers never need them. A writer does, to cut the same data where Kopia cut it before, so
//! that it is stored only once. Knows positions, not what becomes of the segments.

mod buzhash;
mod dynamic;
mod rabin_karp;
mod rolling;

use std::fmt;

use buzhash::Buzhash;
use dynamic::Dynamic;
use rabin_karp::RabinKarp;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The sizes that splitters come in: what their names say, and bytes.
const SIZES: &[(&str, usize)] = &[
    ("128K", 128 * KIB),
    ("256K", 256 * KIB),
    ("512K", 512 * KIB),
    ("1M", MIB),
    ("2M", 2 * MIB),
    ("4M", 4 * MIB),
    ("8M", 8 * MIB),
];

/// Names for splitters from before sizes were part of the name.
const ALIASES: &[(&str, &str)] = &[("FIXED", "FIXED-4M"), ("DYNAMIC", "DYNAMIC-4M-BUZHASH")];

/// Cuts one stream of bytes into segments.
///
/// ```
/// # use kopia::splitter::Splitter;
/// let mut splitter = Splitter::from_name("FIXED-128K").unwrap();
/// let stream = vec![0; 300_000];
/// let (mut rest, mut segments) = (&stream[..], Vec::new());
/// while let Some(bytes) = splitter.next_cut(rest) {
///     segments.push(bytes);
///     rest = &rest[bytes..];
/// }
/// segments.push(rest.len());
/// assert_eq!(segments, [131_072, 131_072, 37_856]);
/// ```
#[derive(Clone)]
pub struct Splitter {
    state: State,
}

#[derive(Clone)]
enum State {
    Fixed { size: usize, filled: usize },
    Buzhash(Dynamic<Buzhash>),
    RabinKarp(Dynamic<RabinKarp>),
}

impl Splitter {
    /// The splitter of new repositories.
    pub const DEFAULT_NAME: &str = "DYNAMIC-4M-BUZHASH";

    /// Returns the splitter of this name, at the start of a stream.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = ALIASES
            .iter()
            .find(|(alias, _)| *alias == name)
            .map_or(name, |(_, real)| real);
        let state = if let Some(size) = name.strip_prefix("FIXED-") {
            State::Fixed {
                size: size_of_name(size)?,
                filled: 0,
            }
        } else {
            let (size, hash) = name.strip_prefix("DYNAMIC-")?.split_once('-')?;
            let size = size_of_name(size)?;
            match hash {
                "BUZHASH" => State::Buzhash(Dynamic::new(size)),
                "RABINKARP" => State::RabinKarp(Dynamic::new(size)),
                _ => return None,
            }
        };
        Some(Self { state })
    }

    /// Returns the names of all splitters, aliases last.
    pub fn names() -> Vec<String> {
        let mut names = Vec::new();
        for (size, _) in SIZES {
            names.push(format!("FIXED-{size}"));
            names.push(format!("DYNAMIC-{size}-BUZHASH"));
            names.push(format!("DYNAMIC-{size}-RABINKARP"));
        }
        names.extend(ALIASES.iter().map(|(alias, _)| (*alias).to_owned()));
        names
    }

    /// Returns the length that no segment exceeds.
    pub fn segment_bytes_max(&self) -> usize {
        match &self.state {
            State::Fixed { size, .. } => *size,
            State::Buzhash(dynamic) => dynamic.segment_bytes_max(),
            State::RabinKarp(dynamic) => dynamic.segment_bytes_max(),
        }
    }

    /// Takes in the next bytes of the stream and returns how many of them end the current
    /// segment, if it ends among them.
    ///
    /// After a cut, the bytes behind it have not been taken in: hand them in again. Without one,
    /// all have been, and the next call goes on behind them. What is left when the stream ends is
    /// its last segment.
    pub fn next_cut(&mut self, data: &[u8]) -> Option<usize> {
        match &mut self.state {
            State::Fixed { size, filled } => {
                let missing = *size - *filled;
                if data.len() < missing {
                    *filled += data.len();
                    return None;
                }
                *filled = 0;
                Some(missing)
            }
            State::Buzhash(dynamic) => dynamic.next_cut(data),
            State::RabinKarp(dynamic) => dynamic.next_cut(data),
        }
    }

    /// Returns to the start of a stream, forgetting what was taken in since the last cut.
    pub fn reset(&mut self) {
        match &mut self.state {
            State::Fixed { filled, .. } => *filled = 0,
            State::Buzhash(dynamic) => dynamic.reset(),
            State::RabinKarp(dynamic) => dynamic.reset(),
        }
    }
}

impl fmt::Debug for Splitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.state {
            State::Fixed { .. } => "FIXED",
            State::Buzhash(_) => "BUZHASH",
            State::RabinKarp(_) => "RABINKARP",
        };
        f.debug_struct("Splitter")
            .field("kind", &kind)
            .field("segment_bytes_max", &self.segment_bytes_max())
            .finish()
    }
}

fn size_of_name(name: &str) -> Option<usize> {
    SIZES
        .iter()
        .find(|(size, _)| *size == name)
        .map(|(_, bytes)| *bytes)
}

#[cfg(test)]
mod tests;
