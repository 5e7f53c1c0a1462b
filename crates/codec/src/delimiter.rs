//! Frames that end with a given byte string.

use std::fmt;

use bytes::Bytes;

use crate::framing::{DEFAULT_MAX_FRAME, Rules, check_max};
use crate::search::find_byte;
use crate::{Affix, Boundary, EncodeError, FrameError, Framing, FramingError, Progress};

/// The longest delimiter; its table of prefixes takes four times as much, once per framing.
const LONGEST: usize = 1 << 16;

/// Builds the framing of frames that end with a given byte string.
///
/// ```text
///            |<- payload ->|<- delimiter ->|
///  stream    | . . . . . . |    \r \n      | . . .
/// ```
///
/// The search is linear in what arrives, whatever the delimiter and however the stream is cut:
/// no byte is compared against the same place twice after a read that ended too early. For lines
/// see also [`Lines`](crate::Lines), which takes LF and CRLF alike.
///
/// # Examples
///
/// ```
/// use socktree_codec::{Decoder, Delimiter};
///
/// let framing = Delimiter::new(b"--").max_frame(1024).build()?;
/// let mut decoder = Decoder::new(framing);
/// let mut feed = decoder.feed(b"one--two--thr-");
/// assert_eq!(feed.next_frame()?.unwrap().range(), Some(0..3));
/// assert_eq!(feed.next_frame()?.unwrap().range(), Some(5..8));
/// assert_eq!(feed.next_frame()?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "options do nothing until `build` makes a framing of them"]
pub struct Delimiter {
    delimiter: Bytes,
    keep: bool,
    max: usize,
}

impl Delimiter {
    /// Frames that end with `delimiter`, of one byte or more.
    pub fn new(delimiter: impl AsRef<[u8]>) -> Self {
        let delimiter = Bytes::copy_from_slice(delimiter.as_ref());
        Self {
            delimiter,
            keep: false,
            max: DEFAULT_MAX_FRAME,
        }
    }

    /// Whether frames are handed out with their delimiter.
    pub fn keep(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// The most bytes a frame may have in all, delimiter included; 1 MiB if not said.
    pub fn max_frame(mut self, max: usize) -> Self {
        self.max = max;
        self
    }

    /// Lets a frame go on until its delimiter comes, if ever.
    pub fn unlimited(self) -> Self {
        self.max_frame(usize::MAX)
    }

    /// Checks the options and makes a framing of them.
    ///
    /// # Errors
    ///
    /// [`FramingError`] if the delimiter is empty, longer than 64 KiB or longer than `max_frame`.
    pub fn build(&self) -> Result<Framing, FramingError> {
        let Self {
            delimiter,
            keep,
            max,
        } = self.clone();
        let len = delimiter.len();
        if len == 0 {
            return Err(FramingError::Empty { field: "delimiter" });
        }
        if len > LONGEST {
            return Err(FramingError::TooLong {
                field: "delimiter",
                len,
                max: LONGEST,
            });
        }
        if max < len {
            return Err(FramingError::MaxBelowMinimum { max, minimum: len });
        }
        let borders = borders(&delimiter);
        let rules = DelimiterRules {
            trailer: Affix::from(delimiter),
            borders,
            keep,
            max,
        };
        Ok(Framing::from_rules(Rules::Delimiter(rules)))
    }
}

impl TryFrom<Delimiter> for Framing {
    type Error = FramingError;

    fn try_from(options: Delimiter) -> Result<Self, FramingError> {
        options.build()
    }
}

/// The search is Knuth, Morris and Pratt's: how much of the delimiter the bytes so far end with
/// is all there is to remember between two reads, and hostile input costs no more than any.
pub(crate) struct DelimiterRules {
    trailer: Affix,
    /// For each prefix of the delimiter, the length of the longest shorter one it also ends with.
    borders: Vec<u32>,
    keep: bool,
    pub(crate) max: usize,
}

impl DelimiterRules {
    #[inline(never)]
    pub(crate) fn find(
        &self,
        received: &[u8],
        progress: &mut Progress,
    ) -> Result<Boundary, FrameError> {
        let reach = received.len().min(self.max);
        if let Some(len) = self.search(&received[..reach], progress) {
            let end = if self.keep {
                len
            } else {
                len - self.trailer.len()
            };
            return Ok(Boundary::Frame {
                len,
                payload: 0..end,
            });
        }
        if reach == self.max {
            let max = self.max as u64;
            return Err(FrameError::TooLarge {
                len: max.saturating_add(1),
                max,
            });
        }
        Ok(Boundary::More { need: 0 })
    }

    /// Finds where the delimiter first ends, going on from `progress`.
    ///
    /// `progress.state` is how many bytes of the delimiter the bytes scanned end with.
    #[inline]
    fn search(&self, bytes: &[u8], progress: &mut Progress) -> Option<usize> {
        let delimiter = &self.trailer[..];
        while let Some(unseen) = bytes
            .get(progress.scanned..)
            .filter(|rest| !rest.is_empty())
        {
            let mut matched = progress.state as usize;
            if matched == 0 {
                let Some(at) = find_byte(unseen, delimiter[0]) else {
                    progress.scanned = bytes.len();
                    return None;
                };
                progress.scanned += at + 1;
                progress.state = 1;
            } else {
                while matched > 0 && delimiter[matched] != unseen[0] {
                    matched = self.borders[matched - 1] as usize;
                }
                progress.state = as_state(matched) + u32::from(delimiter[matched] == unseen[0]);
                progress.scanned += 1;
            }
            if progress.state as usize == delimiter.len() {
                return Some(progress.scanned);
            }
        }
        None
    }

    /// What ends a frame with this payload, if the reader would look for it where it stands.
    #[inline]
    pub(crate) fn trailer(&self, payload: &[u8]) -> Result<Affix, EncodeError> {
        let size = self.trailer.len();
        let mut progress = Progress::default();
        if let Some(end) = self.search(payload, &mut progress) {
            return Err(EncodeError::ContainsDelimiter { at: end - size });
        }
        // The payload's last bytes and the delimiter's first may make a delimiter, too: `a` and
        // `aa` are read as `aa` and a rest.
        let mut progress = Progress {
            scanned: 0,
            ..progress
        };
        match self.search(&self.trailer, &mut progress) {
            Some(end) if end < size => {
                return Err(EncodeError::ContainsDelimiter {
                    at: payload.len() + end - size,
                });
            }
            _ => {}
        }
        check_max(payload.len() + size, self.max)?;
        Ok(self.trailer.clone())
    }
}

impl fmt::Debug for DelimiterRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delimiter")
            .field("delimiter", &self.trailer)
            .field("keep", &self.keep)
            .field("max_frame", &self.max)
            .finish()
    }
}

/// The table of Knuth, Morris and Pratt; see [`DelimiterRules::borders`].
fn borders(delimiter: &[u8]) -> Vec<u32> {
    let mut borders = vec![0u32; delimiter.len()];
    let mut matched = 0usize;
    for at in 1..delimiter.len() {
        while matched > 0 && delimiter[matched] != delimiter[at] {
            matched = borders[matched - 1] as usize;
        }
        matched += usize::from(delimiter[matched] == delimiter[at]);
        borders[at] = as_state(matched);
    }
    borders
}

/// A count of matched bytes as it is stored.
fn as_state(matched: usize) -> u32 {
    u32::try_from(matched).expect("a delimiter has at most 64 KiB")
}
