//! A framing as plain data, what the options allow, and the slow and obvious way to decode it.
//!
//! Shared by the property tests, the exhaustive tests and the fuzz targets. Nothing here uses the
//! code under test but to hand it the same options.

use socktree_codec::{
    Affix, Boundary, Delimiter, EncodeError, FrameError, Framer, Framing, FramingError,
    LengthPrefix, Lines, Progress, Varint,
};

/// Every kind of framing with every option.
#[derive(Clone, Debug)]
pub(crate) enum Spec {
    Raw,
    Fixed(usize),
    Prefix(Prefix),
    Varint {
        max_bytes: usize,
        minimal: bool,
        strip: bool,
        max: usize,
    },
    Delimiter {
        delimiter: Vec<u8>,
        keep: bool,
        max: usize,
    },
    Lines {
        crlf: bool,
        keep: bool,
        max: usize,
    },
    /// A framer of a user's.
    Netstring {
        max: usize,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Prefix {
    pub(crate) header: usize,
    pub(crate) position: usize,
    pub(crate) size: usize,
    pub(crate) little_endian: bool,
    pub(crate) counts_header: bool,
    pub(crate) adjust: i64,
    pub(crate) strip: bool,
    pub(crate) max: usize,
}

/// What stands at the start of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    Frame { len: usize, payload: Vec<u8> },
    Incomplete,
    Wrong(FrameError),
}

/// All frames of a stream, and how it ends: with so many bytes left over, or wrong.
pub(crate) type Outcome = (Vec<Vec<u8>>, Result<usize, FrameError>);

impl Spec {
    pub(crate) fn build(&self) -> Result<Framing, FramingError> {
        match self {
            Self::Raw => Ok(Framing::raw()),
            Self::Fixed(len) => Framing::fixed(*len),
            Self::Prefix(prefix) => prefix.build(),
            Self::Varint {
                max_bytes,
                minimal,
                strip,
                max,
            } => Varint::new()
                .max_bytes(*max_bytes)
                .minimal(*minimal)
                .strip(*strip)
                .max_frame(*max)
                .build(),
            Self::Delimiter {
                delimiter,
                keep,
                max,
            } => Delimiter::new(delimiter)
                .keep(*keep)
                .max_frame(*max)
                .build(),
            Self::Lines { crlf, keep, max } => {
                Lines::new().crlf(*crlf).keep(*keep).max_frame(*max).build()
            }
            Self::Netstring { max } => Framing::custom(Netstring, *max),
        }
    }

    /// The option that is wrong, if one is.
    pub(crate) fn wrong_option(&self) -> Option<&'static str> {
        match self {
            Self::Raw => None,
            Self::Fixed(len) => (*len == 0).then_some("fixed"),
            Self::Prefix(prefix) => prefix.wrong_option(),
            Self::Varint { max_bytes, .. } if !(1..=10).contains(max_bytes) => Some("max_bytes"),
            Self::Varint { max, .. } => (*max == 0).then_some("max_frame"),
            Self::Delimiter { delimiter, .. } if delimiter.is_empty() => Some("delimiter"),
            Self::Delimiter { delimiter, max, .. } => {
                (*max < delimiter.len()).then_some("max_frame")
            }
            Self::Lines { crlf, max, .. } => {
                (*max < if *crlf { 2 } else { 1 }).then_some("max_frame")
            }
            Self::Netstring { max } => (*max == 0).then_some("max_frame"),
        }
    }

    /// Decodes a whole stream.
    pub(crate) fn decode(&self, mut stream: &[u8]) -> Outcome {
        let mut frames = Vec::new();
        loop {
            match self.front(stream) {
                Front::Frame { len, payload } => {
                    frames.push(payload);
                    stream = &stream[len..];
                }
                Front::Incomplete => return (frames, Ok(stream.len())),
                Front::Wrong(error) => return (frames, Err(error)),
            }
        }
    }

    /// What stands at the start of `bytes`, looking at them afresh.
    pub(crate) fn front(&self, bytes: &[u8]) -> Front {
        if bytes.is_empty() {
            return Front::Incomplete;
        }
        match self {
            Self::Raw => Front::cut(bytes, bytes.len(), 0, 0),
            Self::Fixed(len) => Front::cut(bytes, *len, 0, 0),
            Self::Prefix(prefix) => prefix.front(bytes),
            Self::Varint {
                max_bytes,
                minimal,
                strip,
                max,
            } => varint_front(bytes, *max_bytes, *minimal, *strip, *max),
            Self::Delimiter {
                delimiter,
                keep,
                max,
            } => {
                let end = bytes
                    .windows(delimiter.len())
                    .position(|part| part == delimiter);
                let drop = if *keep { 0 } else { delimiter.len() };
                searched(bytes, end.map(|at| at + delimiter.len()), drop, *max)
            }
            Self::Lines { keep, max, .. } => {
                let end = bytes
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .map(|at| at + 1);
                let drop = match end {
                    _ if *keep => 0,
                    Some(end) if bytes[..end].ends_with(b"\r\n") => 2,
                    _ => 1,
                };
                searched(bytes, end, drop, *max)
            }
            Self::Netstring { max } => netstring_front(bytes, *max),
        }
    }

    /// What a frame around `payload` looks like, whether or not it may be sent.
    pub(crate) fn wire(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let len = payload.len();
        let (header, trailer) = match self {
            Self::Raw | Self::Fixed(_) => (vec![], vec![]),
            Self::Prefix(prefix) => (prefix.header_for(len)?, vec![]),
            Self::Varint { max_bytes, .. } => {
                let mut header = vec![];
                let mut left = len;
                while left > 127 {
                    header.push(u8::try_from(left % 128 + 128).ok()?);
                    left /= 128;
                }
                header.push(u8::try_from(left).ok()?);
                (header.len() <= *max_bytes).then_some((header, vec![]))?
            }
            Self::Delimiter { delimiter, .. } => (vec![], delimiter.clone()),
            Self::Lines { crlf, .. } => (vec![], if *crlf { b"\r\n".into() } else { b"\n".into() }),
            Self::Netstring { .. } => (format!("{len}:").into_bytes(), b",".into()),
        };
        Some([&header, payload, &trailer].concat())
    }

    /// What the reader hands out for a frame around `payload`.
    pub(crate) fn read_back(&self, payload: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Prefix(Prefix { strip: false, .. })
            | Self::Varint { strip: false, .. }
            | Self::Delimiter { keep: true, .. }
            | Self::Lines { keep: true, .. } => self.wire(payload),
            _ => Some(payload.to_vec()),
        }
    }
}

impl Front {
    /// A frame of `len` bytes if they are there, without its first `skip` and last `drop`.
    fn cut(bytes: &[u8], len: usize, skip: usize, drop: usize) -> Self {
        match bytes.get(..len) {
            Some(frame) => Self::Frame {
                len,
                payload: frame[skip..len - drop].to_vec(),
            },
            None => Self::Incomplete,
        }
    }
}

/// A frame that ends where a search ended.
fn searched(bytes: &[u8], end: Option<usize>, drop: usize, max: usize) -> Front {
    match end {
        Some(len) if len <= max => Front::cut(bytes, len, 0, drop),
        None if bytes.len() < max => Front::Incomplete,
        _ => too_large(max as u128 + 1, max),
    }
}

fn too_large(len: u128, max: usize) -> Front {
    let len = u64::try_from(len).unwrap_or(u64::MAX);
    Front::Wrong(FrameError::TooLarge {
        len,
        max: max as u64,
    })
}

fn varint_front(bytes: &[u8], max_bytes: usize, minimal: bool, strip: bool, max: usize) -> Front {
    let header = bytes
        .iter()
        .position(|byte| *byte < 128)
        .map_or(bytes.len() + 1, |at| at + 1);
    let bad = |bytes: usize| {
        Front::Wrong(FrameError::BadVarint {
            bytes: bytes as u64,
        })
    };
    if header.min(bytes.len()) >= 10 && max_bytes == 10 && bytes[9] & 127 > 1 {
        return bad(10);
    }
    if header > max_bytes && bytes.len() >= max_bytes {
        return bad(max_bytes);
    }
    if header > bytes.len() {
        return Front::Incomplete;
    }
    if minimal && header > 1 && bytes[header - 1] == 0 {
        return bad(header);
    }
    let value: u128 = (0..header)
        .map(|at| u128::from(bytes[at] & 127) << (7 * at))
        .sum();
    let total = value + header as u128;
    if total > max as u128 {
        return too_large(total, max);
    }
    let len = usize::try_from(total).expect("at most `max`");
    Front::cut(bytes, len, if strip { header } else { 0 }, 0)
}

fn netstring_front(bytes: &[u8], max: usize) -> Front {
    let seen = &bytes[..bytes.len().min(max)];
    match Netstring.find(seen, &mut Progress::default()) {
        Err(error) => Front::Wrong(error),
        Ok(Boundary::Frame { len, payload }) => {
            Front::cut(bytes, len, payload.start, len - payload.end)
        }
        Ok(Boundary::More { need }) if need > max || bytes.len() >= max => {
            too_large(max as u128 + 1, max)
        }
        Ok(Boundary::More { .. }) => Front::Incomplete,
    }
}

impl Prefix {
    fn build(&self) -> Result<Framing, FramingError> {
        let options = LengthPrefix::new()
            .header(self.header)
            .length_at(self.position, self.size)
            .counts_header(self.counts_header)
            .adjust(self.adjust)
            .strip(self.strip)
            .max_frame(self.max);
        if self.little_endian {
            options.little_endian()
        } else {
            options
        }
        .build()
    }

    fn wrong_option(&self) -> Option<&'static str> {
        if ![1, 2, 3, 4, 8].contains(&self.size) {
            return Some("length_at");
        }
        if self.header == 0 {
            return Some("header");
        }
        if self.position as u128 + self.size as u128 > self.header as u128 {
            return Some("length_at");
        }
        if self.max < self.header {
            return Some("max_frame");
        }
        let least = self.total(0);
        let most = self.total((1u128 << (8 * self.size)) - 1);
        let fits = i64::try_from(least).is_ok();
        let possible = most >= self.header as i128 && least <= self.max as i128;
        (!fits || !possible).then_some("adjust")
    }

    /// The length of a frame whose length field says `value`.
    fn total(&self, value: u128) -> i128 {
        let header = if self.counts_header {
            0
        } else {
            self.header as i128
        };
        i128::try_from(value).expect("eight bytes at most") + i128::from(self.adjust) + header
    }

    fn front(&self, bytes: &[u8]) -> Front {
        let Some(header) = bytes.get(..self.header) else {
            return Front::Incomplete;
        };
        let mut field = header[self.position..self.position + self.size].to_vec();
        if self.little_endian {
            field.reverse();
        }
        let value = field
            .iter()
            .fold(0u128, |value, byte| value * 256 + u128::from(*byte));
        let total = self.total(value);
        if total < self.header as i128 {
            let length = u64::try_from(value).expect("eight bytes at most");
            return Front::Wrong(FrameError::Malformed {
                length,
                header: self.header as u64,
            });
        }
        if total > self.max as i128 {
            return too_large(total.unsigned_abs(), self.max);
        }
        let len = usize::try_from(total).expect("between the header and the limit");
        Front::cut(bytes, len, if self.strip { self.header } else { 0 }, 0)
    }

    fn header_for(&self, payload: usize) -> Option<Vec<u8>> {
        let value = (self.header + payload) as i128 - self.total(0);
        let value = u64::try_from(value).ok()?;
        if u128::from(value) >> (8 * self.size) != 0 {
            return None;
        }
        let mut field: Vec<u8> = value.to_be_bytes()[8 - self.size..].to_vec();
        if self.little_endian {
            field.reverse();
        }
        let mut header = vec![0; self.header];
        header[self.position..self.position + self.size].copy_from_slice(&field);
        Some(header)
    }
}

/// `5:hello,`
#[derive(Debug)]
pub(crate) struct Netstring;

impl Framer for Netstring {
    fn find(&self, received: &[u8], _: &mut Progress) -> Result<Boundary, FrameError> {
        let refuse = |at: usize, expected| {
            Err(FrameError::Refused {
                at: at as u64,
                expected,
            })
        };
        let mut len = 0usize;
        for (at, byte) in received.iter().take(9).enumerate() {
            match byte {
                b'0'..=b'9' if at < 8 => len = len * 10 + usize::from(byte - b'0'),
                b':' if at > 0 => {
                    let (start, end) = (at + 1, at + 1 + len);
                    return match received.get(end) {
                        Some(b',') => Ok(Boundary::Frame {
                            len: end + 1,
                            payload: start..end,
                        }),
                        Some(_) => refuse(end, "','"),
                        None => Ok(Boundary::More { need: end + 1 }),
                    };
                }
                _ => return refuse(at, "a digit"),
            }
        }
        Ok(Boundary::More { need: 0 })
    }

    fn wrap(&self, payload: &[u8]) -> Result<(Affix, Affix), EncodeError> {
        let header = format!("{}:", payload.len());
        Ok((Affix::new(header.as_bytes()), Affix::new(b",")))
    }
}
