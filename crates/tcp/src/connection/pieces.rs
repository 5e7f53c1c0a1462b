//! What was written and not yet taken by the driver, in few pieces.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Pieces up to this size are copied behind one another instead of going out as slices of their
/// own: a second slice costs the system more than the copy.
pub(super) const JOIN_BELOW: usize = 2048;

/// The least that joined pieces get room for; from there it doubles.
const JOINED_AT_LEAST: usize = 1024;

/// What was written since the driver has last looked.
///
/// Most connections have one answer at a time, which then goes out as it is; an idle one costs five
/// words.
#[derive(Default)]
pub(super) struct Pieces {
    first: Option<Bytes>,
    behind: Option<Box<Behind>>,
}

/// What was written behind the first piece.
#[derive(Default)]
struct Behind {
    large: VecDeque<Bytes>,
    /// The newest pieces as long as they are small, joined.
    tail: BytesMut,
}

/// What was copied and is needed no more: the piece and, before it, perhaps the first. They may be a
/// user's, whose drop can do anything, so it has to happen where no lock is held.
pub(super) type Spent = Option<(Bytes, Option<Bytes>)>;

/// All of it, in order.
pub(crate) enum Taken {
    Nothing,
    One(Bytes),
    Several(VecDeque<Bytes>),
}

impl Pieces {
    #[must_use = "it is to be dropped once the lock is let go"]
    #[inline]
    pub(super) fn push(&mut self, bytes: Bytes) -> Spent {
        if self.is_empty() && !bytes.is_empty() {
            self.first = Some(bytes);
            None
        } else {
            self.push_behind(bytes)
        }
    }

    #[inline(never)]
    fn push_behind(&mut self, bytes: Bytes) -> Spent {
        if bytes.is_empty() {
            return Some((bytes, None));
        }
        if bytes.len() <= JOIN_BELOW {
            let first = self.join(&[&bytes]);
            return Some((bytes, first));
        }
        let behind = self.behind.get_or_insert_default();
        behind.end_tail();
        behind.large.push_back(bytes);
        None
    }

    /// Pushes one message in its framing.
    #[must_use = "it is to be dropped once the lock is let go"]
    pub(super) fn push_parts(&mut self, header: &[u8], payload: Bytes, trailer: &[u8]) -> Spent {
        let len = header.len() + payload.len() + trailer.len();
        if payload.len() == len {
            return self.push(payload);
        }
        if payload.len() > JOIN_BELOW {
            let (header, trailer) = (
                Bytes::copy_from_slice(header),
                Bytes::copy_from_slice(trailer),
            );
            // What is spent of the ends is ours. Of what was there before, a small first piece is.
            let before = self.push(header);
            let _too_large_to_be_copied = self.push(payload);
            let _ours = self.push(trailer);
            return before;
        }
        if !self.is_empty() {
            let first = self.join(&[header, &payload, trailer]);
            return Some((payload, first));
        }
        let mut message = BytesMut::with_capacity(len);
        message.extend_from_slice(header);
        message.extend_from_slice(&payload);
        message.extend_from_slice(trailer);
        self.first = Some(message.freeze());
        Some((payload, None))
    }

    /// Copies something small behind what is there. A small first piece goes along, so that all of it
    /// is one in the end, and comes back.
    fn join(&mut self, parts: &[&[u8]]) -> Option<Bytes> {
        if let Some(behind) = &mut self.behind {
            behind.join(parts);
            return None;
        }
        let first = self.first.take_if(|first| first.len() <= JOIN_BELOW);
        let mut behind = Box::<Behind>::default();
        if let Some(first) = &first {
            behind.join(&[first]);
        }
        behind.join(parts);
        self.behind = Some(behind);
        first
    }

    /// The one piece, if there are not several.
    #[inline]
    pub(super) fn take_only(&mut self) -> Option<Bytes> {
        if self.behind.is_some() {
            return None;
        }
        self.first.take()
    }

    pub(super) fn take(&mut self) -> Taken {
        match (self.first.take(), self.behind.take()) {
            (None, None) => Taken::Nothing,
            (Some(one), None) => Taken::One(one),
            (first, Some(behind)) => behind.take(first),
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.behind.is_none()
    }
}

impl Behind {
    fn join(&mut self, parts: &[&[u8]]) {
        if self.tail.is_empty() {
            let len = parts.iter().map(|part| part.len()).sum::<usize>();
            self.tail.reserve((2 * len).max(JOINED_AT_LEAST));
        }
        for part in parts {
            self.tail.extend_from_slice(part);
        }
    }

    /// What comes next goes out as it is.
    fn end_tail(&mut self) {
        let tail = std::mem::take(&mut self.tail);
        if !tail.is_empty() {
            self.large.push_back(tail.freeze());
        }
    }

    #[inline(never)]
    fn take(mut self, first: Option<Bytes>) -> Taken {
        if first.is_none() && self.large.is_empty() {
            return Taken::One(self.tail.freeze());
        }
        self.end_tail();
        if let Some(first) = first {
            self.large.push_front(first);
        }
        Taken::Several(self.large)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::collection::vec;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Parts(usize, usize, usize),
        Only,
        Take,
    }

    fn size() -> impl Strategy<Value = usize> {
        prop_oneof![0..5usize, JOIN_BELOW - 2..JOIN_BELOW + 3, 0..4 * JOIN_BELOW]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => size().prop_map(Step::Push),
            4 => (0..9usize, size(), 0..3usize).prop_map(|(h, p, t)| Step::Parts(h, p, t)),
            1 => Just(Step::Only),
            1 => Just(Step::Take),
        ]
    }

    fn flat(taken: Taken) -> Vec<u8> {
        match taken {
            Taken::Nothing => Vec::new(),
            Taken::One(one) => {
                assert!(!one.is_empty(), "nothing is not one piece");
                one.to_vec()
            }
            Taken::Several(several) => {
                assert!(several.len() > 1);
                assert!(several.iter().all(|piece| !piece.is_empty()));
                several.into_iter().flatten().collect()
            }
        }
    }

    proptest! {
        #[test]
        fn everything_comes_out_in_its_order(steps in vec(step(), 0..40)) {
            let (mut pieces, mut expected) = (Pieces::default(), Vec::new());
            let mut next = 0u8;
            let mut bytes = |len: usize| -> Bytes {
                let bytes = (0..len).map(|_| { next = next.wrapping_add(1); next });
                bytes.collect::<Vec<_>>().into()
            };
            for step in steps.into_iter().chain([Step::Take]) {
                match step {
                    Step::Push(len) => {
                        let piece = bytes(len);
                        expected.extend_from_slice(&piece);
                        let _copied = pieces.push(piece);
                    }
                    Step::Parts(header, payload, trailer) => {
                        let (header, payload, trailer) = (bytes(header), bytes(payload), bytes(trailer));
                        expected.extend(header.iter().chain(&payload).chain(&trailer));
                        let _copied = pieces.push_parts(&header, payload, &trailer);
                    }
                    Step::Only => {
                        if let Some(only) = pieces.take_only() {
                            prop_assert_eq!(&only[..], &std::mem::take(&mut expected)[..]);
                        }
                    }
                    Step::Take => {
                        prop_assert_eq!(flat(pieces.take()), std::mem::take(&mut expected));
                    }
                }
            }
        }
    }

    #[test]
    fn small_messages_of_one_turn_are_one_piece() {
        let mut pieces = Pieces::default();
        for _ in 0..100 {
            let _copied = pieces.push_parts(&[0, 2], Bytes::from_static(b"ab"), &[]);
        }
        assert!(matches!(pieces.take(), Taken::One(all) if all.len() == 400));
    }

    #[test]
    fn one_piece_is_not_copied() {
        let mut pieces = Pieces::default();
        let piece = Bytes::from_static(b"as it is");
        assert_eq!(pieces.push(piece.clone()), None);
        assert!(matches!(pieces.take(), Taken::One(one) if one.as_ptr() == piece.as_ptr()));
    }
}
