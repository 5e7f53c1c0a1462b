//! A frame ready to be written, with its payload where the user left it.

use std::fmt;
use std::io::IoSlice;
use std::ops::Deref;
use std::sync::Arc;

use bytes::{Buf, Bytes};

/// What stands before or after a payload: a header, a delimiter, or nothing.
///
/// Up to [`INLINE`](Self::INLINE) bytes are kept in place, so writing a frame allocates nothing;
/// longer ones are shared.
///
/// # Examples
///
/// ```
/// use socktree_codec::Affix;
///
/// let header = Affix::new(&[0, 0, 0, 5]);
/// assert_eq!(&*header, [0, 0, 0, 5]);
/// ```
#[derive(Clone)]
pub struct Affix(Repr);

#[derive(Clone)]
enum Repr {
    Inline {
        len: u8,
        bytes: [u8; Affix::INLINE],
    },
    /// Behind a pointer, so that the usual affix takes three words and not five.
    Shared(Arc<Bytes>),
}

impl Affix {
    /// The longest affix that needs no allocation: any length prefix, and headers of usual size.
    pub const INLINE: usize = 22;

    /// Copies `bytes`.
    #[must_use]
    #[inline]
    pub fn new(bytes: &[u8]) -> Self {
        let mut inline = [0; Self::INLINE];
        match (inline.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
            (Some(start), Ok(len)) => {
                start.copy_from_slice(bytes);
                Self(Repr::Inline { len, bytes: inline })
            }
            _ => Self(Repr::Shared(Arc::new(Bytes::copy_from_slice(bytes)))),
        }
    }

    /// Makes an affix of `len` zeros and lets `fill` change them.
    #[inline]
    pub(crate) fn filled(len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut inline = [0; Self::INLINE];
        match (inline.get_mut(..len), u8::try_from(len)) {
            (Some(bytes), Ok(len)) => {
                fill(bytes);
                Self(Repr::Inline { len, bytes: inline })
            }
            _ => {
                let mut bytes = vec![0; len];
                fill(&mut bytes);
                Self(Repr::Shared(Arc::new(bytes.into())))
            }
        }
    }

    fn advance(&mut self, count: usize) {
        match &mut self.0 {
            Repr::Inline { len, bytes } => {
                let old = usize::from(*len);
                bytes.copy_within(count..old, 0);
                *len -= u8::try_from(count).expect("the caller checked against the length");
            }
            Repr::Shared(bytes) => Arc::make_mut(bytes).advance(count),
        }
    }
}

impl Default for Affix {
    #[inline]
    fn default() -> Self {
        Self(Repr::Inline {
            len: 0,
            bytes: [0; Self::INLINE],
        })
    }
}

impl From<Bytes> for Affix {
    fn from(bytes: Bytes) -> Self {
        if bytes.len() <= Self::INLINE {
            Self::new(&bytes)
        } else {
            Self(Repr::Shared(Arc::new(bytes)))
        }
    }
}

impl Deref for Affix {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Shared(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Affix {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Affix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

impl PartialEq for Affix {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Affix {}

/// One frame to be written: header, payload and trailer, not joined.
///
/// It is a [`Buf`] of up to three chunks, so a whole frame leaves in one vectored write without
/// its payload having been copied. Made by [`Framing::encode`](crate::Framing::encode).
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use socktree_codec::LengthPrefix;
///
/// let framing = LengthPrefix::u16_be().build()?;
/// let frame = framing.encode(Bytes::from_static(b"hello"))?;
/// assert_eq!((frame.header(), &frame.payload()[..], frame.trailer()), (&[0, 5][..], &b"hello"[..], &[][..]));
/// assert_eq!(frame.len(), 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an encoded frame does nothing until it is written"]
pub struct Encoded {
    header: Affix,
    payload: Bytes,
    trailer: Affix,
}

impl Encoded {
    #[inline]
    pub(crate) fn new(header: Affix, payload: Bytes, trailer: Affix) -> Self {
        Self {
            header,
            payload,
            trailer,
        }
    }

    /// What stands before the payload; empty for framings without a header.
    #[must_use]
    #[inline]
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The payload, the very bytes that were handed in.
    #[must_use]
    #[inline]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// What stands after the payload; empty for framings without a terminator.
    #[must_use]
    #[inline]
    pub fn trailer(&self) -> &[u8] {
        &self.trailer
    }

    /// The number of bytes left to write.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.header.len() + self.payload.len() + self.trailer.len()
    }

    /// Tells if nothing is left to write.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the frame apart, for a writer with a queue of its own.
    #[must_use]
    #[inline]
    pub fn into_parts(self) -> (Affix, Bytes, Affix) {
        (self.header, self.payload, self.trailer)
    }
}

impl Buf for Encoded {
    #[inline]
    fn remaining(&self) -> usize {
        self.len()
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        [self.header(), &self.payload, self.trailer()]
            .into_iter()
            .find(|part| !part.is_empty())
            .unwrap_or_default()
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        let parts = [self.header(), &self.payload, self.trailer()];
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        let mut filled = 0;
        for (slot, part) in dst.iter_mut().zip(parts) {
            *slot = IoSlice::new(part);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len(), "advanced beyond the end of the frame");
        let step = count.min(self.header.len());
        self.header.advance(step);
        count -= step;
        let step = count.min(self.payload.len());
        self.payload.advance(step);
        self.trailer.advance(count - step);
    }
}
