//! What was handed over and not taken, in order, in no more memory than it is worth.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem;

use bytes::{Buf, Bytes, BytesMut};

use super::pieces::JOIN_BELOW;

/// The most pieces handed to one `writev(2)`; Linux takes 1024, and above a few dozen nothing is
/// won any more.
pub(super) const MAX_SLICES: usize = 64;

/// How far small pieces are joined before the next begins: what has gone out of one is given back
/// with its last byte.
const JOINED_AT_MOST: usize = 64 << 10;

/// Pieces that the system, or the TLS session, has not taken yet.
///
/// A piece is a slice of something larger as a rule: a kilobyte can keep 64 alive, and the handle alone
/// outweighs a single byte. Both are nothing while a piece passes through, but a peer that does not
/// read could have thousands of them wait. So what has to wait is [settled](Self::settle): small pieces
/// are copied together. Large ones stay as they are, and with them what was broadcast stays shared.
#[derive(Default)]
pub(super) struct Waiting {
    /// What is settled.
    pieces: VecDeque<Bytes>,
    /// Small pieces that come after those, joined.
    tail: BytesMut,
    /// What comes after that, as it was written.
    newest: VecDeque<Bytes>,
}

impl From<VecDeque<Bytes>> for Waiting {
    fn from(newest: VecDeque<Bytes>) -> Self {
        Self {
            newest,
            ..Self::default()
        }
    }
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.tail.is_empty() && self.newest.is_empty()
    }

    /// Puts a piece behind the others.
    pub(super) fn push(&mut self, piece: Bytes) {
        self.newest.push_back(piece);
    }

    /// Does so with several.
    pub(super) fn extend(&mut self, pieces: VecDeque<Bytes>) {
        if self.newest.is_empty() {
            self.newest = pieces;
        } else {
            self.newest.extend(pieces);
        }
    }

    /// The first of them, as slices, and how many those are.
    pub(super) fn slices(&self) -> ([IoSlice<'_>; MAX_SLICES], usize) {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let tail = (!self.tail.is_empty()).then_some(&self.tail[..]);
        let pieces = self.pieces.iter().map(|piece| &piece[..]);
        let newest = self.newest.iter().map(|piece| &piece[..]);
        let mut used = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces.chain(tail).chain(newest)) {
            *slice = IoSlice::new(piece);
            used += 1;
        }
        (slices, used)
    }

    /// Drops the first `n` bytes, of which there have to be so many.
    pub(super) fn advance(&mut self, n: usize) {
        let n = drop_front(&mut self.pieces, n);
        if n == 0 {
            return;
        }
        let of_tail = n.min(self.tail.len());
        self.tail.advance(of_tail);
        if self.tail.is_empty() {
            self.tail = BytesMut::new();
        }
        let beyond = drop_front(&mut self.newest, n - of_tail);
        debug_assert_eq!(beyond, 0, "no more is taken than there is");
    }

    /// Says that all that there is has to wait.
    pub(super) fn settle(&mut self) {
        if self.pieces.is_empty() && self.tail.is_empty() {
            // Of what was offered already, more will be taken soon.
            self.pieces.extend(self.newest.pop_front());
        }
        for piece in mem::take(&mut self.newest) {
            if piece.len() > JOIN_BELOW {
                self.end_tail();
                self.pieces.push_back(piece);
            } else {
                if self.tail.len() + piece.len() > JOINED_AT_MOST {
                    self.end_tail();
                }
                self.tail.extend_from_slice(&piece);
            }
        }
    }

    /// What comes next does not fit behind it.
    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(mem::take(&mut self.tail).freeze());
        }
    }
}

/// Drops the first `n` bytes of a sequence of pieces, and says how many it was short of.
fn drop_front(pieces: &mut VecDeque<Bytes>, mut n: usize) -> usize {
    while n > 0 {
        let Some(first) = pieces.front_mut() else {
            return n;
        };
        if n < first.len() {
            first.advance(n);
            return 0;
        }
        n -= first.len();
        pieces.pop_front();
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::collection::vec;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Extend(Vec<usize>),
        Advance(prop::sample::Index),
        Settle,
    }

    fn size() -> impl Strategy<Value = usize> {
        prop_oneof![
            4 => 1..50usize,
            1 => JOIN_BELOW - 1..JOIN_BELOW + 2,
            1 => 1..JOINED_AT_MOST + 2,
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => size().prop_map(Step::Push),
            1 => vec(size(), 2..5).prop_map(Step::Extend),
            2 => any::<prop::sample::Index>().prop_map(Step::Advance),
            3 => Just(Step::Settle),
        ]
    }

    /// Everything, by way of the slices, as whoever writes takes it.
    fn drain(waiting: &mut Waiting) -> Vec<u8> {
        let mut all = Vec::new();
        while !waiting.is_empty() {
            let before = all.len();
            let (slices, used) = waiting.slices();
            slices[..used].iter().for_each(|slice| {
                assert!(!slice.is_empty());
                all.extend_from_slice(slice);
            });
            let n = all.len() - before;
            waiting.advance(n);
        }
        all
    }

    proptest! {
        #[test]
        fn everything_comes_out_in_its_order(steps in vec(step(), 0..60)) {
            let (mut waiting, mut expected) = (Waiting::default(), Vec::new());
            let mut next = 0u8;
            let mut bytes = |len: usize| -> Bytes {
                let bytes = (0..len).map(|_| { next = next.wrapping_add(1); next });
                bytes.collect::<Vec<_>>().into()
            };
            for step in steps {
                match step {
                    Step::Push(len) => {
                        let piece = bytes(len);
                        expected.extend_from_slice(&piece);
                        waiting.push(piece);
                    }
                    Step::Extend(lens) => {
                        let pieces: VecDeque<Bytes> = lens.into_iter().map(&mut bytes).collect();
                        expected.extend(pieces.iter().flatten());
                        waiting.extend(pieces);
                    }
                    Step::Advance(index) => {
                        let (slices, used) = waiting.slices();
                        let there = slices[..used].iter().map(|slice| slice.len()).sum::<usize>();
                        let n = index.index(there + 1);
                        expected.drain(..n);
                        waiting.advance(n);
                    }
                    Step::Settle => waiting.settle(),
                }
                prop_assert_eq!(waiting.is_empty(), expected.is_empty());
            }
            prop_assert_eq!(drain(&mut waiting), expected);
        }
    }

    /// A piece that is a slice of 4 KiB, as small messages are.
    fn slice(len: usize) -> Bytes {
        Bytes::from(vec![7; 4096]).slice(..len)
    }

    #[test]
    fn small_pieces_that_wait_keep_nothing_alive_and_need_no_handle_each() {
        let mut waiting = Waiting::default();
        for _ in 0..300_000 {
            waiting.push(slice(1));
            waiting.settle();
        }
        let handles = waiting.pieces.len();
        // All but the first were copied: each is as large as its memory, within what doubling leaves.
        assert!(handles <= 1 + 300_000 / (JOINED_AT_MOST / 2), "{handles}");
        assert_eq!(drain(&mut waiting).len(), 300_000);
    }

    #[test]
    fn what_is_joined_once_is_not_copied_again() {
        let mut waiting = Waiting::default();
        for len in [5, 6, JOIN_BELOW + 1, 7] {
            waiting.push(slice(len));
            waiting.settle();
        }
        let place = waiting.pieces[1].as_ptr();
        waiting.push(slice(3));
        waiting.settle();
        waiting.push(slice(3000));
        waiting.settle();
        assert_eq!(waiting.pieces[1].as_ptr(), place);
        let lens = waiting.pieces.iter().map(Bytes::len).collect::<Vec<_>>();
        assert_eq!(lens, [5, 6, JOIN_BELOW + 1, 10, 3000]);
        assert!(waiting.tail.is_empty());
    }

    #[test]
    fn large_pieces_stay_shared() {
        let mut waiting = Waiting::default();
        let broadcast = Bytes::from(vec![1; 10_000]);
        for _ in 0..3 {
            waiting.push(broadcast.clone());
        }
        waiting.settle();
        let (slices, used) = waiting.slices();
        assert_eq!(used, 3);
        assert!(
            slices[..used]
                .iter()
                .all(|slice| slice.as_ptr() == broadcast.as_ptr())
        );
    }
}
