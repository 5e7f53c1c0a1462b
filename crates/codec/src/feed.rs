//! One read's worth of bytes, and the frames found in it.

use std::fmt;
use std::mem;
use std::ops::Range;

use bytes::Bytes;

use crate::framing::Whole;
use crate::{Decoder, FrameError, Framing};

/// One frame, and where it is.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use socktree_codec::{Decoder, Framing};
///
/// let block = Bytes::from_static(b"aaabbb");
/// let mut decoder = Decoder::new(Framing::fixed(3)?);
/// let mut feed = decoder.feed(&block);
/// // The same frame by choice as a slice that shares the block, or as a copy that does not.
/// assert_eq!(feed.next_frame()?.unwrap().sliced(&block), "aaa");
/// assert_eq!(feed.next_frame()?.unwrap().copied(&block), "bbb");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a frame is inside the input or it is not; every caller matches both"
)]
pub enum Frame {
    /// The frame lies at this place in the input fed, untouched: copy it, slice it or read it.
    Inside(Range<usize>),
    /// The frame began in earlier input; here are its bytes, joined.
    Joined(Bytes),
}

impl Frame {
    /// The length of what is handed out, in bytes.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Inside(place) => place.len(),
            Self::Joined(bytes) => bytes.len(),
        }
    }

    /// Tells if the frame carries nothing.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The place in the input, unless the frame was joined.
    #[must_use]
    #[inline]
    pub fn range(&self) -> Option<Range<usize>> {
        match self {
            Self::Inside(place) => Some(place.clone()),
            Self::Joined(_) => None,
        }
    }

    /// The frame as `Bytes` that share `input`, which must be what was fed.
    ///
    /// # Panics
    ///
    /// If `input` is shorter than what was fed.
    #[must_use]
    #[inline]
    pub fn sliced(self, input: &Bytes) -> Bytes {
        match self {
            Self::Inside(place) => input.slice(place),
            Self::Joined(bytes) => bytes,
        }
    }

    /// The frame as `Bytes` of its own, copied out of `input`, which must be what was fed.
    ///
    /// # Panics
    ///
    /// If `input` is shorter than what was fed.
    #[must_use]
    #[inline]
    pub fn copied(self, input: impl AsRef<[u8]>) -> Bytes {
        match self {
            Self::Inside(place) => Bytes::copy_from_slice(&input.as_ref()[place]),
            Self::Joined(bytes) => bytes,
        }
    }
}

/// The frames of one read, found as they are asked for.
///
/// Made by [`Decoder::feed`]. When it is dropped, the decoder keeps what was not handed out.
///
/// # Examples
///
/// A turn that stops after so many frames; the rest waits:
///
/// ```
/// use socktree_codec::{Decoder, Framing};
///
/// let mut decoder = Decoder::new(Framing::fixed(1)?);
/// let mut feed = decoder.feed(b"abcdef");
/// for _ in 0..2 {
///     feed.next_frame()?.unwrap();
/// }
/// drop(feed);
/// assert_eq!(decoder.pending(), 4);
///
/// // Or without a copy: the caller, who owns the block, keeps the place of the rest.
/// let block = decoder.take_pending();
/// let mut feed = decoder.feed(&block);
/// feed.next_frame()?.unwrap();
/// assert_eq!(&block[feed.release()], b"def");
/// assert_eq!(decoder.pending(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "frames are found as they are asked for"]
pub struct Feed<'d, B: AsRef<[u8]>> {
    decoder: &'d mut Decoder,
    input: B,
    /// Bytes of `input` before this are handed out or kept by the decoder.
    at: usize,
}

impl<'d, B: AsRef<[u8]>> Feed<'d, B> {
    #[inline]
    pub(crate) fn new(decoder: &'d mut Decoder, input: B) -> Self {
        let at = if decoder.search.failed {
            input.as_ref().len()
        } else {
            0
        };
        Self { decoder, input, at }
    }

    /// Finds the next frame.
    ///
    /// `None` means that the input is used up; the start of an incomplete frame has been kept.
    /// Not an iterator, because after an error there is nothing to go on with: `?` is the way.
    ///
    /// # Errors
    ///
    /// [`FrameError`] if the next bytes cannot start a frame. Frames before them have been handed
    /// out; asking again gives the same error.
    // By itself the compiler calls it, and the frame goes through memory: 60 % more instructions
    // per frame. What is inlined is small; the rest is `Decoder::next_frame`.
    #[inline(always)]
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let rest = self.input.as_ref().get(self.at..).unwrap_or_default();
        if self.decoder.held.is_empty() {
            if let Some(Whole { start, len }) = self.decoder.search.whole_frame(rest) {
                let place = self.at + start..self.at + len;
                self.at += len;
                return Ok(Some(Frame::Inside(place)));
            }
            if rest.is_empty() {
                return Ok(None);
            }
            if self.decoder.hold_start(rest) {
                self.at += rest.len();
                return Ok(None);
            }
        } else if self.decoder.hold_drip(rest) {
            self.at += rest.len();
            return Ok(None);
        }
        // A copy, so that the place itself can stay in a register.
        let mut at = self.at;
        let found = self.decoder.next_frame(rest, &mut at);
        self.at = at;
        found
    }

    /// The input fed.
    #[inline]
    pub fn input(&self) -> &B {
        &self.input
    }

    /// The input fed, for taking a frame out of it.
    ///
    /// The bytes it shows must stay what and where they are.
    #[inline]
    pub fn input_mut(&mut self) -> &mut B {
        &mut self.input
    }

    /// How many bytes of the input have not been used yet.
    #[must_use]
    #[inline]
    pub fn rest(&self) -> usize {
        self.input.as_ref().len().saturating_sub(self.at)
    }

    /// Goes on with another framing, from the first byte that was not handed out.
    ///
    /// As [`Decoder::set_framing`], in the middle of a read.
    pub fn set_framing(&mut self, framing: Framing) {
        self.decoder.set_framing(framing);
    }

    /// Ends the feed and leaves the unused rest of the input to the caller, by its place.
    ///
    /// The decoder keeps nothing of it. Feed it again, before any other input.
    #[must_use = "the decoder has not kept these bytes"]
    pub fn release(mut self) -> Range<usize> {
        if self.decoder.held.is_empty() {
            // If a frame was wrong it goes back to the caller, and its fault with it.
            self.decoder.search.restart();
        }
        let end = self.at + self.rest();
        mem::replace(&mut self.at, end)..end
    }
}

impl<B: AsRef<[u8]>> Drop for Feed<'_, B> {
    #[inline]
    fn drop(&mut self) {
        let rest = self.input.as_ref().get(self.at..).unwrap_or_default();
        if !rest.is_empty() {
            self.decoder.keep_rest(rest);
        }
    }
}

impl<B: AsRef<[u8]>> fmt::Debug for Feed<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("decoder", &self.decoder)
            .field("rest", &self.rest())
            .finish_non_exhaustive()
    }
}
