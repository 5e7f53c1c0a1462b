//! The bytes a decoder keeps between two reads.

use std::mem;
use std::ops::Range;

use bytes::{Buf, Bytes};

/// The least room made for an incomplete frame, and the most that is made before twice as much
/// has arrived.
///
/// A frame of ordinary size that arrives byte by byte then grows its buffer once or twice instead
/// of at every power of two. Ten thousand peers who send one byte each cost 1.2 MiB.
const FLOOR: usize = 128;

/// Bytes received that no frame has been made of yet: the start of an incomplete frame or, after
/// a pause, everything that was left.
///
/// No memory is held while there are none.
#[derive(Default)]
pub(crate) struct Held {
    /// What lies before `start` has been handed out.
    bytes: Vec<u8>,
    /// Below `bytes.len()`, or both are zero.
    start: usize,
}

impl Held {
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends bytes of a frame that needs `need` bytes in all, as far as is known.
    ///
    /// Reserves what the frame needs if that is at most twice what has arrived, else twice what
    /// has arrived: a header is not believed, only bytes are.
    #[inline]
    pub(crate) fn append(&mut self, fresh: &[u8], need: usize) {
        if fresh.len() > self.bytes.capacity() - self.bytes.len() {
            self.grow(fresh.len(), need);
        }
        match fresh {
            // A stream that drips by the byte is spared a call for each.
            [byte] => self.bytes.push(*byte),
            _ => self.bytes.extend_from_slice(fresh),
        }
    }

    #[inline(never)]
    fn grow(&mut self, more: usize, need: usize) {
        let arrived = self.len() + more;
        let twice = arrived.saturating_mul(2).max(FLOOR);
        // A need that creeps up must not move everything for each byte: half as much again at
        // least, so that every byte is moved a constant number of times.
        let least = arrived.max(self.bytes.capacity() / 2 * 3);
        let room = need.max(least).min(twice);
        if self.start > 0 {
            let mut moved = Vec::with_capacity(room);
            moved.extend_from_slice(self.as_slice());
            *self = Self {
                bytes: moved,
                start: 0,
            };
        } else {
            self.bytes.reserve_exact(room - self.bytes.len());
        }
    }

    /// Gives back the last `count` bytes.
    pub(crate) fn shorten(&mut self, count: usize) {
        self.bytes.truncate(self.bytes.len() - count);
    }

    /// Moves what is held to the front of a buffer of its own size.
    ///
    /// Called when what is left after a pause is the start of one frame, which may wait long:
    /// ten bytes must not keep the 64 KiB they came in.
    pub(crate) fn shift(&mut self) {
        if self.start > 0 {
            self.bytes = self.as_slice().to_vec();
            self.start = 0;
        }
    }

    /// Takes out the first `len` bytes and makes a frame of `payload`, a part of them.
    ///
    /// A frame that is most of what is held takes the buffer with it and leaves the rest in a
    /// copy; a smaller one is copied. Either way no more is copied than handed out, and no frame
    /// keeps more than four times its size alive.
    pub(crate) fn take(&mut self, len: usize, payload: Range<usize>) -> Bytes {
        let end = self.start + len;
        let payload = self.start + payload.start..self.start + payload.end;
        let rest = self.bytes.len() - end;
        let most = rest <= len && self.bytes.capacity() / 4 <= len;
        if most {
            let rest = self.bytes[end..].to_vec();
            let mut bytes = mem::replace(&mut self.bytes, rest);
            self.start = 0;
            // Cut here and not by `slice`, which would count who shares the buffer: nobody does.
            bytes.truncate(payload.end);
            let mut frame = Bytes::from(bytes);
            frame.advance(payload.start);
            return frame;
        }
        let frame = Bytes::copy_from_slice(&self.bytes[payload]);
        self.start = end;
        if rest == 0 {
            *self = Self::default();
        }
        frame
    }

    /// Takes out everything.
    pub(crate) fn take_all(&mut self) -> Bytes {
        let len = self.len();
        self.take(len, 0..len)
    }

    /// Appends bytes that nobody has looked at yet.
    pub(crate) fn keep(&mut self, rest: &[u8]) {
        self.append(rest, self.len() + rest.len());
    }
}
