//! Frames whose header says how long they are.

mod rules;

pub(crate) use self::rules::PrefixRules;
use self::rules::most;
use crate::framing::{DEFAULT_MAX_FRAME, Rules};
use crate::{Framing, FramingError};

/// Builds the framing of frames whose header says how long they are.
///
/// ```text
///            |<----- header ----->|<----- payload ----->|
///  stream    | .. | length | .. . | . . . . . . . . . . | next header
///            ^    ^        ^      ^                     ^
///            0 position  + size  header               total
/// ```
///
/// `total = length + adjust`, and `+ header` unless the length [counts the
/// header](Self::counts_header). The frame handed out is all of it, or the payload alone with
/// [`strip`](Self::strip).
///
/// # The options of the Ergo Framework
///
/// Each of its `ChunkOptions` has one equivalent here:
///
/// | `ChunkOptions` | here |
/// |---|---|
/// | `Enable: false` | [`Framing::raw()`] |
/// | `FixedLength: n` | [`Framing::fixed(n)`](Framing::fixed); as there, all else is then without meaning |
/// | `HeaderSize: h` | [`.header(h)`](Self::header) |
/// | `HeaderLengthPosition: p`, `HeaderLengthSize: s` | [`.length_at(p, s)`](Self::length_at) |
/// | `HeaderLengthIncludesHeader: true` | [`.counts_header(true)`](Self::counts_header) |
/// | `MaxLength: n` | [`.max_frame(n)`](Self::max_frame), which counts the header too |
/// | `MaxLength: 0` | [`.unlimited()`](Self::unlimited); what is not said is 1 MiB here |
///
/// and two things differ: a length that counts the header but is smaller than it is an error
/// here, and there a hang or a lost boundary; and so is what is left over at the end of the stream,
/// which is dropped there.
///
/// # Examples
///
/// Four bytes of header, of which the last two are the length of what follows:
///
/// ```
/// use socktree_codec::{Decoder, LengthPrefix};
///
/// let framing = LengthPrefix::new().header(4).length_at(2, 2).max_frame(4096).build()?;
/// let mut decoder = Decoder::new(framing);
/// let mut feed = decoder.feed(b"\x07\x01\x00\x05hello\x07\x00");
/// assert_eq!(feed.next_frame()?.unwrap().range(), Some(0..9)); // header and payload
/// assert_eq!(feed.next_frame()?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "options do nothing until `build` makes a framing of them"]
pub struct LengthPrefix {
    header: Option<usize>,
    position: usize,
    size: usize,
    little_endian: bool,
    counts_header: bool,
    adjust: i64,
    strip: bool,
    max: usize,
}

impl LengthPrefix {
    /// A header that is a big-endian length of four bytes and nothing else.
    pub fn new() -> Self {
        Self {
            header: None,
            position: 0,
            size: 4,
            little_endian: false,
            counts_header: false,
            adjust: 0,
            strip: false,
            max: DEFAULT_MAX_FRAME,
        }
    }

    /// A header that is a length of one byte.
    pub fn u8() -> Self {
        Self::new().length_at(0, 1)
    }

    /// A header that is a big-endian length of two bytes.
    pub fn u16_be() -> Self {
        Self::new().length_at(0, 2)
    }

    /// A header that is a big-endian length of three bytes.
    pub fn u24_be() -> Self {
        Self::new().length_at(0, 3)
    }

    /// A header that is a big-endian length of four bytes.
    pub fn u32_be() -> Self {
        Self::new().length_at(0, 4)
    }

    /// A header that is a big-endian length of eight bytes.
    pub fn u64_be() -> Self {
        Self::new().length_at(0, 8)
    }

    /// A header that is a little-endian length of two bytes.
    pub fn u16_le() -> Self {
        Self::u16_be().little_endian()
    }

    /// A header that is a little-endian length of three bytes.
    pub fn u24_le() -> Self {
        Self::u24_be().little_endian()
    }

    /// A header that is a little-endian length of four bytes.
    pub fn u32_le() -> Self {
        Self::u32_be().little_endian()
    }

    /// A header that is a little-endian length of eight bytes.
    pub fn u64_le() -> Self {
        Self::u64_be().little_endian()
    }

    /// The size of the header in bytes; not said, it ends where the length field ends.
    pub fn header(mut self, size: usize) -> Self {
        self.header = Some(size);
        self
    }

    /// Where in the header the length field starts, and its size: 1, 2, 3, 4 or 8 bytes.
    pub fn length_at(mut self, position: usize, size: usize) -> Self {
        self.position = position;
        self.size = size;
        self
    }

    /// The length field has its least significant byte first.
    pub fn little_endian(mut self) -> Self {
        self.little_endian = true;
        self
    }

    /// Whether the length field counts the bytes of the header too.
    pub fn counts_header(mut self, counts: bool) -> Self {
        self.counts_header = counts;
        self
    }

    /// A number to add to the length field, for protocols that count from elsewhere.
    ///
    /// A length that also counts four bytes of an outer layer is adjusted by `-4`; one that
    /// leaves a checksum of two bytes at the end uncounted, by `2`.
    pub fn adjust(mut self, by: i64) -> Self {
        self.adjust = by;
        self
    }

    /// Whether frames are handed out without their header.
    pub fn strip(mut self, strip: bool) -> Self {
        self.strip = strip;
        self
    }

    /// The most bytes a frame may have in all, header included; 1 MiB if not said.
    pub fn max_frame(mut self, max: usize) -> Self {
        self.max = max;
        self
    }

    /// Lets a frame be as long as its length field can say.
    ///
    /// The peer then decides how much memory a frame takes: it has to send that much, since a
    /// length alone reserves nothing, but nothing else stops it.
    pub fn unlimited(self) -> Self {
        self.max_frame(usize::MAX)
    }

    /// Checks the options and makes a framing of them.
    ///
    /// # Errors
    ///
    /// [`FramingError`], which names the option, if the length field has an impossible size or
    /// lies outside the header, if `max_frame` is below the header, or if with `adjust` no value
    /// of the length field makes a frame.
    pub fn build(&self) -> Result<Framing, FramingError> {
        Ok(Framing::from_rules(Rules::Prefix(self.rules()?)))
    }

    fn rules(&self) -> Result<PrefixRules, FramingError> {
        let &Self {
            position,
            size,
            adjust,
            max,
            ..
        } = self;
        let Some(most) = most(size) else {
            return Err(FramingError::LengthSize { size });
        };
        let end = position.checked_add(size);
        let header = self.header.or(end).unwrap_or(usize::MAX);
        if header == 0 {
            return Err(FramingError::Empty { field: "header" });
        }
        if end.is_none_or(|end| end > header) {
            return Err(FramingError::LengthOutsideHeader {
                position,
                size,
                header,
            });
        }
        if max < header {
            return Err(FramingError::MaxBelowMinimum {
                max,
                minimum: header,
            });
        }
        // All arithmetic below is in i128: no option and no length field can overflow it.
        let counted = if self.counts_header {
            0
        } else {
            header as i128
        };
        let extra = counted + i128::from(adjust);
        let reachable = extra <= max as i128 && i128::from(most) + extra >= header as i128;
        let Some(extra) = i64::try_from(extra).ok().filter(|_| reachable) else {
            return Err(FramingError::Adjust { adjust });
        };
        let little_endian = self.little_endian;
        let start = if self.strip { header } else { 0 };
        let field = (position, position + size);
        Ok(PrefixRules {
            header,
            field,
            little_endian,
            start,
            extra,
            most,
            max,
        })
    }
}

impl Default for LengthPrefix {
    fn default() -> Self {
        Self::new()
    }
}

impl TryFrom<LengthPrefix> for Framing {
    type Error = FramingError;

    fn try_from(options: LengthPrefix) -> Result<Self, FramingError> {
        options.build()
    }
}
