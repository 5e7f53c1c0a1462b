//! The seam for message boundaries this crate does not know.

use std::fmt;
use std::ops::Range;

use crate::{Affix, EncodeError, FrameError};

/// Finds the boundaries of the user's own protocol.
///
/// A framer answers one question: where does the frame that starts at the first byte end? The
/// [`Decoder`](crate::Decoder) does the rest - it keeps what is incomplete, joins what was split,
/// stops a frame that grows beyond `max_frame` and frees its memory - so a framer holds no bytes
/// and needs no `&mut self`: one serves every connection.
///
/// Hand it over with [`Framing::custom`](crate::Framing::custom).
///
/// # Examples
///
/// Netstrings, `5:hello,`: a decimal length, a colon, the payload, a comma.
///
/// ```
/// use socktree_codec::{Affix, Boundary, Decoder, EncodeError, FrameError, Framer, Framing};
/// use socktree_codec::Progress;
///
/// #[derive(Debug)]
/// struct Netstring;
///
/// impl Framer for Netstring {
///     fn find(&self, received: &[u8], _: &mut Progress) -> Result<Boundary, FrameError> {
///         let mut len = 0usize;
///         // Eight digits and a colon: a longer number is above every limit anyway.
///         for (at, byte) in received.iter().take(9).enumerate() {
///             match byte {
///                 b'0'..=b'9' if at < 8 => len = len * 10 + usize::from(byte - b'0'),
///                 b':' if at > 0 => {
///                     let (start, end) = (at + 1, at + 1 + len);
///                     return match received.get(end) {
///                         Some(b',') => Ok(Boundary::Frame { len: end + 1, payload: start..end }),
///                         Some(_) => Err(FrameError::Refused { at: end as u64, expected: "','" }),
///                         None => Ok(Boundary::More { need: end + 1 }),
///                     };
///                 }
///                 _ => return Err(FrameError::Refused { at: at as u64, expected: "a digit" }),
///             }
///         }
///         Ok(Boundary::More { need: 0 })
///     }
///
///     fn wrap(&self, payload: &[u8]) -> Result<(Affix, Affix), EncodeError> {
///         let header = format!("{}:", payload.len());
///         Ok((Affix::new(header.as_bytes()), Affix::new(b",")))
///     }
/// }
///
/// let framing = Framing::custom(Netstring, 1 << 20)?;
/// let mut decoder = Decoder::new(framing.clone());
/// let mut feed = decoder.feed(b"5:hello,0:,3:ab");
/// assert_eq!(feed.next_frame()?.unwrap().range(), Some(2..7));
/// assert_eq!(feed.next_frame()?.unwrap().range(), Some(10..10));
/// assert_eq!(feed.next_frame()?, None);
/// drop(feed);
/// assert_eq!(decoder.pending(), 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Framer: fmt::Debug + Send + Sync {
    /// Finds the end of the frame that starts at `received[0]`.
    ///
    /// `received` is never empty and holds everything of this frame that has arrived; bytes of
    /// later frames may follow. While the frame is incomplete the question is asked again as
    /// bytes arrive, each time with all of them; `progress` starts at zero with each frame and
    /// comes back as it was left, so that a search need not start over.
    ///
    /// The answer must depend on the bytes of the frame alone, not on how many follow it.
    ///
    /// # Errors
    ///
    /// [`FrameError::Refused`] if no frame can start like this. The decoder is not asked again.
    fn find(&self, received: &[u8], progress: &mut Progress) -> Result<Boundary, FrameError>;

    /// Makes what stands before and after `payload` on the wire.
    ///
    /// The default is for protocols whose frames are handed out whole: `payload` must be exactly
    /// one frame by [`find`](Self::find), and nothing is added.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the reader would not read `payload` back.
    fn wrap(&self, payload: &[u8]) -> Result<(Affix, Affix), EncodeError> {
        let pending = payload.len();
        let incomplete = EncodeError::Invalid(FrameError::UnexpectedEof { pending });
        if payload.is_empty() {
            return Err(incomplete);
        }
        match self.find(payload, &mut Progress::default())? {
            Boundary::Frame { len, .. } if len == pending => {
                Ok((Affix::default(), Affix::default()))
            }
            Boundary::Frame { len, .. } if len < pending => Err(EncodeError::NotOneFrame {
                len: pending,
                frame: len,
            }),
            _ => Err(incomplete),
        }
    }
}

/// Where a frame ends, as far as the bytes received tell.
///
/// # Examples
///
/// Records of a type and three bytes, or of a type and one:
///
/// ```
/// use socktree_codec::Boundary;
///
/// fn find(received: &[u8]) -> Boundary {
///     let len = if received[0] == b'L' { 4 } else { 2 };
///     Boundary::Frame { len, payload: 1..len } // the decoder waits for what is not there yet
/// }
///
/// assert_eq!(find(b"Labc"), Boundary::Frame { len: 4, payload: 1..4 });
/// assert_eq!(find(b"S"), Boundary::Frame { len: 2, payload: 1..2 });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a boundary is known or it is not; every framer constructs both"
)]
pub enum Boundary {
    /// The frame has `len` bytes on the wire, of which `payload` is handed out.
    ///
    /// `len` may be more than has been received: the decoder waits for the rest. It must not be
    /// zero, and `payload` must lie within it.
    Frame {
        /// The number of bytes up to the start of the next frame.
        len: usize,
        /// The part of them that is handed out.
        payload: Range<usize>,
    },
    /// Not to be told yet.
    More {
        /// The number of bytes, counted from the start of the frame, without which asking again
        /// is useless; `0` if only looking at them will tell.
        need: usize,
    },
}

/// What a [`Framer`] remembers between two looks at the same unfinished frame.
///
/// The decoder keeps it, zeroes it when a frame is complete, and does not interpret it.
///
/// # Examples
///
/// A frame that ends at a zero byte; what was searched is not searched again:
///
/// ```
/// use socktree_codec::{Boundary, Progress};
///
/// fn find(received: &[u8], progress: &mut Progress) -> Boundary {
///     let unseen = &received[progress.scanned..];
///     match unseen.iter().position(|byte| *byte == 0) {
///         Some(at) => {
///             let end = progress.scanned + at;
///             Boundary::Frame { len: end + 1, payload: 0..end }
///         }
///         None => {
///             progress.scanned = received.len();
///             Boundary::More { need: 0 }
///         }
///     }
/// }
///
/// let mut progress = Progress::default();
/// assert_eq!(find(b"ab", &mut progress), Boundary::More { need: 0 });
/// assert_eq!(progress.scanned, 2);
/// assert_eq!(find(b"abc\0", &mut progress), Boundary::Frame { len: 4, payload: 0..3 });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a scratch pad: framers write both fields"
)]
pub struct Progress {
    /// How many bytes need not be looked at again.
    pub scanned: usize,
    /// Anything else: a depth, a count of elements still to come, the state of an automaton.
    pub state: u32,
}

/// Asks a framer of the user's, and believes no number of its.
///
/// Out of line: it is a call through a table anyway, and its checks would dilute the hot path.
#[inline(never)]
pub(crate) fn find_within(
    framer: &dyn Framer,
    max: usize,
    received: &[u8],
    progress: &mut Progress,
) -> Result<Boundary, FrameError> {
    // It sees no more than a frame may have. Else a frame above the limit would be found, or
    // refused for what is in it, only when enough had arrived in one read.
    let reach = received.len().min(max);
    let too_large = || FrameError::TooLarge {
        len: (max as u64).saturating_add(1),
        max: max as u64,
    };
    let boundary = framer.find(&received[..reach], progress)?;
    match &boundary {
        Boundary::Frame { len: 0, .. } => {
            // It would be found again and again at the same place.
            let expected = "a frame that is not empty";
            Err(FrameError::Refused { at: 0, expected })
        }
        Boundary::Frame { len, .. } if *len > max => Err(too_large()),
        Boundary::More { need } if *need > max || reach == max => Err(too_large()),
        Boundary::Frame { len, payload } if payload.start > payload.end || payload.end > *len => {
            let expected = "a payload inside its frame";
            Err(FrameError::Refused { at: 0, expected })
        }
        Boundary::Frame { .. } | Boundary::More { .. } => Ok(boundary),
    }
}
