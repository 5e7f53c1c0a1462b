//! Hash tables keyed by the node's own numbers.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::id::Alias;

/// Spreads the counter's numbers over a hash table. They are ours and consecutive, so nobody can
/// choose them to collide, and a keyed hash would be paid for nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, n: u64) {
        // Fibonacci hashing: the golden ratio's multiples spread consecutive numbers evenly.
        self.0 = (self.0 ^ n)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(26);
    }
}

pub(crate) type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// Tables with fewer places than this keep them as long as anything is there.
const KEPT: usize = 64;

/// Gives memory back after a burst. Each time at least three quarters of it go, so that the cost
/// is spread over as many removals.
#[inline]
pub(crate) fn shrink_if_sparse<K: Eq + Hash, V>(map: &mut NumberMap<K, V>) {
    if map.len() < map.capacity() / 8 {
        shrink(map);
    }
}

#[cold]
fn shrink<K: Eq + Hash, V>(map: &mut NumberMap<K, V>) {
    if map.is_empty() {
        // Not even a small table: one that was made in the middle of a burst keeps the allocator
        // from giving back everything below it.
        *map = NumberMap::default();
    } else if map.capacity() > KEPT {
        map.shrink_to(map.len() * 2);
    }
}

/// A set of aliases that gives its memory back as they go.
#[derive(Debug, Default)]
pub(crate) struct AliasSet(NumberMap<Alias, ()>);

impl AliasSet {
    /// False if it is there already.
    pub(crate) fn insert(&mut self, alias: Alias) -> bool {
        self.0.insert(alias, ()).is_none()
    }

    /// False if it is not there.
    pub(crate) fn remove(&mut self, alias: Alias) -> bool {
        let found = self.0.remove(&alias).is_some();
        shrink_if_sparse(&mut self.0);
        found
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, the oldest first.
    pub(crate) fn in_order(&self) -> Vec<Alias> {
        let mut all: Vec<_> = self.0.keys().copied().collect();
        all.sort_unstable();
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    use super::*;

    fn alias(number: u64) -> Alias {
        Alias::from_number(1000 + number).expect("it is above zero")
    }

    proptest! {
        #[test]
        fn a_set_of_aliases_is_one(steps in vec((any::<bool>(), 0..200_u64), 0..600)) {
            let (mut set, mut model) = (AliasSet::default(), BTreeSet::new());
            for (insert, number) in steps {
                let it = alias(number);
                if insert {
                    prop_assert_eq!(set.insert(it), model.insert(it));
                } else {
                    prop_assert_eq!(set.remove(it), model.remove(&it));
                }
                prop_assert_eq!(set.len(), model.len());
                prop_assert_eq!(set.is_empty(), model.is_empty());
            }
            prop_assert_eq!(set.in_order(), model.into_iter().collect::<Vec<_>>());
        }
    }

    /// A process that had ten thousand connections does not keep their places.
    #[test]
    fn what_goes_gives_its_memory_back() {
        let mut set = AliasSet::default();
        for number in 0..10_000 {
            set.insert(alias(number));
        }
        let most = set.0.capacity();
        for number in 0..9_900 {
            set.remove(alias(number));
        }
        assert!(set.0.capacity() < most / 10, "{}", set.0.capacity());
        for number in 9_900..10_000 {
            set.remove(alias(number));
        }
        assert_eq!(set.0.capacity(), 0);
    }
}
