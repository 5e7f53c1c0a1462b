//! Frames that start with their length as a variable-length integer.

use std::fmt;

use crate::framing::{DEFAULT_MAX_FRAME, Rules, check_max};
use crate::{Affix, Boundary, EncodeError, FrameError, Framing, FramingError};

/// The most bytes 64 bits can take, at seven bits a byte.
const LONGEST: usize = 10;

/// Builds the framing of frames that start with their length as an unsigned LEB128 integer.
///
/// This is how Protocol Buffers delimit messages in a stream: seven bits of the length in each
/// byte, lowest first, with the top bit set in all bytes but the last.
///
/// ```text
///            |<---- 1 to 10 bytes ---->|<-- length bytes -->|
///  stream    | 1xxxxxxx ... | 0xxxxxxx | . . . . . . . . .  | next
/// ```
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use socktree_codec::{Decoder, Varint};
///
/// let framing = Varint::new().strip(true).build()?;
/// assert_eq!(framing.encode(Bytes::from(vec![7; 300]))?.header(), [0b1010_1100, 0b10]);
///
/// let mut decoder = Decoder::new(framing);
/// let mut feed = decoder.feed(b"\x03abc\x01");
/// assert_eq!(feed.next_frame()?.unwrap().range(), Some(1..4));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "options do nothing until `build` makes a framing of them"]
pub struct Varint {
    max_bytes: usize,
    minimal: bool,
    strip: bool,
    max: usize,
}

impl Varint {
    /// A length of up to ten bytes, which is what 64 bits need.
    pub fn new() -> Self {
        Self {
            max_bytes: LONGEST,
            minimal: false,
            strip: false,
            max: DEFAULT_MAX_FRAME,
        }
    }

    /// The most bytes the length itself may take: 5 is enough for 32 bits.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Whether to refuse a length written with more bytes than it needs.
    ///
    /// Off, because encoders exist that reserve the space first and fill it in later.
    pub fn minimal(mut self, minimal: bool) -> Self {
        self.minimal = minimal;
        self
    }

    /// Whether frames are handed out without their length.
    pub fn strip(mut self, strip: bool) -> Self {
        self.strip = strip;
        self
    }

    /// The most bytes a frame may have in all, length included; 1 MiB if not said.
    pub fn max_frame(mut self, max: usize) -> Self {
        self.max = max;
        self
    }

    /// Lets a frame be as long as its length can say.
    pub fn unlimited(self) -> Self {
        self.max_frame(usize::MAX)
    }

    /// Checks the options and makes a framing of them.
    ///
    /// # Errors
    ///
    /// [`FramingError`] if `max_bytes` is not one of 1 to 10 or `max_frame` is zero.
    pub fn build(&self) -> Result<Framing, FramingError> {
        let &Self {
            max_bytes,
            minimal,
            strip,
            max,
        } = self;
        if !(1..=LONGEST).contains(&max_bytes) {
            return Err(FramingError::VarintBytes { bytes: max_bytes });
        }
        if max == 0 {
            return Err(FramingError::MaxBelowMinimum { max, minimum: 1 });
        }
        Ok(Framing::from_rules(Rules::Varint(VarintRules {
            max_bytes,
            minimal,
            strip,
            max,
        })))
    }
}

impl Default for Varint {
    fn default() -> Self {
        Self::new()
    }
}

impl TryFrom<Varint> for Framing {
    type Error = FramingError;

    fn try_from(options: Varint) -> Result<Self, FramingError> {
        options.build()
    }
}

pub(crate) struct VarintRules {
    max_bytes: usize,
    minimal: bool,
    strip: bool,
    pub(crate) max: usize,
}

impl VarintRules {
    #[inline(never)]
    pub(crate) fn find(&self, received: &[u8]) -> Result<Boundary, FrameError> {
        let mut value = 0u64;
        for (at, byte) in received.iter().take(self.max_bytes).enumerate() {
            let low = u64::from(byte & 0x7F);
            // Nine bytes hold 63 bits: the tenth has room for one.
            if at == LONGEST - 1 && low > 1 {
                return Err(FrameError::BadVarint {
                    bytes: at as u64 + 1,
                });
            }
            value |= low << (7 * at);
            if byte & 0x80 == 0 {
                if self.minimal && at > 0 && low == 0 {
                    return Err(FrameError::BadVarint {
                        bytes: at as u64 + 1,
                    });
                }
                return self.boundary(at + 1, value);
            }
        }
        if received.len() < self.max_bytes {
            return Ok(Boundary::More {
                need: received.len() + 1,
            });
        }
        Err(FrameError::BadVarint {
            bytes: self.max_bytes as u64,
        })
    }

    #[inline]
    fn boundary(&self, header: usize, value: u64) -> Result<Boundary, FrameError> {
        let total = value.checked_add(header as u64);
        match total.and_then(|total| usize::try_from(total).ok()) {
            Some(len) if len <= self.max => {
                let start = if self.strip { header } else { 0 };
                Ok(Boundary::Frame {
                    len,
                    payload: start..len,
                })
            }
            _ => {
                let (len, max) = (total.unwrap_or(u64::MAX), self.max as u64);
                Err(FrameError::TooLarge { len, max })
            }
        }
    }

    #[inline]
    pub(crate) fn header(&self, len: usize) -> Result<Affix, EncodeError> {
        let mut bytes = [0; LONGEST];
        let mut value = len as u64;
        let mut used = 0;
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            bytes[used] = low & 0x7F | if value > 0 { 0x80 } else { 0 };
            used += 1;
            if value == 0 {
                break;
            }
        }
        if used > self.max_bytes {
            let value = i64::try_from(len).unwrap_or(i64::MAX);
            return Err(EncodeError::LengthField {
                value,
                size: self.max_bytes,
            });
        }
        check_max(used + len, self.max)?;
        Ok(Affix::new(&bytes[..used]))
    }
}

impl fmt::Debug for VarintRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Varint")
            .field("max_bytes", &self.max_bytes)
            .field("minimal", &self.minimal)
            .field("strip", &self.strip)
            .field("max_frame", &self.max)
            .finish()
    }
}
