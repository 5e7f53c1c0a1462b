//! What can go wrong: in the bytes of the peer, in the options, in what is to be written.

use std::error::Error;
use std::fmt;

/// Says why the next frame cannot be found in what the peer sent.
///
/// Every variant but [`UnexpectedEof`](Self::UnexpectedEof) means that the boundary is lost for
/// good: close the connection, or [switch the framing](crate::Decoder::set_framing).
///
/// # Examples
///
/// ```
/// use socktree_codec::{Decoder, FrameError, LengthPrefix};
///
/// let mut decoder = Decoder::new(LengthPrefix::u32_be().max_frame(4096).build()?);
/// // HTTP, where frames were expected: its first letters are the length of 1.2 GB.
/// let error = decoder.feed(b"GET / HTTP/1.1\r\n").next_frame().unwrap_err();
/// assert_eq!(error, FrameError::TooLarge { len: 0x4745_5420 + 4, max: 4096 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame is longer than the framing allows.
    TooLarge {
        /// The length of the whole frame as its header announces it; where no header does
        /// (delimiters, lines, custom framers) it is `max + 1`, the first length too many.
        len: u64,
        /// The limit, `max_frame` of the framing.
        max: u64,
    },
    /// The header announces a frame that is shorter than the header itself.
    Malformed {
        /// The value of the length field.
        length: u64,
        /// The size of the header in bytes.
        header: u64,
    },
    /// A variable-length integer that does not end in time, does not fit 64 bits, or spends more
    /// bytes than it needs where [`Varint::minimal`](crate::Varint::minimal) forbids it.
    BadVarint {
        /// How many of its bytes were looked at.
        bytes: u64,
    },
    /// A [`Framer`](crate::Framer) of the user's refused the bytes.
    Refused {
        /// Where, counted from the first byte of the frame.
        at: u64,
        /// What it expected there.
        expected: &'static str,
    },
    /// The stream ended inside a frame.
    UnexpectedEof {
        /// How many bytes had arrived that belong to no complete frame.
        pending: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { len, max } => {
                write!(f, "a frame of {len} bytes is above the limit of {max}")
            }
            Self::Malformed { length, header } => write!(
                f,
                "the length field says {length}, which makes a frame shorter than the header of {header} bytes"
            ),
            Self::BadVarint { bytes } => {
                write!(f, "the length is not a valid varint, {bytes} bytes into it")
            }
            Self::Refused { at, expected } => write!(f, "expected {expected} at byte {at}"),
            Self::UnexpectedEof { pending } => {
                write!(
                    f,
                    "the stream ended inside a frame, {pending} bytes into it"
                )
            }
        }
    }
}

impl Error for FrameError {}

/// Says which option of a framing is wrong, and how.
///
/// # Examples
///
/// ```
/// use socktree_codec::{FramingError, LengthPrefix};
///
/// let error = LengthPrefix::new().header(4).length_at(2, 4).build().unwrap_err();
/// assert_eq!(error, FramingError::LengthOutsideHeader { position: 2, size: 4, header: 4 });
/// assert_eq!(error.field(), "length_at");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FramingError {
    /// The option is zero or empty, which would make frames of no bytes.
    Empty {
        /// The name of the option.
        field: &'static str,
    },
    /// The length field has a size other than 1, 2, 3, 4 or 8 bytes.
    LengthSize {
        /// The size asked for.
        size: usize,
    },
    /// The length field does not lie wholly inside the header.
    LengthOutsideHeader {
        /// Where it was to start.
        position: usize,
        /// Its size.
        size: usize,
        /// The size of the header.
        header: usize,
    },
    /// No frame can be as small as `max_frame`, so every frame would be refused.
    MaxBelowMinimum {
        /// The limit asked for.
        max: usize,
        /// The length of the smallest possible frame.
        minimum: usize,
    },
    /// With this adjustment no value of the length field, or no payload at all, makes a frame.
    Adjust {
        /// The adjustment asked for.
        adjust: i64,
    },
    /// A varint of no bytes, or of more than the ten that 64 bits need.
    VarintBytes {
        /// The number asked for.
        bytes: usize,
    },
    /// The option is larger than its limit.
    TooLong {
        /// The name of the option.
        field: &'static str,
        /// The length asked for.
        len: usize,
        /// The longest that is possible.
        max: usize,
    },
}

impl FramingError {
    /// The option to correct, by the name of the method that sets it.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::Empty { field } | Self::TooLong { field, .. } => field,
            Self::LengthSize { .. } | Self::LengthOutsideHeader { .. } => "length_at",
            Self::MaxBelowMinimum { .. } => "max_frame",
            Self::Adjust { .. } => "adjust",
            Self::VarintBytes { .. } => "max_bytes",
        }
    }
}

impl fmt::Display for FramingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.field())?;
        match self {
            Self::Empty { .. } => f.write_str("must not be zero or empty"),
            Self::LengthSize { size } => {
                write!(
                    f,
                    "a length field of {size} bytes; 1, 2, 3, 4 and 8 are possible"
                )
            }
            Self::LengthOutsideHeader {
                position,
                size,
                header,
            } => write!(
                f,
                "a length field of {size} bytes at {position} is outside a header of {header}"
            ),
            Self::MaxBelowMinimum { max, minimum } => {
                write!(
                    f,
                    "{max} is below the smallest possible frame of {minimum} bytes"
                )
            }
            Self::Adjust { adjust } => write!(f, "no frame is possible with {adjust}"),
            Self::VarintBytes { bytes } => {
                write!(f, "a varint of at most {bytes} bytes; 1 to 10 are possible")
            }
            Self::TooLong { len, max, .. } => write!(f, "{len} bytes; at most {max} are possible"),
        }
    }
}

impl Error for FramingError {}

/// Says why a payload cannot be written so that the other side reads it back.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use socktree_codec::{EncodeError, Lines};
///
/// let framing = Lines::new().build()?;
/// let error = framing.encode(Bytes::from_static(b"two\nlines")).unwrap_err();
/// assert_eq!(error, EncodeError::ContainsDelimiter { at: 3 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The frame would be longer than the framing allows.
    TooLarge {
        /// The length the whole frame would have.
        len: u64,
        /// The limit, `max_frame` of the framing.
        max: u64,
    },
    /// The framing is of a fixed length and this is not it.
    WrongLength {
        /// The length of the payload.
        len: usize,
        /// The length of every frame.
        expected: usize,
    },
    /// The value to be put into the length field does not fit it.
    LengthField {
        /// The value, negative where the adjustment makes it so.
        value: i64,
        /// The size of the field in bytes; for a varint, the most bytes it may take.
        size: usize,
    },
    /// The payload contains, or runs into, what ends a frame.
    ContainsDelimiter {
        /// Where the reader would see the delimiter begin.
        at: usize,
    },
    /// The header handed in has another size than the framing's.
    WrongHeader {
        /// The length of what was handed in.
        len: usize,
        /// The size of the framing's header.
        expected: usize,
    },
    /// What was said to be one whole frame is followed by further bytes.
    NotOneFrame {
        /// The number of bytes handed in.
        len: usize,
        /// The number of them that are the first frame.
        frame: usize,
    },
    /// What was said to be one whole frame is none.
    Invalid(FrameError),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { len, max } => {
                write!(f, "a frame of {len} bytes is above the limit of {max}")
            }
            Self::WrongLength { len, expected } => {
                write!(
                    f,
                    "a payload of {len} bytes where every frame has {expected}"
                )
            }
            Self::LengthField { value, size } => {
                write!(f, "the length {value} does not fit a field of {size} bytes")
            }
            Self::ContainsDelimiter { at } => {
                write!(f, "the payload contains the delimiter at byte {at}")
            }
            Self::WrongHeader { len, expected } => {
                write!(
                    f,
                    "a header of {len} bytes where the framing has {expected}"
                )
            }
            Self::NotOneFrame { len, frame } => {
                write!(f, "{len} bytes of which only {frame} are the first frame")
            }
            Self::Invalid(_) => f.write_str("not a frame"),
        }
    }
}

impl Error for EncodeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Invalid(error) => Some(error),
            _ => None,
        }
    }
}

impl From<FrameError> for EncodeError {
    fn from(error: FrameError) -> Self {
        Self::Invalid(error)
    }
}
