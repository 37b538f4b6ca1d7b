//! What is remembered of callers, within bounds: whoever sends ever new names fills nothing.

use std::collections::HashMap;
use std::hash::Hash;

/// So many callers are remembered at once by whoever remembers some.
pub(super) const CALLERS_MAX: usize = 20_000;

/// Makes room for a key in a map that is full: first what nobody needs any more goes, and if all of it is needed, all.
pub(super) fn make_room<K: Eq + Hash, V>(
    map: &mut HashMap<K, V>,
    key: &K,
    is_needed: impl Fn(&V) -> bool,
) {
    if map.len() < CALLERS_MAX || map.contains_key(key) {
        return;
    }
    map.retain(|_, value| is_needed(value));
    if map.len() >= CALLERS_MAX {
        map.clear();
    }
}
