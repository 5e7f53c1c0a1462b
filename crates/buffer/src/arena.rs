//! Copies of small messages, side by side in shared chunks that are used again.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// How many used chunks are remembered, to be used again once their last message is dropped.
///
/// A turn of an event loop handles a thousand messages at most before they are dropped; sixteen
/// chunks hold that many ordinary ones.
const REMEMBERED: usize = 16;

/// Copies messages into chunks: no allocation for each, and none at all in steady state.
///
/// A message keeps its chunk alive, so a chunk is kept small beside a read block: that is what a
/// message that somebody stores for long costs at most.
pub(crate) struct Arena {
    chunk: usize,
    /// The free rest of the chunk being filled.
    current: BytesMut,
    /// There is a chunk behind `current`, even if none of it is free.
    started: bool,
    /// Handles to full chunks, the oldest first: its messages have most likely been dropped.
    full: VecDeque<BytesMut>,
}

impl Arena {
    /// Holds no memory until the first copy.
    pub(crate) fn new(chunk: usize) -> Self {
        Self {
            chunk,
            current: BytesMut::new(),
            started: false,
            full: VecDeque::new(),
        }
    }

    #[inline(always)]
    pub(crate) fn copy(&mut self, message: &[u8]) -> Bytes {
        if message.len() > self.current.capacity() {
            self.refill(message.len());
        }
        self.current.extend_from_slice(message);
        self.current.split().freeze()
    }

    #[cold]
    fn refill(&mut self, len: usize) {
        let size = self.chunk.max(len);
        let used = std::mem::take(&mut self.current);
        if self.started {
            self.full.push_back(used);
        }
        self.started = true;
        if let Some(mut oldest) = self.full.pop_front() {
            if oldest.try_reclaim(size) {
                self.current = oldest;
                return;
            }
            // Somebody keeps a message of it. It may be free the next time round.
            if self.full.len() < REMEMBERED {
                self.full.push_back(oldest);
            }
        }
        self.current = BytesMut::with_capacity(size);
    }

    /// Forgets all chunks; their memory goes with their last messages.
    pub(crate) fn release(&mut self) {
        *self = Self::new(self.chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_share_a_chunk_and_a_free_chunk_is_used_again() {
        let mut arena = Arena::new(1024);
        let first = arena.copy(b"one");
        let second = arena.copy(b"two");
        assert_eq!((&first[..], &second[..]), (&b"one"[..], &b"two"[..]));
        assert_eq!(second.as_ptr(), first[3..].as_ptr(), "side by side");
        let place = first.as_ptr();
        drop((first, second));
        let mut again = false;
        for _ in 0..2 * REMEMBERED {
            let message = arena.copy(&[7; 1000]);
            again |= message.as_ptr() == place;
        }
        assert!(again, "the first chunk came round again");
    }

    #[test]
    fn a_chunk_that_is_filled_to_the_last_byte_is_used_again() {
        let mut arena = Arena::new(64);
        let places: Vec<_> = (0..100).map(|_| arena.copy(&[7; 32]).as_ptr()).collect();
        assert!(places[2..].contains(&places[0]));
    }

    #[test]
    fn a_kept_message_keeps_its_bytes() {
        let mut arena = Arena::new(64);
        let kept: Vec<Bytes> = (0..200u8).map(|n| arena.copy(&[n; 20])).collect();
        for (n, message) in kept.iter().enumerate() {
            assert!(message.iter().all(|byte| usize::from(*byte) == n));
        }
        assert!(arena.full.len() <= REMEMBERED);
    }

    #[test]
    fn a_message_larger_than_a_chunk_gets_one_of_its_own() {
        let mut arena = Arena::new(64);
        assert_eq!(arena.copy(&[1; 1000]).len(), 1000);
        assert_eq!(arena.copy(&[2; 10]).len(), 10);
        arena.release();
        assert_eq!(arena.copy(b"x"), "x");
    }
}
