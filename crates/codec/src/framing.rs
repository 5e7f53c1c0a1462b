//! The rule by which a stream of bytes is cut into frames.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, Bytes};

use crate::delimiter::DelimiterRules;
use crate::framer::find_within;
use crate::lines::LinesRules;
use crate::prefix::PrefixRules;
use crate::varint::VarintRules;
use crate::{Affix, Boundary, EncodeError, Encoded, FrameError, Framer, FramingError, Progress};

/// How many bytes a frame may have in all where nothing else was said: 1 MiB.
///
/// Large enough for nearly every protocol, small enough that ten thousand peers who each send
/// one frame of this size slowly are a problem and not an outage.
pub const DEFAULT_MAX_FRAME: usize = 1 << 20;

/// The rule by which a stream of bytes is cut into frames.
///
/// A framing is checked when it is built and never changes; cloning it costs one counter, or
/// nothing if it is raw. It works in both directions: [`encode`](Self::encode) writes what a
/// [`Decoder`](crate::Decoder) with the same framing reads.
///
/// | framing | a frame ends | built by |
/// |---|---|---|
/// | raw | wherever a read ended | [`Framing::raw`] |
/// | fixed | after *n* bytes | [`Framing::fixed`] |
/// | length prefix | where its header says | [`LengthPrefix`](crate::LengthPrefix) |
/// | varint | where its LEB128 header says | [`Varint`](crate::Varint) |
/// | delimiter | at a given byte string | [`Delimiter`](crate::Delimiter) |
/// | lines | at LF or CRLF | [`Lines`](crate::Lines) |
/// | custom | where a [`Framer`] of yours says | [`Framing::custom`] |
///
/// Headers are part of the frame handed out unless `strip(true)` says otherwise, because they may
/// hold more than a length; terminators are not, unless `keep(true)` does.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use socktree_codec::{Framing, Lines, Varint};
///
/// let framings: [Framing; 2] = [Lines::new().crlf(true).build()?, Varint::new().build()?];
/// let wire = framings.map(|framing| {
///     let mut wire = Vec::new();
///     framing.encode_into(b"hello", &mut wire).map(|()| wire)
/// });
/// assert_eq!(wire, [Ok(b"hello\r\n".to_vec()), Ok(b"\x05hello".to_vec())]);
/// # Ok::<(), socktree_codec::FramingError>(())
/// ```
#[derive(Clone)]
pub struct Framing {
    /// `None` is raw: whoever needs a framing to stand in for another pays for no memory.
    rules: Option<Arc<Rules>>,
}

pub(crate) enum Rules {
    Fixed(usize),
    Prefix(PrefixRules),
    Varint(VarintRules),
    Delimiter(DelimiterRules),
    Lines(LinesRules),
    Custom { framer: Box<dyn Framer>, max: usize },
}

/// A frame that is all there: `len` bytes, handed out from `start` on.
#[derive(Clone, Copy)]
pub(crate) struct Whole {
    pub(crate) start: usize,
    pub(crate) len: usize,
}

impl Framing {
    /// No framing: whatever one read brought is one frame.
    ///
    /// ```text
    /// reads    | a b c d e |  f g   | h i j |
    /// frames   | a b c d e |  f g   | h i j |
    /// ```
    #[must_use]
    pub const fn raw() -> Self {
        Self { rules: None }
    }

    /// Every frame has exactly `len` bytes.
    ///
    /// ```text
    ///          |<-- len -->|<-- len -->|<-- l
    /// stream   | a a a a a | b b b b b | c c
    /// frames   |  a a a a a|  b b b b b|
    /// ```
    ///
    /// The limit `max_frame` has no meaning here: the caller chose the length.
    ///
    /// # Errors
    ///
    /// [`FramingError::Empty`] if `len` is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use socktree_codec::{Decoder, Framing};
    ///
    /// let mut decoder = Decoder::new(Framing::fixed(3)?);
    /// let mut feed = decoder.feed(b"abcdefg");
    /// assert_eq!(feed.next_frame()?.unwrap().range(), Some(0..3));
    /// assert_eq!(feed.next_frame()?.unwrap().range(), Some(3..6));
    /// assert_eq!(feed.next_frame()?, None); // "g" is kept for next time
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fixed(len: usize) -> Result<Self, FramingError> {
        if len == 0 {
            return Err(FramingError::Empty { field: "fixed" });
        }
        Ok(Self::from_rules(Rules::Fixed(len)))
    }

    /// Frames end where `framer` says; none may be longer than `max_frame` bytes in all.
    ///
    /// Pass `usize::MAX` for no limit, and know that the peer then decides how much memory one
    /// frame takes.
    ///
    /// # Errors
    ///
    /// [`FramingError::Empty`] if `max_frame` is zero.
    pub fn custom(framer: impl Framer + 'static, max_frame: usize) -> Result<Self, FramingError> {
        if max_frame == 0 {
            return Err(FramingError::Empty { field: "max_frame" });
        }
        let framer = Box::new(framer);
        Ok(Self::from_rules(Rules::Custom {
            framer,
            max: max_frame,
        }))
    }

    pub(crate) fn from_rules(rules: Rules) -> Self {
        Self {
            rules: Some(Arc::new(rules)),
        }
    }

    #[inline]
    fn rules(&self) -> Option<&Rules> {
        self.rules.as_deref()
    }

    /// Tells if this is [`Framing::raw`]: then no frame is ever incomplete.
    #[must_use]
    #[inline]
    pub fn is_raw(&self) -> bool {
        self.rules.is_none()
    }

    /// The most bytes a frame may have on the wire, header and terminator included.
    ///
    /// `None` for raw framing and where a limit was waived by name.
    #[must_use]
    pub fn max_frame(&self) -> Option<usize> {
        let max = match self.rules()? {
            Rules::Fixed(len) => *len,
            Rules::Prefix(rules) => rules.max,
            Rules::Varint(rules) => rules.max,
            Rules::Delimiter(rules) => rules.max,
            Rules::Lines(rules) => rules.max,
            Rules::Custom { max, .. } => *max,
        };
        (max != usize::MAX).then_some(max)
    }

    /// Puts the boundary around `payload`, without copying it.
    ///
    /// `payload` is what the frame carries, header not included, whether or not the framing
    /// strips headers. Reading the result back gives
    ///
    /// - `payload` itself where the framing strips what it adds, which is the default for
    ///   delimiters and lines;
    /// - header and `payload` in one piece where headers are kept. Header bytes outside the
    ///   length field are zero; [`encode_with`](Self::encode_with) lets you fill them. To send a
    ///   frame that already has its header, as an echo server does, write its bytes as they are;
    ///   [`check_frame`](Self::check_frame) tells if the other side will read them as one frame.
    ///
    /// Raw framing adds nothing, so boundaries are not preserved, and an empty payload vanishes.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the payload does not fit: too long, of the wrong length for
    /// [`fixed`](Self::fixed), or containing the delimiter.
    ///
    /// # Examples
    ///
    /// ```
    /// use bytes::Bytes;
    /// use socktree_codec::{Decoder, LengthPrefix};
    ///
    /// let framing = LengthPrefix::u16_be().strip(true).build()?;
    /// let encoded = framing.encode(Bytes::from_static(b"hello"))?;
    ///
    /// // One vectored write sends it; here it is joined to read it back.
    /// let wire = [encoded.header(), encoded.payload(), encoded.trailer()].concat();
    /// let mut decoder = Decoder::new(framing);
    /// let frame = decoder.feed(&wire).next_frame()?.unwrap();
    /// assert_eq!(&wire[frame.range().unwrap()], b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn encode(&self, payload: Bytes) -> Result<Encoded, EncodeError> {
        let (header, trailer) = self.wrap(&payload)?;
        Ok(Encoded::new(header, payload, trailer))
    }

    /// Does the same as [`encode`](Self::encode) with a header whose other fields are filled in.
    ///
    /// `header` must have the size of the framing's header; the length field inside it is
    /// overwritten.
    ///
    /// # Errors
    ///
    /// [`EncodeError::WrongHeader`] if `header` has another size, which for framings other than
    /// [`LengthPrefix`](crate::LengthPrefix) is any size but zero; else as `encode`.
    ///
    /// # Examples
    ///
    /// ```
    /// use bytes::Bytes;
    /// use socktree_codec::LengthPrefix;
    ///
    /// // [type][flags][length, two bytes][payload]
    /// let framing = LengthPrefix::new().header(4).length_at(2, 2).build()?;
    /// let encoded = framing.encode_with(&[7, 1, 0, 0], Bytes::from_static(b"hello"))?;
    /// assert_eq!(encoded.header(), [7, 1, 0, 5]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn encode_with(&self, header: &[u8], payload: Bytes) -> Result<Encoded, EncodeError> {
        if let Some(Rules::Prefix(rules)) = self.rules() {
            let header = rules.fill(header, payload.len())?;
            return Ok(Encoded::new(header, payload, Affix::default()));
        }
        if header.is_empty() {
            return self.encode(payload);
        }
        Err(EncodeError::WrongHeader {
            len: header.len(),
            expected: 0,
        })
    }

    /// Appends the whole frame to `dst`, for writers that want one buffer.
    ///
    /// Nothing is appended when the payload does not fit.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    #[inline]
    pub fn encode_into(&self, payload: &[u8], dst: &mut impl BufMut) -> Result<(), EncodeError> {
        if let Some(Rules::Prefix(rules)) = self.rules() {
            rules.put_header(payload.len(), dst)?;
            dst.put_slice(payload);
            return Ok(());
        }
        let (header, trailer) = self.wrap(payload)?;
        dst.put_slice(&header);
        dst.put_slice(payload);
        dst.put_slice(&trailer);
        Ok(())
    }

    /// Checks that `bytes` is exactly one frame as it stands on the wire.
    ///
    /// Returns where in it the part lies that a decoder would hand out. Raw framing takes
    /// anything that is not empty.
    ///
    /// # Errors
    ///
    /// [`EncodeError::NotOneFrame`] if bytes follow the frame, [`EncodeError::Invalid`] if it is
    /// incomplete or wrong.
    ///
    /// # Examples
    ///
    /// ```
    /// use socktree_codec::LengthPrefix;
    ///
    /// let framing = LengthPrefix::u16_be().build()?;
    /// assert_eq!(framing.check_frame(b"\0\x03abc")?, 0..5); // the header is kept
    /// assert!(framing.check_frame(b"\0\x03ab").is_err()); // incomplete
    /// assert!(framing.check_frame(b"\0\x03abc\0").is_err()); // one byte too many
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check_frame(&self, bytes: &[u8]) -> Result<Range<usize>, EncodeError> {
        let pending = bytes.len();
        if pending > 0 {
            match self.find(bytes, &mut Progress::default())? {
                Boundary::Frame { len, payload } if len == pending => return Ok(payload),
                Boundary::Frame { len, .. } if len < pending => {
                    return Err(EncodeError::NotOneFrame {
                        len: pending,
                        frame: len,
                    });
                }
                _ => {}
            }
        }
        Err(FrameError::UnexpectedEof { pending }.into())
    }

    fn wrap(&self, payload: &[u8]) -> Result<(Affix, Affix), EncodeError> {
        let Some(rules) = self.rules() else {
            return Ok((Affix::default(), Affix::default()));
        };
        match rules {
            Rules::Fixed(len) if payload.len() == *len => Ok((Affix::default(), Affix::default())),
            Rules::Fixed(expected) => Err(EncodeError::WrongLength {
                len: payload.len(),
                expected: *expected,
            }),
            Rules::Prefix(rules) => Ok((rules.header(payload.len())?, Affix::default())),
            Rules::Varint(rules) => Ok((rules.header(payload.len())?, Affix::default())),
            Rules::Delimiter(rules) => Ok((Affix::default(), rules.trailer(payload)?)),
            Rules::Lines(rules) => Ok((Affix::default(), rules.trailer(payload)?)),
            Rules::Custom { framer, max } => {
                let (header, trailer) = framer.wrap(payload)?;
                let len = header.len() + payload.len() + trailer.len();
                check_max(len, *max)?;
                Ok((header, trailer))
            }
        }
    }

    /// Finds the frame at the start of `received` if it is all there and easy to find.
    ///
    /// The hot path: scalars in, scalars out, no error to carry. `None` says nothing; then
    /// [`find`](Self::find) tells.
    #[inline]
    pub(crate) fn whole_frame(&self, received: &[u8]) -> Option<Whole> {
        match self.rules() {
            Some(Rules::Prefix(rules)) => rules.whole_frame(received),
            Some(Rules::Fixed(len)) if *len <= received.len() => Some(Whole {
                start: 0,
                len: *len,
            }),
            None if !received.is_empty() => Some(Whole {
                start: 0,
                len: received.len(),
            }),
            _ => None,
        }
    }

    /// With fewer bytes than this nothing can be told about a frame.
    #[inline]
    pub(crate) fn least(&self) -> usize {
        match self.rules() {
            Some(Rules::Prefix(rules)) => rules.header,
            Some(Rules::Fixed(len)) => *len,
            _ => 1,
        }
    }

    /// Finds the end of the frame at the start of `received`, which is not empty.
    ///
    /// Frames above the limit are errors here, so a caller may wait for, and set memory aside
    /// for, whatever a boundary says.
    pub(crate) fn find(
        &self,
        received: &[u8],
        progress: &mut Progress,
    ) -> Result<Boundary, FrameError> {
        let Some(rules) = self.rules() else {
            return Ok(whole(received.len()));
        };
        match rules {
            Rules::Fixed(len) => Ok(whole(*len)),
            Rules::Prefix(rules) => rules.find(received),
            Rules::Varint(rules) => rules.find(received),
            Rules::Delimiter(rules) => rules.find(received, progress),
            Rules::Lines(rules) => rules.find(received, progress),
            Rules::Custom { framer, max } => find_within(&**framer, *max, received, progress),
        }
    }
}

impl fmt::Debug for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(rules) = self.rules() else {
            return f.write_str("Raw");
        };
        match rules {
            Rules::Fixed(len) => f.debug_tuple("Fixed").field(len).finish(),
            Rules::Prefix(rules) => rules.fmt(f),
            Rules::Varint(rules) => rules.fmt(f),
            Rules::Delimiter(rules) => rules.fmt(f),
            Rules::Lines(rules) => rules.fmt(f),
            Rules::Custom { framer, max } => f
                .debug_struct("Custom")
                .field("framer", framer)
                .field("max_frame", max)
                .finish(),
        }
    }
}

/// Refuses to write a frame that the reader would refuse to read.
pub(crate) fn check_max(len: usize, max: usize) -> Result<(), EncodeError> {
    if len > max {
        return Err(EncodeError::TooLarge {
            len: len as u64,
            max: max as u64,
        });
    }
    Ok(())
}

#[inline]
fn whole(len: usize) -> Boundary {
    Boundary::Frame {
        len,
        payload: 0..len,
    }
}
