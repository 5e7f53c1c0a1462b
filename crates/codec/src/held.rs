//! The bytes a decoder keeps between two reads.

use std::mem;
use std::ops::Range;

use bytes::{Buf, Bytes};

/// How many bytes are kept in place: a header that was cut, or the whole of a tiny frame.
///
/// What the enum has room for without growing: see the test of the decoder's size.
const FEW: usize = 23;

/// The least room made on the heap for an incomplete frame, if it needs that much.
///
/// A frame of ordinary size that arrives byte by byte then grows its buffer once or twice instead
/// of at every power of two. Ten thousand peers who send that little cost 1.2 MiB.
const FLOOR: usize = 128;

/// Bytes received that no frame has been made of yet: the start of an incomplete frame or, after
/// a pause, everything that was left.
///
/// No memory is held while there are none, or few.
pub(crate) enum Held {
    Few {
        /// At most [`FEW`].
        len: u8,
        bytes: [u8; FEW],
    },
    /// At least one byte.
    Many {
        bytes: Vec<u8>,
        /// What lies before it has been handed out; below `bytes.len()`.
        start: usize,
    },
}

impl Held {
    /// Copies what fits in place, which the caller has made sure of.
    #[inline]
    fn few(held: &[u8]) -> Self {
        let mut bytes = [0; FEW];
        bytes[..held.len()].copy_from_slice(held);
        Self::Few {
            len: few_len(held.len()),
            bytes,
        }
    }

    /// Copies into memory of the right size.
    fn copied(held: &[u8]) -> Self {
        if held.len() <= FEW {
            return Self::few(held);
        }
        Self::Many {
            bytes: held.to_vec(),
            start: 0,
        }
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Few { len, bytes } => &bytes[..usize::from(*len)],
            Self::Many { bytes, start } => &bytes[*start..],
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few { len, .. } => usize::from(*len),
            Self::Many { bytes, start } => bytes.len() - start,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Few { len: 0, .. })
    }

    /// Appends a piece if with it there are still fewer bytes than `need`, and if it fits.
    #[inline]
    pub(crate) fn drip(&mut self, piece: &[u8], need: usize) -> bool {
        match self {
            Self::Few { len, bytes } => {
                let (from, to) = (usize::from(*len), usize::from(*len) + piece.len());
                match bytes.get_mut(from..to) {
                    Some(place) if to < need => {
                        copy(place, piece);
                        *len = few_len(to);
                        true
                    }
                    _ => false,
                }
            }
            Self::Many { bytes, start } => {
                let to = bytes.len() + piece.len();
                let drips = to <= bytes.capacity() && to - *start < need;
                if drips {
                    extend(bytes, piece);
                }
                drips
            }
        }
    }

    /// Appends bytes of a frame that needs `need` bytes in all, as far as is known.
    ///
    /// Reserves what the frame needs if that is at most twice what has arrived, else twice what
    /// has arrived: a header is not believed, only bytes are.
    #[inline]
    pub(crate) fn append(&mut self, fresh: &[u8], need: usize) {
        match self {
            Self::Few { len, bytes } => {
                let from = usize::from(*len);
                if let Some(place) = bytes.get_mut(from..from + fresh.len()) {
                    copy(place, fresh);
                    *len += few_len(fresh.len());
                    return;
                }
            }
            Self::Many { bytes, .. } => {
                if fresh.len() <= bytes.capacity() - bytes.len() {
                    extend(bytes, fresh);
                    return;
                }
            }
        }
        self.grow(fresh, need);
    }

    #[inline(never)]
    fn grow(&mut self, fresh: &[u8], need: usize) {
        let arrived = self.len() + fresh.len();
        let twice = arrived.saturating_mul(2).max(FLOOR);
        // A need that creeps up must not move everything for each byte: half as much again at
        // least, so that every byte is moved a constant number of times.
        let least = match self {
            Self::Many { bytes, .. } => arrived.max(bytes.capacity() / 2 * 3),
            Self::Few { .. } => arrived,
        };
        let room = need.max(least).min(twice);
        match self {
            Self::Many { bytes, start: 0 } => {
                bytes.reserve_exact(room - bytes.len());
                bytes.extend_from_slice(fresh);
            }
            _ => {
                let mut bytes = Vec::with_capacity(room);
                bytes.extend_from_slice(self.as_slice());
                bytes.extend_from_slice(fresh);
                *self = Self::Many { bytes, start: 0 };
            }
        }
    }

    /// Gives back the last `count` bytes, not all of them.
    pub(crate) fn shorten(&mut self, count: usize) {
        match self {
            Self::Few { len, .. } => *len -= few_len(count),
            Self::Many { bytes, .. } => bytes.truncate(bytes.len() - count),
        }
    }

    /// Moves what is held to the front of a buffer of its own size.
    ///
    /// Called when what is left after a pause is the start of one frame, which may wait long:
    /// ten bytes must not keep the 64 KiB they came in.
    pub(crate) fn shift(&mut self) {
        if matches!(self, Self::Many { start: 1.., .. }) {
            *self = Self::copied(self.as_slice());
        }
    }

    /// Takes out the first `len` bytes and makes a frame of `payload`, a part of them.
    ///
    /// A frame that is most of what is held takes the buffer with it and leaves the rest in a
    /// copy; a smaller one is copied. Either way no more is copied than handed out, and no frame
    /// keeps more than four times its size alive.
    pub(crate) fn take(&mut self, len: usize, payload: Range<usize>) -> Bytes {
        let rest = self.len() - len;
        match self {
            Self::Many { bytes, start } if rest <= len && bytes.capacity() / 4 <= len => {
                let payload = *start + payload.start..*start + payload.end;
                let rest = Self::copied(&bytes[*start + len..]);
                let bytes = mem::take(bytes);
                *self = rest;
                cut(bytes, payload)
            }
            Self::Many { bytes, start } if rest > 0 => {
                let frame = Bytes::copy_from_slice(&bytes[*start..][payload]);
                *start += len;
                frame
            }
            _ => {
                let held = self.as_slice();
                let frame = Bytes::copy_from_slice(&held[payload]);
                *self = Self::few(&held[len..]);
                frame
            }
        }
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

impl Default for Held {
    fn default() -> Self {
        Self::few(&[])
    }
}

/// Cuts `payload` out of a buffer and gives it the buffer.
///
/// By hand and not by `slice`, which would count who shares the buffer: nobody does.
fn cut(mut bytes: Vec<u8>, payload: Range<usize>) -> Bytes {
    bytes.truncate(payload.end);
    let mut frame = Bytes::from(bytes);
    frame.advance(payload.start);
    frame
}

/// Copies between slices of one length. A stream that drips by the byte is spared a call for each.
#[inline]
fn copy(place: &mut [u8], fresh: &[u8]) {
    match (place, fresh) {
        ([place], [byte]) => *place = *byte,
        (place, fresh) => place.copy_from_slice(fresh),
    }
}

#[inline]
fn extend(bytes: &mut Vec<u8>, fresh: &[u8]) {
    match fresh {
        [byte] => bytes.push(*byte),
        _ => bytes.extend_from_slice(fresh),
    }
}

#[inline]
fn few_len(len: usize) -> u8 {
    u8::try_from(len).expect("few bytes fit the place for few")
}
