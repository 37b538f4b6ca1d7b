//! Damage from a seed: what media, networks and people do to bytes.

use time_and_chance::Chance;

/// Numbers at which arithmetic goes wrong.
const EDGES: [u64; 10] = [
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF_FFFF,
    0xFFFF_FFFF,
    0x7FFF_FFFF_FFFF_FFFF,
    0x8000_0000_0000_0000,
    u64::MAX,
];
/// Words that mean something to parsers of JSON.
const WORDS: [&str; 14] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    ":",
    "null",
    "-1",
    "1e999",
    "18446744073709551616",
    "\\ud800",
    "\"\\u0000\"",
    "9999-12-31T23:59:59.999999999Z",
];
const LENGTH_MAX: usize = 1 << 20;

/// Returns a damaged copy of one of the seeds, spliced with another at times.
pub fn mutate(seeds: &[Vec<u8>], chance: &Chance) -> Vec<u8> {
    let mut bytes = pick(seeds, chance).clone();
    for _ in 0..=chance.below(4) {
        damage(&mut bytes, seeds, chance);
    }
    bytes.truncate(LENGTH_MAX);
    bytes
}

fn pick<'a, T>(from: &'a [T], chance: &Chance) -> &'a T {
    &from[chance.below(from.len() as u64) as usize]
}

/// Returns a place in `bytes`, or its end. Headers are short and say the most.
fn place(bytes: &[u8], chance: &Chance) -> usize {
    let length = bytes.len() as u64;
    let bound = match chance.below(3) {
        0 => length.min(64),
        1 => return (length - chance.below(length.min(64) + 1)) as usize,
        _ => length,
    };
    chance.below(bound + 1) as usize
}

fn damage(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], chance: &Chance) {
    let at = place(bytes, chance);
    let length = (chance.below(32) as usize).min(bytes.len() - at);
    match chance.below(9) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << chance.below(8);
            }
        }
        1 => {
            let number = pick(&EDGES, chance)
                .wrapping_add(chance.below(3))
                .wrapping_sub(1);
            let width = [1, 2, 4, 8][chance.below(4) as usize];
            let number = match chance.below(2) {
                0 => number.to_le_bytes()[..width].to_vec(),
                _ => number.to_be_bytes()[8 - width..].to_vec(),
            };
            let end = (at + width).min(bytes.len());
            bytes.splice(at..end, number);
        }
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..at + length)),
        4 => {
            let again = bytes[at..at + length].repeat(1 + chance.below(40) as usize);
            bytes.splice(at..at, again);
        }
        5 => {
            let mut noise = vec![0; length];
            chance.fill(&mut noise);
            bytes.splice(at..at + length, noise);
        }
        6 => drop(bytes.splice(at..at, pick(&WORDS, chance).bytes())),
        7 => {
            let other = pick(seeds, chance);
            let from = place(other, chance);
            bytes.truncate(at);
            bytes.extend(&other[from..]);
        }
        _ => {
            // A number in decimal becomes another one.
            let digits = |byte: &u8| byte.is_ascii_digit();
            if let Some(first) = bytes[at..].iter().position(digits) {
                let start = at + first;
                let count = bytes[start..]
                    .iter()
                    .take_while(|byte| digits(byte))
                    .count();
                let number = pick(&EDGES, chance).to_string();
                bytes.splice(start..start + count, number.bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_does_the_same_damage_and_damage_is_done() {
        let seeds = [b"{\"some\":\"12345\"}".to_vec(), vec![0; 100], Vec::new()];
        let damaged = |seed| -> Vec<Vec<u8>> {
            let chance = Chance::from_seed(seed);
            (0..200).map(|_| mutate(&seeds, &chance)).collect()
        };
        assert_eq!(damaged(1), damaged(1));
        let changed = damaged(2);
        let changed = changed.iter().filter(|bytes| !seeds.contains(bytes));
        assert!(changed.count() > 150);
    }
}
