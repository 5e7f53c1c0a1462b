//! Timers that can be cancelled for good.

use slab::Slab;

/// Children per node of the heap.
///
/// Four halves the depth of a binary heap, and the four children share two cache lines.
const ARITY: usize = 4;

/// Room kept for coming timers when the last one is gone; more is given back.
const KEPT_CAPACITY: usize = 1024;

/// Names a scheduled command, to [`cancel`](crate::Reactor::cancel) it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey {
    node: u32,
    // Never re-used, so a stale key finds nothing, whoever holds its node by then.
    seq: u64,
}

impl TimerKey {
    pub(crate) fn node(self) -> u32 {
        self.node
    }
}

/// A heap in which every timer knows its place.
///
/// Cancelling really removes: leaving dead entries to be skipped when due lets a server that
/// arms a timer per request and cancels it hold every request of the last minute. Times are
/// nanoseconds on the reactor's clock; equal ones fire in the order in which they were armed.
#[derive(Debug)]
pub(crate) struct Timers<V> {
    heap: Vec<Item>,
    nodes: Slab<Node<V>>,
    next_seq: u64,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    when: u64,
    seq: u64,
    node: u32,
}

#[derive(Debug)]
struct Node<V> {
    place: u32,
    value: V,
}

impl<V> Timers<V> {
    pub(crate) fn new() -> Self {
        Self {
            heap: Vec::new(),
            nodes: Slab::new(),
            next_seq: 0,
        }
    }

    /// Gives back the memory that no timer needs. Sequence numbers go on, so that a key of a timer
    /// that has fired stays stale.
    pub(crate) fn shrink(&mut self) {
        self.heap.shrink_to_fit();
        self.nodes.shrink_to_fit();
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// When the next timer is due.
    pub(crate) fn next(&self) -> Option<u64> {
        self.heap.first().map(|item| item.when)
    }

    pub(crate) fn insert(&mut self, when: u64, value: V) -> TimerKey {
        let place = index(self.heap.len());
        let node = index(self.nodes.insert(Node { place, value }));
        let seq = self.next_seq;
        self.next_seq += 1;
        self.heap.push(Item { when, seq, node });
        self.sift_up(place as usize);
        TimerKey { node, seq }
    }

    /// Moves a timer known to be armed to another time.
    pub(crate) fn reschedule(&mut self, node: u32, when: u64) {
        let place = self.nodes[node as usize].place as usize;
        let earlier = when < self.heap[place].when;
        self.heap[place].when = when;
        self.heap[place].seq = self.next_seq;
        self.next_seq += 1;
        if earlier {
            self.sift_up(place)
        } else {
            self.sift_down(place)
        }
    }

    /// When a timer known to be armed is due.
    pub(crate) fn when(&self, node: u32) -> u64 {
        self.heap[self.nodes[node as usize].place as usize].when
    }

    /// Removes a timer by a key that may be stale.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<V> {
        let place = self.nodes.get(key.node as usize)?.place as usize;
        (self.heap[place].seq == key.seq).then(|| self.remove(key.node))
    }

    /// Removes a timer known to be armed.
    pub(crate) fn remove(&mut self, node: u32) -> V {
        let Node { place, value } = self.nodes.remove(node as usize);
        let place = place as usize;
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            // The one that took the place came from the end of another branch, so it may
            // belong further up as well as further down.
            self.nodes[self.heap[place].node as usize].place = index(place);
            self.sift_up(place);
            self.sift_down(place);
        }
        if self.heap.is_empty() && self.heap.capacity() > KEPT_CAPACITY {
            self.heap = Vec::new();
            self.nodes = Slab::new();
        }
        value
    }

    /// Takes the first timer that is due at `now`.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<V> {
        let first = *self.heap.first()?;
        (first.when <= now).then(|| self.remove(first.node))
    }

    fn sift_up(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / ARITY;
            if !self.before(place, parent) {
                break;
            }
            self.swap(place, parent);
            place = parent;
        }
    }

    fn sift_down(&mut self, mut place: usize) {
        loop {
            let first = place * ARITY + 1;
            let children = first..(first + ARITY).min(self.heap.len());
            let Some(least) = children.min_by_key(|&at| (self.heap[at].when, self.heap[at].seq))
            else {
                break;
            };
            if !self.before(least, place) {
                break;
            }
            self.swap(least, place);
            place = least;
        }
    }

    fn before(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.heap[a], &self.heap[b]);
        (a.when, a.seq) < (b.when, b.seq)
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        for place in [a, b] {
            self.nodes[self.heap[place].node as usize].place = index(place);
        }
    }
}

fn index(place: usize) -> u32 {
    u32::try_from(place).expect("fewer than 2^32 timers fit in memory")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u64),
        Cancel(usize),
        Reschedule(usize, u64),
        PopDue(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        // Few times, so that many are equal.
        prop_oneof![
            3 => (0..20u64).prop_map(Op::Insert),
            1 => any::<usize>().prop_map(Op::Cancel),
            2 => (any::<usize>(), 0..20u64).prop_map(|(which, when)| Op::Reschedule(which, when)),
            1 => (0..20u64).prop_map(Op::PopDue),
        ]
    }

    proptest! {
        /// The heap against a sorted map.
        #[test]
        fn behaves_like_a_sorted_map(ops in prop::collection::vec(op(), 1..300)) {
            let mut timers = Timers::new();
            let mut model = BTreeMap::new();
            let mut keys = Vec::<(TimerKey, (u64, u64))>::new();
            let mut seq = 0;
            for (value, op) in ops.into_iter().enumerate() {
                match op {
                    Op::Insert(when) => {
                        let key = timers.insert(when, value);
                        model.insert((when, seq), value);
                        keys.push((key, (when, seq)));
                        seq += 1;
                    }
                    Op::Cancel(which) if !keys.is_empty() => {
                        let (key, place) = keys[which % keys.len()];
                        prop_assert_eq!(timers.cancel(key), model.remove(&place));
                    }
                    Op::Reschedule(which, when) if !keys.is_empty() => {
                        let at = which % keys.len();
                        let (key, place) = keys[at];
                        if let Some(value) = model.remove(&place) {
                            prop_assert_eq!(timers.when(key.node()), place.0);
                            timers.reschedule(key.node(), when);
                            model.insert((when, seq), value);
                            keys[at] = (TimerKey { node: key.node(), seq }, (when, seq));
                            seq += 1;
                        }
                    }
                    Op::PopDue(now) => {
                        let first = model.first_key_value().map(|(&place, _)| place);
                        let due = first.filter(|place| place.0 <= now);
                        let expected = due.and_then(|place| model.remove(&place));
                        prop_assert_eq!(timers.pop_due(now), expected);
                    }
                    Op::Cancel(_) | Op::Reschedule(..) => {}
                }
                prop_assert_eq!(timers.len(), model.len());
                let next = model.first_key_value().map(|(place, _)| place.0);
                prop_assert_eq!(timers.next(), next);
            }
        }
    }
}
